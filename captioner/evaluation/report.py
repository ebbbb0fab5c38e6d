"""Scores of captions, alone or beside another captioner's, and how they are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from captioner.data.annotations import Example
from captioner.evaluation.table import Table
from captioner.metrics.meteor_spice import java_scores
from captioner.metrics.scores import Scores, score_captions
from rnnkit.errors import UserError
from rnnkit.metrics.bleu import nltk_bleu
from rnnkit.metrics.bootstrap import paired_p_value
from rnnkit.metrics.tokenizer import tokenize

NAMES = {
    "bleu_1": "BLEU-1", "bleu_2": "BLEU-2", "bleu_3": "BLEU-3", "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L", "cider_d": "CIDEr-D", "meteor": "METEOR", "spice": "SPICE",
}  # fmt: skip
TOKENISER = "PTB-like, lower case, coco-caption's 17 punctuation tokens dropped"
TEST = "paired bootstrap over images, two-sided"


# --- one captioner --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """Scores with what a reader must know to compare them."""

    data: str
    split: str
    missing: int  # images of the split that have no caption and are left out
    decoding: str
    scores: Scores
    nltk: dict[str, float]  # BLEU-1..4 by nltk's definition
    left_out: dict[str, str]  # metric -> why it could not be computed
    distinct: int  # different captions

    def as_json(self) -> dict[str, Any]:
        """The report as JSON; scores are fractions, CIDEr-D 0 to 10."""
        scores = asdict(self.scores)
        del scores["per_image"], scores["drawn"]
        header = {
            "data": self.data,
            "split": self.split,
            "decoding": self.decoding,
            "tokeniser": TOKENISER,
            "missing_images": self.missing,
        }
        counted = {"length_ratio": self.scores.length_ratio, "distinct_captions": self.distinct}
        return {**header, **scores, **counted, "nltk_bleu": self.nltk, "left_out": self.left_out}

    def table(self) -> Table:
        """Scores times 100, as papers print them."""
        s = self.scores
        rows = [
            [
                NAMES[name],
                _hundredfold(value),
                _interval(s.intervals.get(name)),
                _hundredfold(self.nltk.get(name)),
            ]
            for name, value in s.values.items()
        ]
        left_out = [f"{NAMES[name]} left out: {reason}" for name, reason in self.left_out.items()]
        above = [self.heading, f"captions: {self.decoding}", f"tokens: {TOKENISER}"]
        return Table(
            above, ["", "score", "95 % interval", "nltk's"], rows, [*left_out, self.counts]
        )

    def __str__(self) -> str:
        return self.table().text()

    @property
    def heading(self) -> str:
        """What was judged, and whether it is only a subset."""
        images = f"{self.scores.images} images"
        if self.missing:
            images = (
                f"SUBSET, {self.scores.images} of {self.scores.images + self.missing} images:"
                f" {self.missing} without a caption"
            )
        return f"{self.data}, split {self.split}: {images}"

    @property
    def counts(self) -> str:
        """What BLEU was made of."""
        s = self.scores
        length = (
            f"{s.prediction_length} words against {s.reference_length} (ratio {s.length_ratio:.3f})"
        )
        return (
            f"n-grams matched {s.matches} of {s.totals}; {length}; {self.distinct} distinct"
            " captions"
        )


def judge(
    captions: dict[str, str],
    examples: Sequence[Example],
    *,
    data: str,
    split: str,
    decoding: str,
    missing: int = 0,
    bootstrap: int = 1000,
    seed: int = 0,
    java: bool = True,
) -> Report:
    """Score captions, by image id, against the examples' references.

    Args:
        missing: images of the split that are not among the examples, for the report.
        bootstrap: resamples of the images for the intervals, 0 for none.
        java: add METEOR and SPICE where they can run.

    Raises: UserError for fewer than two images, or two of one id.
    """
    ids = Counter(str(example.image_id) for example in examples)
    if len(ids) < len(examples):
        raise UserError(
            f"two photos in '{data}' have the id {ids.most_common(1)[0][0]}, by which captions are"
            " matched"
        )
    predictions = [tokenize(captions[str(example.image_id)]) for example in examples]
    references = [[tokenize(caption) for caption in example.captions] for example in examples]
    if len(examples) < 2:
        raise UserError(
            f"{len(examples)} images cannot be judged: CIDEr weighs words by how few images have"
            " them, and needs at least two"
        )
    more, left_out = java_scores(predictions, references) if java else ({}, {})
    scores = score_captions(predictions, references, bootstrap=bootstrap, seed=seed, more=more)
    distinct = len({tuple(tokens) for tokens in predictions})
    return Report(
        data,
        split,
        missing,
        decoding,
        scores,
        nltk_bleu(predictions, references),
        left_out,
        distinct,
    )


# --- two captioners -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Two captioners' scores on the same images, the second against the first."""

    first: Report
    second: Report

    def as_json(self) -> dict[str, Any]:
        """Both reports, and for each metric the difference (second less first) and its p-value
        (None without a bootstrap).
        """
        differences = {
            name: {
                "difference": self.second.scores.values[name] - value,
                "p_value": self.p_value(name),
            }
            for name, value in self.first.scores.values.items()
        }
        return {
            "first": self.first.as_json(),
            "second": self.second.as_json(),
            "differences": differences,
            "test": TEST,
        }

    def p_value(self, metric: str) -> float | None:
        """How often chance alone would make as great a difference; None without a bootstrap."""
        one, other = self.first.scores, self.second.scores
        if metric not in one.drawn:
            return None
        return paired_p_value(
            other.values[metric] - one.values[metric], other.drawn[metric] - one.drawn[metric]
        )

    def table(self) -> Table:
        """Scores times 100, and the differences."""
        one, other = self.first.scores, self.second.scores
        rows = []
        for name, value in one.values.items():
            cells = [
                _hundredfold(value),
                _interval(one.intervals.get(name)),
                _hundredfold(other.values[name]),
            ]
            p = self.p_value(name)
            difference = f"{100 * (other.values[name] - value):+.2f}"
            rows.append(
                [
                    NAMES[name],
                    *cells,
                    _interval(other.intervals.get(name)),
                    difference,
                    "" if p is None else f"{p:.4f}",
                ]
            )
        above = [
            self.first.heading,
            f"A: {self.first.decoding}",
            f"B: {self.second.decoding}",
            f"tokens: {TOKENISER}",
        ]
        left_out = [
            f"{NAMES[name]} left out: {reason}" for name, reason in self.first.left_out.items()
        ]
        test = [f"p: {TEST}, {len(next(iter(one.drawn.values())))} draws"] if one.drawn else []
        below = [*left_out, *test]
        for name, report in (("A", self.first), ("B", self.second)):
            nltk = ", ".join(_hundredfold(value) for value in report.nltk.values())
            below.append(f"{name}: {report.counts}; nltk's BLEU-1 to 4 {nltk}")
        return Table(
            above, ["", "A", "95 % interval", "B", "95 % interval", "B - A", "p"], rows, below
        )

    def __str__(self) -> str:
        return self.table().text()


def _hundredfold(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _interval(edges: tuple[float, float] | None) -> str:
    return "" if edges is None else f"{100 * edges[0]:.2f} to {100 * edges[1]:.2f}"
