"""How well stated probabilities agree with what is true: calibration, and what is gained by
leaving out what is unsure.
"""

from __future__ import annotations

import numpy as np


def expected_calibration_error(stated: np.ndarray, true: np.ndarray, *, bins: int = 10) -> float:
    """The mean distance between stated probabilities and how often they come true, bin by bin.

    Naeini, Cooper & Hauskrecht 2015, with bins of equal width, each weighted by how much is in it.

    Args:
        stated: (N,) probabilities.
        true: (N,) 1 or 0.
    """
    bin_of = np.minimum((stated * bins).astype(int), bins - 1)
    distances = [
        abs(float(stated[bin_of == bin].sum() - true[bin_of == bin].sum())) for bin in range(bins)
    ]
    return sum(distances) / len(stated)


def calibration_table(
    stated: np.ndarray, true: np.ndarray, *, bins: int = 10
) -> list[tuple[int, float, float]]:
    """For each bin of equal width that has any: how many, mean stated, share that is true."""
    bin_of = np.minimum((stated * bins).astype(int), bins - 1)
    return [
        (
            int((bin_of == bin).sum()),
            float(stated[bin_of == bin].mean()),
            float(true[bin_of == bin].mean()),
        )
        for bin in range(bins)
        if (bin_of == bin).any()
    ]


def split_half_gain(sure: np.ndarray, supported: np.ndarray, words: np.ndarray) -> float:
    """By how much more words are supported in the half of the captions that is surer.

    Args:
        sure: (N,) confidence of each caption.
        supported, words: (N,) how many of its words are supported, and how many it has.
    """
    order = np.argsort(sure, kind="stable")
    less, more = order[: len(order) // 2], order[len(order) // 2 :]
    return _share(supported[more], words[more]) - _share(supported[less], words[less])


def risk_coverage(
    sure: np.ndarray, supported: np.ndarray, words: np.ndarray, coverages: tuple[float, ...]
) -> list[tuple[float, float, float]]:
    """What is gained by keeping only the surest captions.

    Args:
        sure, supported, words: as in `split_half_gain`.
        coverages: shares of the captions to keep.

    Returns: for each of them the share, the least confidence that is kept, and the share of kept
        words without support.
    """
    order = np.argsort(-sure, kind="stable")
    curve = []
    for coverage in coverages:
        kept = order[: max(1, round(coverage * len(order)))]
        curve.append((coverage, float(sure[kept[-1]]), 1 - _share(supported[kept], words[kept])))
    return curve


def _share(supported: np.ndarray, words: np.ndarray) -> float:
    return float(supported.sum() / max(words.sum(), 1))
