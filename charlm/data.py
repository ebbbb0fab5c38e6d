"""Characters to ids and back, and a text laid out as parallel streams cut into chunks."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, overload

import numpy as np
import torch

from rnnkit.errors import UserError

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
UnknownPolicy = Literal["error", "skip", "replace"]


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, line ends as they are; a byte order mark at the start is dropped.

    Raises: UserError naming the file and the offset of the first byte that is not UTF-8; OSError if
        it cannot be read.
    """
    data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = error.start + (path.stat().st_size - len(data))
        raise UserError(
            f"'{path}' is not UTF-8 text: byte 0x{data[error.start]:02x} at offset {offset} is"
            " wrong; convert or repair the file"
        ) from None


class Vocabulary(Sequence[str]):
    """The symbols a model knows, each a single character, in the order of their ids (most frequent
    first).

    Where rare characters were left out of it, one more symbol, UNKNOWN, stands for all of them.
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        self.symbols = tuple(symbols)
        if (
            not self.symbols
            or any(not isinstance(s, str) or len(s) != 1 for s in self.symbols)
            or len(set(self.symbols)) != len(self.symbols)
        ):
            raise UserError("a vocabulary must be a list of different single characters")
        codes = np.array([ord(symbol) for symbol in self.symbols])
        self._ids = np.argsort(codes)
        self._codes = codes[self._ids]

    @classmethod
    def of(cls, text: str, *, min_count: int = 1, max_size: int = 5000) -> Vocabulary:
        """The vocabulary of a text.

        Args:
            min_count: characters seen less often become UNKNOWN.
            max_size: only so many of the most frequent ones are kept, which bounds the vocabulary
                of a stray file.

        Raises: UserError if that leaves none.
        """
        if not text:
            raise UserError("the text is empty: give one with something to read")
        counts = sorted(Counter(text).items(), key=lambda item: (-item[1], item[0]))
        kept = [symbol for symbol, count in counts[:max_size] if count >= min_count]
        if not kept:
            raise UserError(
                f"no character stands {min_count} times in the text: lower --min-count, or raise"
                " --max-vocabulary"
            )
        return cls(kept if len(kept) == len(counts) or UNKNOWN in kept else [*kept, UNKNOWN])

    @property
    def begin(self) -> int:
        """What is read where a text has nothing before it: a line end, else the most frequent
        character.
        """
        return self.symbols.index("\n") if "\n" in self.symbols else 0

    @property
    def unknown(self) -> int | None:
        """The id of UNKNOWN, which is never to be drawn; None where there is none."""
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
        return isinstance(other, Vocabulary) and self.symbols == other.symbols

    def __hash__(self) -> int:
        return hash(self.symbols)

    def __repr__(self) -> str:
        return f"Vocabulary({''.join(self.symbols)!r})"

    def encode(self, text: str, *, unknown: UnknownPolicy = "error") -> torch.Tensor:
        """Ids of a text, int64, shape (characters,).

        Args:
            unknown: what to do with characters outside the vocabulary: "error", "skip" (drop them)
                or "replace" (by UNKNOWN).

        Raises: UserError naming the characters, under "error", or under "replace" where the
            vocabulary has no UNKNOWN.
        """
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        places = np.minimum(np.searchsorted(self._codes, codes), len(self) - 1)
        known = self._codes[places] == codes
        ids = self._ids[places]
        if not known.all():
            if unknown == "skip":
                ids = ids[known]
            elif unknown == "replace" and self.unknown is not None:
                ids = np.where(known, ids, self.unknown)
            else:
                raise UserError(
                    f"the model has never seen {_listing(chr(code) for code in codes[~known])}:"
                    " leave them out, or use --unknown skip"
                )
        return torch.from_numpy(ids.astype(np.int64))

    def decode(self, ids: Iterable[int] | torch.Tensor) -> str:
        """The text of some ids."""
        return "".join(
            self.symbols[index]
            for index in (ids.tolist() if isinstance(ids, torch.Tensor) else ids)
        )


def _listing(characters: Iterable[str]) -> str:
    different = sorted(set(characters))
    shown = ", ".join(f"{character!r} (U+{ord(character):04X})" for character in different[:8])
    return f"the characters {shown}" + (
        f" and {len(different) - 8} more" if len(different) > 8 else ""
    )


def streams(
    ids: torch.Tensor, batch_size: int, offset: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """A text as parallel streams: each column is a stretch of it, to be read from top to bottom.

    Args:
        ids: (characters,).
        offset: where in the text the first stream starts; the text is taken as a ring, so no
            character is lost by it.

    Returns: inputs and targets, both (length, batch_size), length = (characters - 1) // batch_size;
        a target is the character after its input. Up to batch_size - 1 characters at the ring's end
        are in no stream.
    Raises: UserError if the text is too short to give each stream one character and the next.
    """
    length = (len(ids) - 1) // batch_size
    if length < 1:
        raise UserError(
            f"{len(ids)} characters are too few for {batch_size} parallel streams: use a longer"
            " text or a smaller --batch-size"
        )
    ring = torch.roll(ids, -offset)
    used = length * batch_size
    return ring[:used].view(batch_size, length).T, ring[1 : used + 1].view(batch_size, length).T


def chunks(
    inputs: torch.Tensor, targets: torch.Tensor, length: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Streams cut across into chunks of at most `length` time steps, in order, so that hidden state
    can carry over.
    """
    for start in range(0, len(inputs), length):
        yield inputs[start : start + length], targets[start : start + length]
