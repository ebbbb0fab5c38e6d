"""Scores of captions, alone or beside another captioner's, and how they are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from captioner.data.annotations import Example
from captioner.evaluation.table import Table
from captioner.metrics.meteor_spice import java_scores
from captioner.metrics.scores import Scores, score_captions
from captioner.metrics.truth import Support, people_support, score_support
from rnnkit.errors import UserError
from rnnkit.metrics.bleu import nltk_bleu
from rnnkit.metrics.bootstrap import paired_p_value
from rnnkit.metrics.tokenizer import tokenize

NAMES = {
    "bleu_1": "BLEU-1", "bleu_2": "BLEU-2", "bleu_3": "BLEU-3", "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L", "cider_d": "CIDEr-D", "meteor": "METEOR", "spice": "SPICE",
}  # fmt: skip
SUPPORT_NAMES = {
    "content": "content words supported",
    "colour": "colour words supported",
    "gendered": "gendered words supported",
}
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
    support: Support  # of the captions' words by all references of a photo but the last
    people: Support | None  # of the last reference's words by the others
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
        support = {
            "captions": _support_json(self.support),
            "people": None if self.people is None else _support_json(self.people),
        }
        return {
            **header,
            **scores,
            **counted,
            "support": support,
            "nltk_bleu": self.nltk,
            "left_out": self.left_out,
        }

    def table(self) -> Table:
        """Scores times 100, as papers print them."""
        s = self.scores
        rows = [
            [
                NAMES[name],
                _hundredfold(value),
                _interval(s.intervals.get(name)),
                _hundredfold(self.nltk.get(name)),
                "",
                "",
            ]
            for name, value in s.values.items()
        ]
        people = self.people
        rows += [
            [
                SUPPORT_NAMES[kind],
                _hundredfold(share),
                _interval(self.support.intervals.get(kind)),
                "",
                _hundredfold(None if people is None else people.values.get(kind)),
                _interval(None if people is None else people.intervals.get(kind)),
            ]
            for kind, share in self.support.values.items()
        ]
        left_out = [f"{NAMES[name]} left out: {reason}" for name, reason in self.left_out.items()]
        above = [self.heading, f"captions: {self.decoding}", f"tokens: {TOKENISER}"]
        columns = ["", "score", "95 % interval", "nltk's", "people's", "95 % interval"]
        return Table(above, columns, rows, [*left_out, self.counts, *self.words])

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

    @property
    def words(self) -> list[str]:
        """How much the captions say, and which of their words most often lack support."""
        people = "" if self.people is None else f", people's {self.people.content_words:.2f}"
        said = f"content words a caption: {self.support.content_words:.2f}{people}"
        words = [f"{word} {lacking} of {uses}" for word, lacking, uses in self.support.unsupported]
        return [said, f"most often unsupported: {', '.join(words)}"] if words else [said]


def _support_json(support: Support) -> dict[str, Any]:
    return {
        "values": support.values,
        "intervals": support.intervals,
        "words": support.judged,
        "content_words_per_caption": support.content_words,
        "most_often_unsupported": [
            {"word": word, "unsupported": lacking, "used": uses}
            for word, lacking, uses in support.unsupported
        ],
    }


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
            "at least two images are needed: CIDEr weighs words by how few images have them"
        )
    more, left_out = java_scores(predictions, references) if java else ({}, {})
    scores = score_captions(predictions, references, bootstrap=bootstrap, seed=seed, more=more)
    # Captions and people are judged by as many references, so that their support can be compared.
    others = [group[:-1] or group for group in references]
    return Report(
        data,
        split,
        missing,
        decoding,
        scores,
        score_support(predictions, others, bootstrap=bootstrap, seed=seed),
        people_support(references, bootstrap=bootstrap, seed=seed),
        nltk_bleu(predictions, references),
        left_out,
        distinct=len({tuple(tokens) for tokens in predictions}),
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
            name: {"difference": other.value - one.value, "p_value": _p_value(one, other)}
            for name, (one, other) in self._pairs().items()
        }
        return {
            "first": self.first.as_json(),
            "second": self.second.as_json(),
            "differences": differences,
            "test": TEST,
        }

    def _pairs(self) -> dict[str, tuple[_Measured, _Measured]]:
        """Every metric that both reports have."""
        one, other = _measured(self.first), _measured(self.second)
        return {name: (one[name], other[name]) for name in one if name in other}

    def table(self) -> Table:
        """Scores times 100, and the differences."""
        rows = []
        for name, (one, other) in self._pairs().items():
            p = _p_value(one, other)
            rows.append(
                [
                    {**NAMES, **SUPPORT_NAMES}[name],
                    _hundredfold(one.value),
                    _interval(one.interval),
                    _hundredfold(other.value),
                    _interval(other.interval),
                    f"{100 * (other.value - one.value):+.2f}",
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
        drawn = self.first.scores.drawn
        test = [f"p: {TEST}, {len(next(iter(drawn.values())))} draws"] if drawn else []
        below = [*left_out, *test]
        for name, report in (("A", self.first), ("B", self.second)):
            nltk = ", ".join(_hundredfold(value) for value in report.nltk.values())
            below.append(f"{name}: {report.counts}; nltk's BLEU-1 to 4 {nltk}")
            below += [f"{name}: {line}" for line in report.words]
        return Table(
            above, ["", "A", "95 % interval", "B", "95 % interval", "B - A", "p"], rows, below
        )


@dataclass(frozen=True)
class _Measured:
    """One captioner by one metric."""

    value: float
    interval: tuple[float, float] | None
    drawn: np.ndarray | None  # (resamples,)


def _measured(report: Report) -> dict[str, _Measured]:
    """The report's scores and shares of supported words, by metric."""
    return {
        name: _Measured(value, part.intervals.get(name), part.drawn.get(name))
        for part in (report.scores, report.support)
        for name, value in part.values.items()
    }


def _p_value(one: _Measured, other: _Measured) -> float | None:
    """How often chance alone would make as great a difference; None without a bootstrap."""
    if one.drawn is None or other.drawn is None:
        return None
    drawn = other.drawn - one.drawn
    return paired_p_value(other.value - one.value, drawn[np.isfinite(drawn)])


def _hundredfold(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _interval(edges: tuple[float, float] | None) -> str:
    return "" if edges is None else f"{100 * edges[0]:.2f} to {100 * edges[1]:.2f}"
