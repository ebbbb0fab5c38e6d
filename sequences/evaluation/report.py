"""Scores of a model on examples that it has not learned, with intervals and simple baselines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnkit.metrics.bleu import bleu, bleu_counts
from rnnkit.metrics.bootstrap import interval, resample
from rnnkit.metrics.tokenizer import tokenize
from sequences.classifier import Classifier
from sequences.data import Labelled, Pair, Tagged
from sequences.evaluation.entities import entity_scores
from sequences.network.crf import is_bio
from sequences.tagger import Tagger
from sequences.translator import Translator
from sequences.words import split_words

Score = Callable[[np.ndarray], dict[str, float]]


@dataclass(frozen=True)
class Evaluation:
    """Scores as fractions.

    Attributes:
        examples: how many were scored.
        values: by metric.
        intervals: 95 % bootstrap intervals over the examples.
        baselines: what needs no network, by name, each by metric.
    """

    task: str
    examples: int
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    baselines: dict[str, dict[str, float]]

    def as_json(self) -> dict[str, Any]:
        """The metrics by name, then the rest."""
        return {
            **self.values,
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "baselines": self.baselines,
            "examples": self.examples,
        }


def evaluate_classifier(
    model: Classifier, examples: Sequence[Labelled], *, bootstrap: int = 1000
) -> Evaluation:
    """Accuracy, and its mean over the labels; baselines: the commonest label, naive Bayes."""
    wanted = np.array([example.label for example in examples])
    found = model.classify_batch([example.text for example in examples])
    score = _accuracy(np.array([answer.label for answer in found]), wanted)
    baselines = {}
    if model.evidence is not None:
        labels = np.array(model.labels)
        commonest = np.full(len(examples), labels[model.evidence.totals.argmax()])
        bayes = model.evidence.naive_bayes([split_words(example.text) for example in examples])
        everything = np.arange(len(examples))
        baselines = {
            "the commonest label": _accuracy(commonest, wanted)(everything),
            "naive Bayes on words and pairs": _accuracy(labels[bayes], wanted)(everything),
        }
    return _evaluation("classify", score, len(examples), baselines, bootstrap)


def evaluate_tagger(
    model: Tagger, examples: Sequence[Tagged], *, bootstrap: int = 1000
) -> Evaluation:
    """Accuracy and, for entities, F1 of whole ones; baseline: each word's most frequent tag."""
    found = [
        [word.tag for word in row] for row in model.tag_batch([each.words for each in examples])
    ]
    usual = [[model.usual_tag(word) for word in example.words] for example in examples]
    baseline = _tag_score(usual, examples)(np.arange(len(examples)))
    return _evaluation(
        "tag",
        _tag_score(found, examples),
        len(examples),
        {"each word's most frequent tag": baseline},
        bootstrap,
    )


def evaluate_translator(
    model: Translator,
    examples: Sequence[Pair],
    *,
    learned: Sequence[Pair] = (),
    beam_size: int = 5,
    bootstrap: int = 1000,
) -> Evaluation:
    """Corpus BLEU-4; baselines: the sentence as it is, and the translation of the one most like it.

    Args:
        learned: what the model learned from, for the second baseline.
    """
    sources = [example.source for example in examples]
    found = [
        translation.text for translation in model.translate_batch(sources, beam_size=beam_size)
    ]
    wanted = [example.target for example in examples]
    guesses = {"the sentence not translated": sources}
    if learned:
        guesses["the nearest learned sentence's translation"] = nearest_translations(
            sources, learned
        )
    everything = np.arange(len(examples))
    baselines = {who: _bleu_score(texts, wanted)(everything) for who, texts in guesses.items()}
    return _evaluation("translate", _bleu_score(found, wanted), len(examples), baselines, bootstrap)


def nearest_translations(sources: Sequence[str], learned: Sequence[Pair]) -> list[str]:
    """For each text the translation of the pair whose text shares the largest share of words.

    The share is Jaccard's: words of both by words of either. Of equally near ones, the first.
    """
    known = [(frozenset(split_words(pair.source.lower())), pair.target) for pair in learned]
    found = []
    for source in sources:
        words = frozenset(split_words(source.lower()))
        found.append(max(known, key=lambda pair: len(words & pair[0]) / len(words | pair[0]))[1])
    return found


def _evaluation(
    task: str, score: Score, count: int, baselines: dict[str, dict[str, float]], bootstrap: int
) -> Evaluation:
    drawn = resample(score, count, bootstrap, seed=0)
    return Evaluation(
        task,
        count,
        score(np.arange(count)),
        {name: interval(values) for name, values in drawn.items()},
        baselines,
    )


def _accuracy(found: np.ndarray, wanted: np.ndarray) -> Score:
    right = found == wanted
    labels, label_of = np.unique(wanted, return_inverse=True)

    def score(places: np.ndarray) -> dict[str, float]:
        counts = np.bincount(label_of[places], minlength=len(labels))
        hits = np.bincount(label_of[places], weights=right[places], minlength=len(labels))
        present = counts > 0
        return {
            "accuracy": float(right[places].mean()),
            "balanced_accuracy": float((hits[present] / counts[present]).mean()),
        }

    return score


def _tag_score(found: Sequence[Sequence[str]], examples: Sequence[Tagged]) -> Score:
    rows = []
    for ours, example in zip(found, examples, strict=True):
        right = sum(a == b for a, b in zip(ours, example.tags, strict=True))
        rows.append([right, len(ours), *_entity_counts(ours, example.tags)])
    counts = np.array(rows)  # (sentences, 5)
    with_entities = is_bio(sorted({tag for example in examples for tag in example.tags}))

    def score(places: np.ndarray) -> dict[str, float]:
        right, words, entities_right, entities_found, wanted = counts[places].sum(0)
        scores = {"accuracy": float(right / words)}
        if with_entities:
            scores["entity_f1"] = float(2 * entities_right / max(entities_found + wanted, 1))
        return scores

    return score


def _entity_counts(found: Sequence[str], wanted: Sequence[str]) -> tuple[int, int, int]:
    counts = entity_scores([found], [wanted])
    return counts.right, counts.found, counts.wanted


def _bleu_score(predictions: Sequence[str], references: Sequence[str]) -> Score:
    counts = bleu_counts(
        [tokenize(text) for text in predictions], [[tokenize(text)] for text in references]
    )
    return lambda places: {"bleu_4": float(bleu(counts, places)[-1])}
