"""Careful wording: searching again without the colours, numbers and gendered words that are unsure.

No word is cut out of a sentence or replaced in it: the search itself goes another way, to "a
person" or to a shirt without a colour. It says nothing that the first sentence did not say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache

import torch
from torch import Tensor

from captioner.confidence import ConfidenceModel
from captioner.decoding.gender import PRONOUNS
from captioner.metrics.truth import COLOURS, NUMBERS, gender, is_content, singular
from captioner.network.vocabulary import SPECIAL, Vocabulary
from rnnkit.beam_search import Hypothesis

THRESHOLD = 0.5  # chosen on validation photos: docs/scores.md
CAREFUL_CLARITY = 0.98  # how clear a gender must be for careful wording
ROUNDS = 3  # of searches in which single words are excluded; then their whole kind is
KINDS = ("colour", "number", "gender")
NEUTRAL = frozenset(("person", "child"))  # what a gendered word may become

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

    The new sentences about an image have no content words but those of the first ones and, if
    there is a gendered word among them, NEUTRAL.

    Args:
        search: finds other sentences for some of the images.
        sentences: of each image, best first, as the search found them at first.
    """
    found = [list(group) for group in sentences]
    excluded = torch.zeros(len(found), len(vocabulary), dtype=torch.bool)  # (B, V)
    avoidable, content = _word_lists(vocabulary)
    waiting = list(range(len(found)))
    for number in range(ROUNDS + len(KINDS)):  # after which none of them is left
        again = []
        for image in waiting:
            unsure = _unsure_words(found[image], model, vocabulary, threshold)
            if unsure:
                said = {word for each in sentences[image] for word in _lemmas(each, vocabulary)}
                if any(_kind(word) == "gender" for word in said):
                    said |= NEUTRAL
                excluded[image] |= content.without(said)
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


def _lemmas(sentence: Hypothesis, vocabulary: Vocabulary) -> list[str]:
    return [singular(word) for word in vocabulary.tokens(sentence.ids)]


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


class _ContentWords:
    """The content words of a vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._all = torch.zeros(len(vocabulary), dtype=torch.bool)  # (V,)
        self._ids: dict[str, list[int]] = {}  # by lemma
        for index, word in enumerate(vocabulary.words):
            if index >= len(SPECIAL) and is_content(word):
                self._all[index] = True
                self._ids.setdefault(singular(word), []).append(index)

    def without(self, lemmas: AbstractSet[str]) -> Tensor:
        """True for all of them but those of the lemmas, (vocabulary,)."""
        others = self._all.clone()
        others[[index for lemma in lemmas for index in self._ids.get(lemma, ())]] = False
        return others


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


@lru_cache(maxsize=4)  # five milliseconds, for each batch
def _word_lists(vocabulary: Vocabulary) -> tuple[_AvoidableWords, _ContentWords]:
    return _AvoidableWords(vocabulary), _ContentWords(vocabulary)
