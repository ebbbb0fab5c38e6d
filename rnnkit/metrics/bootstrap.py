"""The bootstrap over examples: how much a score depends on them, and whether two scores differ.

Each draw takes as many examples (images) as there are, with replacement, and is scored as a corpus
of its own (Efron 1979; Bisani & Ney 2004 for corpus scores). CIDEr-D keeps the word weights of the
whole set.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def resample(
    score: Callable[[np.ndarray], dict[str, float]], images: int, count: int, seed: int
) -> dict[str, np.ndarray]:
    """Scores of random draws of the images.

    Args:
        score: takes indices of images (images,), possibly with repeats, and returns metrics by
            name.
        count: how many draws.
        seed: the same seed draws the same images, so that two captioners can be compared.

    Returns: (count,) for each metric; nothing for a count of 0.
    """
    generator = np.random.default_rng(seed)
    drawn = [score(generator.integers(0, images, images)) for _ in range(count)]
    return (
        {name: np.array([values[name] for values in drawn]) for name in drawn[0]} if drawn else {}
    )


def interval(drawn: np.ndarray) -> tuple[float, float]:
    """The 95% interval, by percentiles."""
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def paired_p_value(difference: float, drawn: np.ndarray) -> float:
    """How often chance alone would make two captioners differ by as much, in either direction.

    Koehn's (2004) paired bootstrap in its two-sided form (Riezler & Maxwell 2005): the
    differences on the same draws of images, shifted to a mean of 0, are what equal captioners would
    show.

    Args:
        difference: of the scores on all images.
        drawn: the differences on draws of the images (count,).

    Returns: from 1 / (count + 1) to 1.
    """
    slack = 1e-12  # differences that only rounding makes unequal
    as_far = np.abs(drawn - difference) >= abs(difference) - slack
    return float((as_far.sum() + 1) / (len(drawn) + 1))
