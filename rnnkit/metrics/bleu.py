"""Corpus BLEU-1 to 4: coco-caption's, and nltk's beside it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnnkit.metrics.ngrams import ORDERS, NgramIndex, Tokens, flatten, shared_ngrams


@dataclass(frozen=True)
class BleuCounts:
    """What BLEU is made of, a row for each image; the sum over some images gives their BLEU."""

    matches: np.ndarray  # (images, 4) clipped n-gram matches
    totals: np.ndarray  # (images, 4) n-grams in the predictions
    lengths: np.ndarray  # (images, 2) tokens of the prediction, of the closest reference


def bleu_counts(
    predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]
) -> BleuCounts:
    """The counts of each image.

    An n-gram matches at most as often as it occurs in any one reference. The closest reference is
    the one closest in length, the shorter of two that are equally close.
    """
    flat, image = flatten(references)
    index = NgramIndex(flat)
    matches = []
    for ours, theirs in index.count(predictions, flat):
        row, other = shared_ngrams(ours, theirs, image)
        most = np.zeros(len(ours.count), dtype=np.int64)
        np.maximum.at(most, row, theirs.count[other])
        matches.append(
            np.bincount(ours.caption, np.minimum(ours.count, most), minlength=len(predictions))
        )
    size = np.array([len(prediction) for prediction in predictions])
    closest = [
        min((abs(len(tokens) - own), len(tokens)) for tokens in group)[1]
        for own, group in zip(size, references, strict=True)
    ]
    totals = np.maximum(size[:, None] - np.arange(ORDERS), 0)  # (images, 4)
    return BleuCounts(
        np.stack(matches, axis=1).astype(np.int64),
        totals,
        np.stack([size, np.array(closest)], axis=1),
    )


def bleu(counts: BleuCounts, images: np.ndarray | None = None) -> np.ndarray:
    """Corpus BLEU-1..4 (Papineni et al. 2002), with coco-caption's tiny terms instead of smoothing.

    Args:
        images: row indices of the corpus, repeats allowed; None takes all.
    Returns: (4,)
    """
    rows = slice(None) if images is None else images
    matches, totals = counts.matches[rows].sum(axis=0), counts.totals[rows].sum(axis=0)
    length, closest = counts.lengths[rows].sum(axis=0)
    precisions = (matches + 1e-15) / (totals + 1e-9)
    ratio = (length + 1e-15) / (closest + 1e-9)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    return np.cumprod(precisions) ** (1 / np.arange(1, ORDERS + 1)) * brevity


def nltk_bleu(
    predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]
) -> dict[str, float]:
    """Corpus BLEU-1..4 by nltk's `corpus_bleu`, without smoothing.

    It differs where a prediction has fewer than n tokens: nltk then counts one n-gram that never
    matches, and coco-caption none.
    """
    from nltk.translate.bleu_score import corpus_bleu  # nltk takes a second to import

    weights = [(1 / order,) * order for order in range(1, ORDERS + 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an order has no match shows in the score
        scores = corpus_bleu(references, predictions, weights=weights)
    return {f"bleu_{order}": float(score) for order, score in enumerate(scores, start=1)}
