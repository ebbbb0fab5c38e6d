"""How sure a captioner is of its words: the chance that people use each of them for the same photo.

A logistic regression on how probable a word and its sentence were to the decoder, and on which word
it is: of "blue", people bear out less than of "dog". It is fitted on validation photos by
`captioner.training.confidence` and lies in the checkpoint's config.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from captioner.metrics.truth import COLOURS, NUMBERS, gender, is_content, singular
from rnnkit.beam_search import Hypothesis

FEATURES = (
    "log_prob",  # natural log of the word's probability, after the words before it
    "prob",  # the same without the log
    "rarity",  # log of the word's place in the vocabulary, in which frequent words come first
    "place",  # in the sentence, from 0 to 1
    "length",  # of the sentence in words
    "mean",  # of the log_prob of the sentence's words
    "least",  # the lowest of them
    "colour",
    "gendered",
    "number",
    "participle",  # ends in -ing: what somebody is doing
)
UNSURE = 0.4  # below it the page calls a word unsure


@dataclass(frozen=True)
class ConfidenceModel:
    """A logistic regression over FEATURES, with an offset of its own for each frequent word.

    Attributes:
        bias: the log-odds of a word whose features are all 0.
        weights: by feature.
        words: added to the log-odds, by content word in the singular.
    """

    bias: float
    weights: Mapping[str, float]
    words: Mapping[str, float]

    @classmethod
    def from_config(cls, stored: Mapping[str, Any]) -> ConfidenceModel:
        """From a checkpoint's config.

        Raises: KeyError, TypeError or ValueError for what is not such a model.
        """
        weights = {name: float(stored["weights"][name]) for name in FEATURES}
        words = {str(word): float(offset) for word, offset in stored["words"].items()}
        bias = float(stored["bias"])
        if not all(map(math.isfinite, (bias, *weights.values(), *words.values()))):
            raise ValueError("the weights of the confidence must be numbers")
        return cls(bias, weights, words)

    def as_config(self) -> dict[str, Any]:
        """What a checkpoint's config stores."""
        return asdict(self)

    def word_confidence(
        self, sentence: Hypothesis, words: Sequence[str]
    ) -> tuple[float | None, ...]:
        """For each word of a sentence, the chance that people use it; None for function words."""
        features = word_features(sentence, words)
        return tuple(
            None if found is None else self._probability(singular(word), found)
            for word, found in zip(words, features, strict=True)
        )

    def _probability(self, word: str, features: Sequence[float]) -> float:
        weighted = zip(self.weights.values(), features, strict=True)
        log_odds = self.bias + self.words.get(word, 0.0) + sum(w * value for w, value in weighted)
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, log_odds))))


def word_features(sentence: Hypothesis, words: Sequence[str]) -> list[tuple[float, ...] | None]:
    """FEATURES of each word of a sentence; None for function words.

    Args:
        words: of the sentence, as many as it has ids.
    """
    log_probs = sentence.word_log_probs
    length = len(words)
    mean, least = sum(log_probs) / max(length, 1), min(log_probs, default=0.0)
    found: list[tuple[float, ...] | None] = []
    for position, (word, index, log_prob) in enumerate(
        zip(words, sentence.ids, log_probs, strict=True)
    ):
        if not is_content(word):
            found.append(None)
            continue
        lemma = singular(word)
        found.append(
            (
                log_prob,
                math.exp(log_prob),
                math.log(index),
                position / length,
                float(length),
                mean,
                least,
                float(lemma in COLOURS),
                float(gender(lemma) != ""),
                float(lemma in NUMBERS),
                float(word.endswith("ing")),
            )
        )
    return found


def caption_confidence(words: Sequence[float | None]) -> float:
    """The mean confidence of a caption's content words; 0 if it has none, and so says nothing."""
    known = [sure for sure in words if sure is not None]
    return sum(known) / len(known) if known else 0.0


def rank(sentence: Hypothesis, words: Sequence[str], model: ConfidenceModel) -> float:
    """What a search's sentences about one photo are put in order by: score and confidence.

    The score says what is likely to be said, the confidence what is likely to be true.
    """
    return sentence.score + caption_confidence(model.word_confidence(sentence, words))
