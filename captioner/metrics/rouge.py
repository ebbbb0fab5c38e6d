"""ROUGE-L, by the longest common subsequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnkit.metrics.ngrams import Tokens


def rouge_l(
    predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]], *, beta: float = 1.2
) -> np.ndarray:
    """ROUGE-L of each image (Lin 2004), with coco-caption's choices.

    Precision and recall are each the highest over the references. An empty caption counts as one
    token that matches only another empty caption.

    Args:
        beta: how much more recall counts than precision.

    Returns: (images,)
    """
    scores = np.zeros(len(predictions))
    for row, (prediction, group) in enumerate(zip(predictions, references, strict=True)):
        prediction = prediction or [""]
        common = [
            (longest_common_subsequence(prediction, reference or [""]), len(reference) or 1)
            for reference in group
        ]
        precision = max(length for length, _ in common) / len(prediction)
        recall = max(length / size for length, size in common)
        if precision and recall:
            scores[row] = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    return scores


def longest_common_subsequence(first: Tokens, second: Tokens) -> int:
    """Length of the longest common subsequence.

    Bit-parallel dynamic programming (Hyyrö 2004): one big integer holds a row of the table.
    """
    positions: dict[str, int] = {}
    for index, token in enumerate(first):
        positions[token] = positions.get(token, 0) | 1 << index
    everything = (1 << len(first)) - 1
    row = everything
    for token in second:
        match = row & positions.get(token, 0)
        row = ((row + match) | (row - match)) & everything
    return len(first) - row.bit_count()
