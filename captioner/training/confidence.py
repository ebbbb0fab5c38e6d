"""Fits how sure a captioner is of its words, on validation photos, and measures how true that is.

It is fitted on all sentences that the search ends with, because it chooses among them.

A word counts as true if people use it for the same photo. Photos have about five references, and
`captioner.metrics.truth` judges captions by all but the last of them, as it does people. That
counts for three quarters of what is fitted here; judged by all of them, a few more words are true.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from torch import Tensor

from captioner.captioner import Captioner
from captioner.confidence import FEATURES, ConfidenceModel, caption_confidence, rank, word_features
from captioner.data.annotations import Example
from captioner.metrics.calibration import (
    calibration_table,
    expected_calibration_error,
    risk_coverage,
    split_half_gain,
)
from captioner.metrics.truth import References, singular
from captioner.types import Decoding
from rnnkit.beam_search import Hypothesis
from rnnkit.metrics.ngrams import Tokens
from rnnkit.metrics.tokenizer import tokenize

JUDGES = (0.75, 0.25)  # weights: all references but the last, and all
LEAST_WORDS = 100  # to fit from
LEAST_USES = 20  # of a word that gets an offset of its own
RIDGE, WORD_RIDGE = 1.0, 5.0  # penalties of the squared weights
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


@dataclass(frozen=True)
class WrittenSentence:
    """What a captioner wrote about a photo, and what people did."""

    sentence: Hypothesis
    words: Sequence[str]
    references: Sequence[Tokens]

    @property
    def judges(self) -> tuple[References, References]:
        """All references but the last (if there are several), and all of them."""
        return References(self.references[:-1] or self.references), References(self.references)


def write_sentences(
    captioner: Captioner,
    examples: Sequence[Example],
    features: Tensor,
    decoding: Decoding,
    *,
    batch_size: int = 32,
) -> list[list[WrittenSentence]]:
    """The sentences about each photo, up to `decoding.num_captions`.

    Args:
        features: of the examples' photos (photos, regions, channels).
    """
    written = []
    for start in range(0, len(examples), batch_size):
        batch = features[start : start + batch_size].float()
        groups = captioner.search_features(batch, decoding)
        for example, group in zip(examples[start : start + batch_size], groups, strict=True):
            references = [tokenize(caption) for caption in example.captions]
            written.append(
                [
                    WrittenSentence(sentence, captioner.vocabulary.tokens(sentence.ids), references)
                    for sentence in group
                ]
            )
    return written


# --- fitting --------------------------------------------------------------------------------------


def fit_confidence(written: Sequence[WrittenSentence]) -> ConfidenceModel | None:
    """A logistic regression with a ridge penalty, by Newton's method.

    Labels are smoothed as by Platt (1999), so that words that are all true give finite weights.

    Returns: None if the sentences have fewer than LEAST_WORDS content words.
    """
    words, features, labels = _table(written)
    if len(words) < LEAST_WORDS:
        return None
    uses = Counter(words)
    frequent = sorted(word for word, count in uses.items() if count >= LEAST_USES)
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-9
    inputs = np.column_stack(
        [
            np.ones(len(words)),
            (features - mean) / deviation,
            np.array([[word == own for own in frequent] for word in words], dtype=float),
        ]
    )
    penalties = np.array([0.0] + [RIDGE] * len(FEATURES) + [WORD_RIDGE] * len(frequent))
    bias, *weights = _logistic_regression(inputs, labels, penalties)
    own = np.array(weights[: len(FEATURES)]) / deviation
    return ConfidenceModel(
        bias=round(float(bias - own @ mean), 5),
        weights={name: round(float(w), 5) for name, w in zip(FEATURES, own, strict=True)},
        words={
            word: round(float(offset), 3)
            for word, offset in zip(frequent, weights[len(FEATURES) :], strict=True)
        },
    )


def _table(written: Sequence[WrittenSentence]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Content words in the singular, their features (N, F), and how true they are (N,)."""
    words, features, labels = [], [], []
    for each in written:
        judges = each.judges
        for word, found in zip(each.words, word_features(each.sentence, each.words), strict=True):
            if found is not None:
                words.append(singular(word))
                features.append(found)
                verdicts = zip(JUDGES, judges, strict=True)
                labels.append(sum(weight * judge.support(word) for weight, judge in verdicts))
    return words, np.array(features).reshape(len(words), len(FEATURES)), np.array(labels)


def _logistic_regression(
    inputs: np.ndarray, labels: np.ndarray, penalties: np.ndarray
) -> np.ndarray:
    """Weights (D,) for inputs (N, D) and labels (N,) from 0 to 1."""
    true = labels.sum()
    high, low = (true + 1) / (true + 2), 1 / (len(labels) - true + 2)
    targets = low + labels * (high - low)
    weights = np.zeros(inputs.shape[1])
    for _ in range(50):
        stated = 1 / (1 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (stated - targets) + penalties * weights
        curvature = (inputs * (stated * (1 - stated))[:, None]).T @ inputs + np.diag(penalties)
        step = np.linalg.solve(curvature + 1e-9 * np.eye(len(weights)), gradient)
        weights -= step
        if np.abs(step).max() < 1e-7:
            break
    return weights


# --- measuring ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reliability:
    """How far the confidence can be trusted, on photos that it was not fitted on.

    Attributes:
        photos, words: how many.
        errors: expected calibration error in ten bins, by references without the last and by all.
        bins: for each bin words, mean confidence, and the share that is true, weighted by JUDGES.
        gain: by how much more of their words people support in the surer half of the captions.
        curve: share of captions kept, least confidence kept, share of their words without support.
    """

    photos: int
    words: int
    errors: tuple[float, float]
    bins: list[tuple[int, float, float]]
    gain: float
    curve: list[tuple[float, float, float]]

    def lines(self) -> Iterator[str]:
        """The measurements as Markdown."""
        fewer, all_ = self.errors
        yield (
            f"{self.photos} photos, {self.words} content words: expected calibration error"
            f" {fewer:.3f} by all references but the last, {all_:.3f} by all; in the surer half of"
            f" the captions people support {100 * self.gain:.1f} points more of the words"
        )
        yield "\n| confidence | words | people use |\n|---|---|---|"
        for count, stated, true in self.bins:
            yield f"| {stated:.2f} | {count} | {true:.2f} |"
        yield "\n| captions kept | confidence of at least | words without support |\n|---|---|---|"
        for share, least, risk in self.curve:
            yield f"| {share:.0%} | {least:.2f} | {risk:.1%} |"


def fit_folds(
    written: Sequence[Sequence[WrittenSentence]], folds: int = 2
) -> list[ConfidenceModel] | None:
    """For each fold (the photos i with i % folds the same), a model fitted on the other folds.

    Returns: None if the other folds have too few words to fit a model.
    """
    models = []
    for fold in range(folds):
        others = (group for i, group in enumerate(written) if i % folds != fold)
        model = fit_confidence(list(chain.from_iterable(others)))
        if model is None:
            return None
        models.append(model)
    return models


def cross_fitted(
    written: Sequence[Sequence[WrittenSentence]], models: Sequence[ConfidenceModel]
) -> tuple[list[WrittenSentence], list[Sequence[float | None]]]:
    """Each photo's first sentence and its word confidence, by a model that the photo did not fit.

    Args:
        written: the sentences about each photo.
        models: from `fit_folds`.
    """
    first: list[WrittenSentence] = []
    sure: list[Sequence[float | None]] = []
    for index, group in enumerate(written):
        model = models[index % len(models)]
        chosen = max(group, key=lambda each: rank(each.sentence, each.words, model))
        first.append(chosen)
        sure.append(model.word_confidence(chosen.sentence, chosen.words))
    return first, sure


def measure(
    written: Sequence[WrittenSentence], confidence: Sequence[Sequence[float | None]]
) -> Reliability:
    """Compare the stated confidence of sentences' words with what people support."""
    stated: list[float] = []
    true: list[list[tuple[bool, bool]]] = []  # by sentence and content word, by both judges
    for each, sure in zip(written, confidence, strict=True):
        fewer, all_ = each.judges
        pairs = zip(each.words, sure, strict=True)
        content = [(word, own) for word, own in pairs if own is not None]
        stated += [own for _, own in content]
        true.append([(fewer.support(word), all_.support(word)) for word, _ in content])
    labels = np.array(list(chain.from_iterable(true)), dtype=float).reshape(-1, 2)  # (N, 2)
    sure_of = np.array([caption_confidence(own) for own in confidence])
    supported = np.array([sum(fewer for fewer, _ in own) for own in true])
    words = np.array([len(own) for own in true])
    probabilities = np.array(stated)
    return Reliability(
        len(written),
        len(stated),
        (
            expected_calibration_error(probabilities, labels[:, 0]),
            expected_calibration_error(probabilities, labels[:, 1]),
        ),
        calibration_table(probabilities, labels @ np.array(JUDGES)),
        split_half_gain(sure_of, supported, words),
        risk_coverage(sure_of, supported, words, COVERAGES),
    )
