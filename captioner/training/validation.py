"""Validation: captions of held-out photos by beam search, scored as `captioner evaluate` does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captioner.decoding.generate import generate, words_used_once
from captioner.metrics.scores import score_captions
from captioner.training.batches import TrainingSet
from captioner.training.preparation import Run
from captioner.types import Decoding


def validate(run: Run) -> dict[str, Any]:
    """Scores for each data set, and the means of CIDEr-D and BLEU-4.

    Raises: NoSentenceError.
    """
    record: dict[str, Any] = {"validation": {}}
    for name, photos in run.validation.items():
        captions = [tokens for inputs in _batches(run, photos) for tokens in _captions(run, inputs)]
        scores = score_captions(captions, photos.tokens)
        record["validation"][name] = scores.values | {
            "distinct": len({tuple(tokens) for tokens in captions}),
            "images": scores.images,
        }
    for metric in ("cider_d", "bleu_4"):
        values = [scores[metric] for scores in record["validation"].values()]
        record[metric] = float(np.mean(values))
    return record


def _batches(run: Run, photos: TrainingSet, size: int = 64) -> Iterator[Tensor]:
    for start in range(0, len(photos), size):
        chosen = np.arange(start, min(start + size, len(photos)))
        yield photos.inputs(chosen).to(run.accelerator.device)


@torch.no_grad()
def _captions(run: Run, inputs: Tensor) -> list[list[str]]:
    config, model = run.config, run.validated_model
    decoding = Decoding(beam_size=config.beam_size, max_length=config.max_length)
    once = words_used_once(run.vocabulary, run.repeatable).to(run.accelerator.device)
    with run.accelerator.autocast():
        sentences = generate(
            model.decoder,
            model.features(inputs),
            decoding,
            length_penalty=config.length_penalty,
            once=once,
        )
    return [run.vocabulary.tokens(group[0].ids) for group in sentences]
