"""Careful wording: searching again without the colours, numbers and gendered words that are unsure.

No word is cut out of a sentence or replaced in it: the search itself goes another way, to "a
person" or to a shirt without a colour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from captioner.confidence import ConfidenceModel
from captioner.decoding.gender import PRONOUNS
from captioner.metrics.truth import COLOURS, NUMBERS, gender, singular
from captioner.network.vocabulary import Vocabulary
from rnnkit.beam_search import Hypothesis

THRESHOLD = 0.5  # chosen on validation photos: docs/scores.md
CAREFUL_CLARITY = 0.98  # how clear a gender must be for careful wording
ROUNDS = 3  # of searches in which single words are excluded; then their whole kind is
KINDS = ("colour", "number", "gender")

# (images (A,), their excluded words (A, vocabulary)) -> sentences of each image, best first
Search = Callable[[Tensor, Tensor], list[list[Hypothesis]]]


def search_carefully(
    search: Search,
    sentences: Sequence[Sequence[Hypothesis]],
    model: ConfidenceModel,
    vocabulary: Vocabulary,
    *,
    threshold: float = THRESHOLD,
) -> list[list[Hypothesis]]:
    """Sentences without colours, numbers and gendered words that are less sure than a threshold.

    Args:
        search: finds other sentences for some of the images.
        sentences: of each image, best first, as the search found them at first.
    """
    found = [list(group) for group in sentences]
    excluded = torch.zeros(len(found), len(vocabulary), dtype=torch.bool)  # (B, V)
    avoidable = _AvoidableWords(vocabulary)
    waiting = list(range(len(found)))
    for number in range(ROUNDS + len(KINDS)):  # after which none of them is left
        again = []
        for image in waiting:
            unsure = _unsure_words(found[image], model, vocabulary, threshold)
            if unsure:
                ids = avoidable.with_kind if number >= ROUNDS else avoidable.with_word
                excluded[image, [index for word in unsure for index in ids(word)]] = True
                again.append(image)
        if not again:
            break
        images = torch.tensor(again)
        for image, group in zip(again, search(images, excluded[images]), strict=True):
            found[image] = group
        waiting = again
    return found


def _unsure_words(
    group: Sequence[Hypothesis], model: ConfidenceModel, vocabulary: Vocabulary, threshold: float
) -> set[str]:
    """In the singular, the words of an image's sentences that are to be avoided."""
    unsure = set()
    for sentence in group:
        words = vocabulary.tokens(sentence.ids)
        for word, sure in zip(words, model.word_confidence(sentence, words), strict=True):
            if sure is not None and sure < threshold and _kind(singular(word)):
                unsure.add(singular(word))
    return unsure


def _kind(lemma: str) -> str:
    """Which of KINDS a word is of; empty for all others."""
    if lemma in COLOURS:
        return "colour"
    if lemma in NUMBERS:
        return "number"
    return "gender" if gender(lemma) or lemma in PRONOUNS else ""


class _AvoidableWords:
    """The colours, numbers and gendered words of a vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._words = [
            (index, lemma, _kind(lemma))
            for index, lemma in enumerate(map(singular, vocabulary.words))
            if _kind(lemma)
        ]

    def with_word(self, word: str) -> list[int]:
        """Ids of both numbers of a word and, if it is gendered, of the pronouns of its gender."""
        own = gender(word) or "no gender"
        return [i for i, lemma, _ in self._words if lemma == word or PRONOUNS.get(lemma) == own]

    def with_kind(self, word: str) -> list[int]:
        """Ids of all words of a word's kind."""
        return [index for index, _, kind in self._words if kind == _kind(word)]
