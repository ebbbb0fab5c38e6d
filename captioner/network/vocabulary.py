"""Words to ids, and ids to sentences as people write them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from rnnkit.errors import UserError
from rnnkit.metrics.tokenizer import BRACKETS, tokenize

PAD, START, END, UNKNOWN = 0, 1, 2, 3
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
_SURROGATE = re.compile("[\ud800-\udfff]")
_CLITICS = frozenset(("'s", "'n", "'m", "'d", "'ll", "'re", "'ve", "n't"))
_BRACKETS = {token: bracket for bracket, token in BRACKETS.items()}
_OPENING, _CLOSING = frozenset("([{"), frozenset(BRACKETS[bracket] for bracket in ")]}")


def repeatable_words(captions: Iterable[Sequence[str]], *, share: float = 0.06) -> list[str]:
    """Words that people use more than once in a caption.

    Most of them are small (a, in, of); some mean something else the second time (a tennis player
    playing tennis). A network that repeats any other word has usually lost count: "a bed with a
    bed".

    Args:
        captions: tokenised.
        share: a word counts if it is repeated in at least this share of the captions that have it.
    """
    present, repeated = Counter[str](), Counter[str]()
    for caption in captions:
        for word, count in Counter(caption).items():
            present[word] += 1
            repeated[word] += count > 1
    return sorted(
        word for word, count in repeated.items() if count >= share * present[word] and count
    )


class Vocabulary:
    """The words that a captioner knows, in the order of their ids; special tokens come first."""

    def __init__(self, words: Sequence[str]) -> None:
        if tuple(words[: len(SPECIAL)]) != SPECIAL or len(set(words)) != len(words):
            raise ValueError(
                "a vocabulary starts with <pad> <start> <end> <unk> and has no word twice"
            )
        for word in words:
            if not isinstance(word, str):
                raise ValueError(f"a vocabulary's words must be text, not {word!r}")
            if not _can_be_written(word):
                raise ValueError(f"the vocabulary has {word!r}, which is not a word")
        self.words = tuple(words)
        self._ids = {word: index for index, word in enumerate(words)}

    @classmethod
    def from_captions(cls, captions: Iterable[Iterable[str]], *, min_count: int = 1) -> Vocabulary:
        """The words that tokenised captions use at least min_count times, most frequent first."""
        counts = Counter(word for caption in captions for word in caption)
        kept = sorted(
            (word for word, n in counts.items() if n >= min_count and _can_be_written(word)),
            key=lambda word: (-counts[word], word),
        )
        return cls((*SPECIAL, *kept))

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Ids between <start> and <end>; words that are not in the vocabulary become <unk>."""
        return [START, *(self._ids.get(token, UNKNOWN) for token in tokens), END]

    def encode_prefix(self, text: str) -> tuple[int, ...]:
        """Ids of the words that a caption is to begin with; none for an empty text.

        Raises: UserError naming the words that are not in the vocabulary.
        """
        tokens = tokenize(text)
        if not tokens and text.strip():
            raise UserError(f"the prefix '{text}' has no words")
        if unknown := [f"'{token}'" for token in dict.fromkeys(tokens) if token not in self._ids]:
            raise UserError(
                f"the captioner does not know {_listed(unknown)} of the prefix '{text}', so it"
                " cannot go on from there",
                hint="use other words, or --prepend, which puts any text before its captions",
            )
        return tuple(self._ids[token] for token in tokens)

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The words before the first <end>, without special tokens."""
        words = []
        for index in ids:
            if index == END:
                break
            if index >= len(SPECIAL):
                words.append(self.words[index])
        return words

    def decode(self, ids: Iterable[int]) -> str:
        """The sentence as people write it, with clitics ('s, n't) and brackets joined to words.

        Tokenising it gives the same tokens.
        """
        sentence, previous = "", ""
        for word in self.tokens(ids):
            clitic = word in _CLITICS and previous[-1:].isalnum() and previous not in _CLITICS
            joined = not sentence or clitic or previous in _OPENING or word in _CLOSING
            previous = _BRACKETS.get(word, word)
            sentence += previous if joined else f" {previous}"
        return sentence


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _can_be_written(word: str) -> bool:
    """Whether a word fits into rows of captions: lines of UTF-8, with tabs between their cells."""
    return word.splitlines() == [word] and "\t" not in word and not _SURROGATE.search(word)
