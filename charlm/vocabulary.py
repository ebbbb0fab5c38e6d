"""The characters that a model knows: characters to ids and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, overload

import numpy as np
import torch

from rnnkit.errors import UserError

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
UnknownPolicy = Literal["error", "skip", "replace"]


class CharacterVocabulary(Sequence[str]):
    """The characters that a model knows, in the order of their ids: most frequent first.

    If rare characters were left out, one more symbol, UNKNOWN, stands for all of them.

    Raises: UserError if the symbols are not different single characters, or one is a surrogate.
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        self.symbols = tuple(symbols)
        if (
            not self.symbols
            or any(not isinstance(s, str) or len(s) != 1 for s in self.symbols)
            or len(set(self.symbols)) != len(self.symbols)
        ):
            raise UserError("a vocabulary must be a list of different single characters")
        if half := next((s for s in self.symbols if "\ud800" <= s <= "\udfff"), None):
            raise UserError(f"a vocabulary cannot have half of a character (U+{ord(half):04X})")
        codes = np.array([ord(symbol) for symbol in self.symbols])
        self._ids = np.argsort(codes)
        self._codes = codes[self._ids]

    @classmethod
    def of(cls, text: str, *, min_count: int = 1, max_size: int = 5000) -> CharacterVocabulary:
        """The vocabulary of a text.

        Args:
            min_count: characters seen less often become UNKNOWN.
            max_size: how many of the most frequent ones are kept, so that a stray file does not
                make a huge vocabulary.

        Raises: UserError if none is left.
        """
        if not text:
            raise UserError("the text is empty")
        counts = sorted(Counter(text).items(), key=lambda item: (-item[1], item[0]))
        kept = [symbol for symbol, count in counts[:max_size] if count >= min_count]
        if not kept:
            raise UserError(
                f"no character occurs {min_count:,} times in the text",
                hint="lower --min-count, or raise --max-vocabulary",
            )
        return cls(kept if len(kept) == len(counts) or UNKNOWN in kept else [*kept, UNKNOWN])

    @property
    def begin(self) -> int:
        """What to read before a text begins: a line end, else the most frequent character."""
        return self.symbols.index("\n") if "\n" in self.symbols else 0

    @property
    def unknown(self) -> int | None:
        """The id of UNKNOWN, which must never be drawn; None if there is none."""
        return self.symbols.index(UNKNOWN) if UNKNOWN in self.symbols else None

    def __len__(self) -> int:
        return len(self.symbols)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self.symbols[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CharacterVocabulary) and self.symbols == other.symbols

    def __hash__(self) -> int:
        return hash(self.symbols)

    def __repr__(self) -> str:
        return f"CharacterVocabulary({''.join(self.symbols)!r})"

    def encode(self, text: str, *, unknown: UnknownPolicy = "error") -> torch.Tensor:
        """Ids of a text, int64, shape (characters,).

        Args:
            unknown: what to do with characters outside the vocabulary: "error", "skip" (drop them)
                or "replace" (by UNKNOWN; an error if there is none).

        Raises: UserError naming the characters.
        """
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        indices = np.minimum(np.searchsorted(self._codes, codes), len(self) - 1)
        known = self._codes[indices] == codes
        ids = self._ids[indices]
        if not known.all():
            if unknown == "skip":
                ids = ids[known]
            elif unknown == "replace" and self.unknown is not None:
                ids = np.where(known, ids, self.unknown)
            else:
                raise UserError(
                    f"the model has never seen {_listing(chr(code) for code in codes[~known])}",
                    hint="leave them out, or use --unknown skip",
                )
        return torch.from_numpy(ids.astype(np.int64))

    def decode(self, ids: Iterable[int] | torch.Tensor) -> str:
        """The text that the ids stand for."""
        numbers = ids.tolist() if isinstance(ids, torch.Tensor) else ids
        return "".join(self.symbols[number] for number in numbers)


def _listing(characters: Iterable[str]) -> str:
    different = sorted(set(characters))
    shown = ", ".join(f"{character!r} (U+{ord(character):04X})" for character in different[:8])
    return f"the characters {shown}" + (
        f" and {len(different) - 8} more" if len(different) > 8 else ""
    )
