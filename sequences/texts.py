"""The texts that a command works on: its arguments, a file's lines, or those of standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from rnnkit.errors import UserError
from sequences.data import read_lines

CHUNK = 512  # texts that are worked on together


def text_chunks(arguments: Sequence[str] | None, from_file: str | None) -> Iterator[list[str]]:
    """Texts in chunks: from a terminal each line at once, otherwise many.

    Args:
        from_file: a path, or - for standard input.

    Raises: UserError if there are both arguments and a file, or the input is not UTF-8.
    """
    if arguments and from_file:
        raise UserError("give texts as arguments or --from-file, not both")
    if from_file and from_file != "-":
        yield from _chunks(iter(read_lines(Path(from_file))), CHUNK)
    elif arguments:
        yield from _chunks(iter(arguments), CHUNK)
    else:
        size = 1 if sys.stdin is not None and sys.stdin.isatty() else CHUNK
        yield from _chunks(_stdin_lines(), size)


def _stdin_lines() -> Iterator[str]:
    if sys.stdin is None:
        return
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise UserError(f"line {number} of standard input is not UTF-8 text") from None


def _chunks(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    while chunk := list(islice(texts, size)):
        yield chunk
