"""All metrics of a set of captions at once, with bootstrap intervals.

Every metric takes tokenised captions: predictions as a list of token lists, one for each image, and
references as a list of lists of token lists, in the same order. Scores are fractions (CIDEr-D runs
from 0 to 10); papers print them times 100.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from captioner.metrics.cider import CiderD
from captioner.metrics.rouge import rouge_l
from rnnkit.metrics.bleu import bleu, bleu_counts
from rnnkit.metrics.bootstrap import interval, resample
from rnnkit.metrics.ngrams import Tokens


@dataclass(frozen=True)
class Scores:
    """Scores of a set of captions, with what a reader needs to judge them."""

    images: int
    values: dict[str, float]  # by metric, as a fraction; CIDEr-D from 0 to 10
    intervals: dict[str, tuple[float, float]]  # 95% bootstrap over images, if asked for
    matches: list[int]  # clipped n-gram matches, n = 1..4
    totals: list[int]  # n-grams in the predictions, n = 1..4
    prediction_length: int  # tokens
    reference_length: int  # tokens of the closest references
    per_image: dict[str, np.ndarray]  # ROUGE-L and CIDEr-D of each image, in the order given
    drawn: dict[str, np.ndarray]  # the bootstrap's scores (resamples,), behind the intervals

    @property
    def length_ratio(self) -> float:
        """Tokens of the predictions to those of the closest references."""
        return self.prediction_length / max(self.reference_length, 1)


def score_captions(
    predictions: Sequence[Tokens],
    references: Sequence[Sequence[Tokens]],
    *,
    bootstrap: int = 0,
    seed: int = 0,
    more: Mapping[str, Callable[[np.ndarray], float]] | None = None,
) -> Scores:
    """Score captions against references.

    Args:
        predictions, references: tokenised, of the images in the same order.
        bootstrap: resamples of the images for the intervals, 0 for none; 1000 is usual.
        more: other metrics; each takes indices of images, possibly with repeats, and returns
            their score as a corpus.

    Raises: ValueError for fewer than two images, a prediction without references or the reverse.
    """
    if len(predictions) != len(references) or not all(references):
        raise ValueError(
            "predictions and references are not of the same images: each image needs a caption and"
            " at least one reference"
        )
    cider = CiderD(references).scores(predictions, references)
    rouge = rouge_l(predictions, references)
    counts = bleu_counts(predictions, references)

    def values(images: np.ndarray) -> dict[str, float]:
        named = {
            f"bleu_{order + 1}": float(value) for order, value in enumerate(bleu(counts, images))
        }
        named |= {"rouge_l": float(rouge[images].mean()), "cider_d": float(cider[images].mean())}
        return named | {name: score(images) for name, score in (more or {}).items()}

    drawn = resample(values, len(predictions), bootstrap, seed)
    return Scores(
        images=len(predictions),
        values=values(np.arange(len(predictions))),
        intervals={name: interval(scores) for name, scores in drawn.items()},
        matches=counts.matches.sum(axis=0).tolist(),
        totals=counts.totals.sum(axis=0).tolist(),
        prediction_length=int(counts.lengths[:, 0].sum()),
        reference_length=int(counts.lengths[:, 1].sum()),
        per_image={"rouge_l": rouge, "cider_d": cider},
        drawn=drawn,
    )
