"""Begins or resumes a run of any task: reads its files, makes the model, and trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch
from rich.console import Console

from sequences.classifier import Classifier
from sequences.data import read_labelled, read_pairs, read_tagged
from sequences.load import load_model
from sequences.tagger import Tagger
from sequences.training.config import ClassifyConfig, TagConfig, TrainingConfig, TranslateConfig
from sequences.training.trainer import start_from, train
from sequences.translator import Translator


class RunOptions(TypedDict):
    """What every run is given; see `sequences.training.trainer.train`."""

    device: torch.device
    resume: bool
    console: Console


def train_classifier(
    train_file: Path,
    dev_file: Path,
    output: Path,
    config: ClassifyConfig,
    **run: Unpack[RunOptions],
) -> bool:
    """Train a classifier on TSV files; see `sequences.training.trainer.train`."""
    examples, dev = read_labelled(train_file), read_labelled(dev_file)
    new = partial(Classifier.new, examples, evidence=config.evidence)
    return _train(new, examples, dev, output, config, **run)


def train_tagger(
    train_file: Path, dev_file: Path, output: Path, config: TagConfig, **run: Unpack[RunOptions]
) -> bool:
    """Train a tagger on CoNLL files; see `sequences.training.trainer.train`."""
    examples, dev = read_tagged(train_file), read_tagged(dev_file)
    new = partial(Tagger.new, examples, missed_entity_cost=config.missed_entity_cost)
    return _train(new, examples, dev, output, config, **run)


def train_translator(
    train_file: Path,
    dev_file: Path,
    output: Path,
    config: TranslateConfig,
    *,
    columns: tuple[int, int],
    **run: Unpack[RunOptions],
) -> bool:
    """Train a translator on TSV files; see `sequences.training.trainer.train`.

    Args:
        columns: of the texts and of their translations, from 1.
    """
    source, target = columns
    examples = read_pairs(train_file, source=source, target=target)
    dev = read_pairs(dev_file, source=source, target=target)
    new = partial(Translator.new, examples, label_smoothing=config.label_smoothing)
    return _train(new, examples, dev, output, config, **run)


AnyModel = Classifier | Tagger | Translator


def _train(
    new: Callable[..., AnyModel],
    examples: Sequence[Any],
    dev: Sequence[Any],
    output: Path,
    config: TrainingConfig,
    **run: Unpack[RunOptions],
) -> bool:
    """Make the model, from that of --init where one is named, and train it."""
    torch.manual_seed(config.seed)
    initial = load_model(config.init) if config.init else None
    model = new(
        config.architecture(),
        config.dropout(),
        min_count=config.min_count,
        known=initial.vocabulary if initial else None,
    )
    if initial is not None:
        copied = start_from(model.network, initial)
        run["console"].print(
            f"started with {len(copied)} tensors of '{initial.task}'", highlight=False
        )
    return train(model, examples, dev, output, config, **run)
