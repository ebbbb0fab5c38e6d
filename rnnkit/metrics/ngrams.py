"""N-grams of many captions as arrays: numbered, counted, and matched with the references'."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count

import numpy as np

Tokens = Sequence[str]

ORDERS = 4
# More than there can be n-grams of one order, so that two numbers fit into one integer.
_NUMBERS = 2**31


@dataclass(frozen=True)
class NgramCounts:
    """The n-grams of one order in some captions: a row for each, sorted by caption, then n-gram."""

    caption: np.ndarray  # (rows,) index of the caption
    ngram: np.ndarray  # (rows,) number of the n-gram
    count: np.ndarray  # (rows,) how often the caption has it


class NgramIndex:
    """Numbers for the words, and for the n-grams of two to four words, of some captions.

    An n-gram is identified by the pair of (n - 1)-grams that it begins and ends with; its number is
    the index of that pair in the sorted list of all pairs.

    Args:
        captions: tokenised captions whose n-grams get the numbers from 0 to sizes[n - 1].
    """

    def __init__(self, captions: Iterable[Tokens]) -> None:
        captions = list(captions)
        self._words = {
            word: number for number, word in enumerate(dict.fromkeys(chain.from_iterable(captions)))
        }
        # For n = 2..4, sorted; the last element is greater than any pair.
        self._pairs: list[np.ndarray] = []
        caption, number = self._word_numbers(captions)
        for _ in range(1, ORDERS):
            caption, pair = _neighbours(caption, number)
            known, number = np.unique(pair, return_inverse=True)
            self._pairs.append(np.append(known, _NUMBERS**2))

    @property
    def sizes(self) -> list[int]:
        """How many n-grams of each order are known."""
        return [len(self._words), *(len(pairs) - 1 for pairs in self._pairs)]

    def count(self, *groups: Sequence[Tokens]) -> list[tuple[NgramCounts, ...]]:
        """The n-grams of groups of captions, one tuple of groups for each n = 1..4.

        N-grams that are not known have numbers above those that are; they hold for this call only.
        """
        caption, number = self._word_numbers([tokens for group in groups for tokens in group])
        counted = [count_pairs(caption, number)]
        for known in self._pairs:
            caption, pair = _neighbours(caption, number)
            number = np.searchsorted(known, pair)
            unknown = known[number] != pair
            number[unknown] = len(known) + np.unique(pair[unknown], return_inverse=True)[1]
            counted.append(count_pairs(caption, number))
        return [_split_groups(counts, [len(group) for group in groups]) for counts in counted]

    def _word_numbers(self, captions: Sequence[Tokens]) -> tuple[np.ndarray, np.ndarray]:
        """The caption's index and the word's number, for each word of all captions in a row."""
        numbers = defaultdict(count(len(self._words)).__next__, self._words)
        caption = np.repeat(np.arange(len(captions)), [len(tokens) for tokens in captions])
        return caption, np.fromiter(
            map(numbers.__getitem__, chain.from_iterable(captions)),
            dtype=np.int64,
            count=len(caption),
        )


def _split_groups(counts: NgramCounts, sizes: Sequence[int]) -> tuple[NgramCounts, ...]:
    """The rows of consecutive groups of captions, whose sizes are given."""
    parts, start = [], 0
    for size in sizes:
        rows = slice(*np.searchsorted(counts.caption, (start, start + size)))
        parts.append(
            NgramCounts(counts.caption[rows] - start, counts.ngram[rows], counts.count[rows])
        )
        start += size
    return tuple(parts)


def count_pairs(caption: np.ndarray, ngram: np.ndarray) -> NgramCounts:
    """How often each pair of a caption and an n-gram occurs."""
    pairs, counts = np.unique(caption * _NUMBERS + ngram, return_counts=True)
    return NgramCounts(pairs // _NUMBERS, pairs % _NUMBERS, counts)


def shared_ngrams(
    predictions: NgramCounts, references: NgramCounts, image: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The n-grams that a reference shares with its image's prediction.

    Args:
        predictions: of one caption for each image.
        image: (references,) index of the image of each reference.

    Returns: rows of the predictions and rows of the references, pair by pair.
    """
    ours = predictions.caption * _NUMBERS + predictions.ngram  # sorted, as the rows are
    theirs = image[references.caption] * _NUMBERS + references.ngram
    index = np.searchsorted(ours, theirs)
    index[index == len(ours)] = 0
    row = np.flatnonzero(ours[index] == theirs) if len(ours) else np.zeros(0, dtype=np.int64)
    return index[row], row


def _neighbours(caption: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each n-gram: its caption, and the pair of (n - 1)-grams that it begins and ends with.

    Args:
        caption, number: of all (n - 1)-grams, in the order of the text.
    """
    together = caption[:-1] == caption[1:]
    return caption[:-1][together], number[:-1][together] * _NUMBERS + number[1:][together]


def flatten(references: Sequence[Sequence[Tokens]]) -> tuple[list[Tokens], np.ndarray]:
    """All references in one list, and the index of each one's image, (references,)."""
    sizes = [len(group) for group in references]
    return list(chain.from_iterable(references)), np.repeat(np.arange(len(references)), sizes)
