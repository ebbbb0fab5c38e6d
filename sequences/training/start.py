"""Begins or resumes a run of any task: reads its files, makes the model, and trains."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from sequences.classifier import Classifier
from sequences.data import read_labelled, read_pairs, read_tagged
from sequences.load import load_model
from sequences.tagger import Tagger
from sequences.training.config import ClassifyConfig, TagConfig, TranslateConfig
from sequences.training.trainer import start_from, train
from sequences.translator import Translator
from sequences.words import Vocabulary


def train_classifier(
    train_file: Path,
    dev_file: Path,
    output: Path,
    config: ClassifyConfig,
    *,
    device: torch.device,
    resume: bool,
    console: Console,
) -> bool:
    """Train a classifier on TSV files; see `sequences.training.trainer.train`."""
    examples, dev = read_labelled(train_file), read_labelled(dev_file)
    torch.manual_seed(config.seed)
    initial = _initial(config.init)
    model = Classifier.new(
        examples,
        config.architecture(),
        config.dropout(),
        min_count=config.min_count,
        evidence=config.evidence,
        known=_vocabulary(initial),
    )
    _take_over(initial, model, console)
    return train(
        model, examples, dev, output, config, device=device, resume=resume, console=console
    )


def train_tagger(
    train_file: Path,
    dev_file: Path,
    output: Path,
    config: TagConfig,
    *,
    device: torch.device,
    resume: bool,
    console: Console,
) -> bool:
    """Train a tagger on CoNLL files; see `sequences.training.trainer.train`."""
    examples, dev = read_tagged(train_file), read_tagged(dev_file)
    torch.manual_seed(config.seed)
    initial = _initial(config.init)
    model = Tagger.new(
        examples,
        config.architecture(),
        config.dropout(),
        min_count=config.min_count,
        known=_vocabulary(initial),
    )
    _take_over(initial, model, console)
    return train(
        model, examples, dev, output, config, device=device, resume=resume, console=console
    )


def train_translator(
    train_file: Path,
    dev_file: Path,
    output: Path,
    config: TranslateConfig,
    *,
    columns: tuple[int, int],
    device: torch.device,
    resume: bool,
    console: Console,
) -> bool:
    """Train a translator on TSV files; see `sequences.training.trainer.train`.

    Args:
        columns: of the texts and of their translations, from 1.
    """
    source, target = columns
    examples = read_pairs(train_file, source=source, target=target)
    dev = read_pairs(dev_file, source=source, target=target)
    torch.manual_seed(config.seed)
    initial = _initial(config.init)
    model = Translator.new(
        examples,
        config.architecture(),
        config.dropout(),
        min_count=config.min_count,
        label_smoothing=config.label_smoothing,
        known=_vocabulary(initial),
    )
    _take_over(initial, model, console)
    return train(
        model, examples, dev, output, config, device=device, resume=resume, console=console
    )


AnyModel = Classifier | Tagger | Translator


def _initial(init: str) -> AnyModel | None:
    return load_model(init) if init else None


def _vocabulary(initial: AnyModel | None) -> Vocabulary | None:
    return initial.vocabulary if initial else None


def _take_over(initial: AnyModel | None, model: AnyModel, console: Console) -> None:
    if initial is not None:
        copied = start_from(model.network, initial)
        console.print(f"started with {len(copied)} tensors of '{initial.task}'", highlight=False)
