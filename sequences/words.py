"""Text into words and back, and the words and characters that a model knows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch

from rnnkit.errors import UserError

PAD, UNKNOWN = 0, 1
SPECIAL = ("<pad>", "<unknown>")
MAX_SPELLING = 24  # characters of a word that are read: of a longer one, its two ends

_QUOTES = {0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'}
_CLITIC = r"'(?:[sS]|[mM]|[dD]|ll|LL|re|RE|ve|VE)(?!\w)"
_WORD = re.compile(
    rf"""
      (?:https?://|www\.)\S+ | [\w.+-]+@[\w-]+(?:\.[\w-]+)+        # addresses
    | [@#]\w+                                                      # @name and #subject
    | \d+(?:[.,:/]\d+)*(?:st|nd|rd|th|s|%)?(?!\w)                  # 1,000  10:20  1/2  80s
    | (?:[^\W\d_]\.){{2,}}                                         # U.S.
    | (?:Mr|Mrs|Ms|Dr|St|vs)\.
    | {_CLITIC} | [nN]['][tT](?!\w)
    | \w+?(?=n't(?!\w)|N'T(?!\w))                                  # the word before n't
    | \w+(?:(?!{_CLITIC})['-]\w+)*
    | \.{{2,}} | -{{2,}} | [!?]{{2,}}
    | \S
    """,
    re.VERBOSE,
)
_NO_SPACE_BEFORE = re.compile(
    r"\s+(?=(?:[.,!?;:%)\]}]|\.{2,}|n't(?!\w)|'(?:s|m|d|ll|re|ve)(?!\w)))"
)
_NO_SPACE_AFTER = re.compile(r"([(\[{$])\s+")
_QUOTED = re.compile(r'"\s*([^"]*?)\s*"')


def split_words(text: str) -> list[str]:
    """The words and punctuation of a text: "It's fine." is It, 's, fine and a full stop."""
    return _WORD.findall(text.translate(_QUOTES))


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where in a text each of `split_words` begins and ends."""
    return [found.span() for found in _WORD.finditer(text.translate(_QUOTES))]


def join_words(words: Iterable[str]) -> str:
    """Words as a text, with spaces where English has them: what `split_words` took apart."""
    text = _NO_SPACE_BEFORE.sub("", " ".join(words))
    return _QUOTED.sub(r'"\1"', _NO_SPACE_AFTER.sub(r"\1", text))


class Sentences(NamedTuple):
    """Some sentences as a batch: T words at most, B sentences, U different words."""

    words: torch.Tensor  # (T, B) ids of words, PAD after the last
    spellings: torch.Tensor  # (C, U) ids of characters, PAD after the last
    spelling_lengths: torch.Tensor  # (U,)
    spelling_of: torch.Tensor  # (T, B) which spelling each word has
    lengths: torch.Tensor  # (B,) words of each sentence

    def to(self, device: torch.device) -> Sentences:
        """The same batch on another device."""
        return Sentences(*(part.to(device) for part in self))

    @property
    def mask(self) -> torch.Tensor:
        """True where a sentence has a word, (T, B)."""
        steps = torch.arange(len(self.words), device=self.lengths.device)
        return steps[:, None] < self.lengths


class WordVocabulary:
    """The words and characters that a model knows; no text is unknown, because words are spelt.

    Words are looked up in lower case. Rare ones have only their spelling.

    Args:
        words, characters: in the order of their ids, which follow those of SPECIAL.
        cased: whether the spelling keeps capitals.

    Raises: UserError if a list holds anything but different texts.
    """

    def __init__(self, words: Iterable[str], characters: Iterable[str], *, cased: bool) -> None:
        self.words, self.characters, self.cased = tuple(words), tuple(characters), cased
        for kind, listed in (("words", self.words), ("characters", self.characters)):
            if not all(isinstance(entry, str) for entry in listed) or len(set(listed)) < len(
                listed
            ):
                raise UserError(f"a vocabulary's {kind} must be a list of different texts")
        self._ids = {word: index for index, word in enumerate(self.words, len(SPECIAL))}
        self._character_ids = {
            character: index for index, character in enumerate(self.characters, len(SPECIAL))
        }

    @classmethod
    def of(
        cls,
        sentences: Iterable[Sequence[str]],
        *,
        min_count: int,
        cased: bool,
        known: WordVocabulary | None = None,
    ) -> WordVocabulary:
        """The vocabulary of some sentences, most frequent first.

        Args:
            min_count: words seen less often have only their spelling. Characters are kept if they
                are in two words, so that there are strange ones to learn from.
            known: a vocabulary whose entries come first, in their order.
        """
        counts = Counter(word for sentence in sentences for word in sentence)
        words: Counter[str] = Counter()
        characters: Counter[str] = Counter()
        for word, count in counts.items():
            words[word.lower()] += count
            for character in set(word if cased else word.lower()):
                characters[character] += count
        kept = [word for word, count in _by_frequency(words) if count >= min_count]
        spelt = [character for character, count in _by_frequency(characters) if count > 1]
        if known is not None:
            kept = list(dict.fromkeys([*known.words, *kept]))
            spelt = list(dict.fromkeys([*known.characters, *spelt]))
        return cls(kept, spelt, cased=cased)

    @property
    def num_words(self) -> int:
        """Words with those of SPECIAL."""
        return len(self.words) + len(SPECIAL)

    @property
    def num_characters(self) -> int:
        """Characters with those of SPECIAL."""
        return len(self.characters) + len(SPECIAL)

    def word_id(self, word: str) -> int:
        """The id of a word; UNKNOWN if it has none."""
        return self._ids.get(word.lower(), UNKNOWN)

    def encode(self, sentences: Sequence[Sequence[str]]) -> Sentences:
        """Sentences of words as a batch; each must have at least one word."""
        spelt: dict[str, int] = {}
        known: dict[str, tuple[int, int]] = {}  # its id, and which spelling it has
        for word in dict.fromkeys(chain.from_iterable(sentences)):
            spelling = spelt.setdefault(self._spelling(word), len(spelt))
            known[word] = self.word_id(word), spelling
        spellings = [
            [self._character_ids.get(character, UNKNOWN) for character in spelling]
            for spelling in spelt
        ]
        return Sentences(
            _padded([[known[word][0] for word in sentence] for sentence in sentences]),
            _padded(spellings),
            torch.tensor([len(spelling) for spelling in spelt]),
            _padded([[known[word][1] for word in sentence] for sentence in sentences]),
            torch.tensor([len(sentence) for sentence in sentences]),
        )

    def _spelling(self, word: str) -> str:
        if len(word) > MAX_SPELLING:
            word = word[: MAX_SPELLING // 2] + word[-MAX_SPELLING // 2 :]
        return word if self.cased else word.lower()


def _padded(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Rows as the columns of one table, (longest, rows), with PAD after their ends."""
    lengths = np.array([len(row) for row in rows])
    table = np.full((len(rows), lengths.max()), PAD, dtype=np.int64)
    table[np.arange(table.shape[1]) < lengths[:, None]] = list(chain.from_iterable(rows))
    return torch.from_numpy(table).T.contiguous()


def _by_frequency(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
