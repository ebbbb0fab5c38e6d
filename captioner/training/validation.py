"""Validation: captions of held-out photos by beam search, scored as `captioner evaluate` does."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from captioner.checkpoint import load_parts
from captioner.decoding.gender import ClearGender
from captioner.decoding.generate import generate, words_used_once
from captioner.metrics.scores import score_captions
from captioner.training.batches import TrainingSet
from captioner.training.confidence import WrittenSentence, fit_confidence
from captioner.training.preparation import Run
from captioner.types import Decoding
from rnnkit.beam_search import Hypothesis


def validate(run: Run) -> dict[str, Any]:
    """Scores for each data set, and the means of CIDEr-D and BLEU-4.

    Raises: NoSentenceError.
    """
    record: dict[str, Any] = {"validation": {}}
    for name, photos in run.validation.items():
        captions = [run.vocabulary.tokens(group[0].ids) for group in _sentences(run, photos)]
        scores = score_captions(captions, photos.tokens)
        record["validation"][name] = scores.values | {
            "distinct": len({tuple(tokens) for tokens in captions}),
            "images": scores.images,
        }
    for metric in ("cider_d", "bleu_4"):
        values = [scores[metric] for scores in record["validation"].values()]
        record[metric] = float(np.mean(values))
    return record


def confidence_of_best(run: Run) -> dict[str, Any] | None:
    """How sure the best checkpoint is of its words, fitted on the validation photos.

    The run's validated network has the checkpoint's weights afterwards.

    Returns: what the checkpoint's config stores; None if there are too few words to fit.
    """
    model = run.validated_model
    load_parts(run.folder.path, encoder=model.encoder, decoder=model.decoder)
    written = [
        WrittenSentence(sentence, run.vocabulary.tokens(sentence.ids), references)
        for photos in run.validation.values()
        for group, references in zip(_sentences(run, photos), photos.tokens, strict=True)
        for sentence in group
    ]
    fitted = fit_confidence(written)
    return None if fitted is None else fitted.as_config()


@torch.no_grad()
def _sentences(run: Run, photos: TrainingSet, size: int = 64) -> list[list[Hypothesis]]:
    """The sentences that the search for each photo ends with, likeliest first."""
    config, model = run.config, run.validated_model
    decoding = Decoding(beam_size=config.beam_size, max_length=config.max_length)
    once = words_used_once(run.vocabulary, tuple(run.repeatable)).to(run.accelerator.device)
    rule = ClearGender(run.vocabulary).to(run.accelerator.device)
    sentences = []
    for start in range(0, len(photos), size):
        chosen = np.arange(start, min(start + size, len(photos)))
        inputs = photos.inputs(chosen).to(run.accelerator.device)
        with run.accelerator.autocast():
            sentences += generate(
                model.decoder,
                model.features(inputs),
                decoding,
                length_penalty=run.length_penalty,
                once=once,
                adjust=rule.at(run.gender_clarity),
            )
    return sentences
