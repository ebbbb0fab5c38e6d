"""The texts that a command works on: its arguments, a file's lines, or those of standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from rnnkit.errors import UserError
from sequences.data import read_lines

CHUNK = 512  # texts that are worked on together


def text_chunks(arguments: Sequence[str] | None, from_file: str | None) -> Iterator[list[str]]:
    """Texts in chunks: from a terminal each line at once, otherwise many.

    Args:
        from_file: a path, or - for standard input.

    Raises: UserError if there are both arguments and a file, if there is no text at all, or if the
        input is not UTF-8.
    """
    if arguments and from_file:
        raise UserError("give texts as arguments or --from-file, not both")
    if from_file and from_file != "-":
        texts, where, size = iter(read_lines(Path(from_file))), f"'{from_file}'", CHUNK
    elif arguments:
        texts, where, size = iter(arguments), "the command line", CHUNK
    else:
        at_once = sys.stdin is not None and sys.stdin.isatty()
        texts, where, size = _stdin_lines(), "standard input", 1 if at_once else CHUNK
    first = next(texts, None)
    if first is None:
        raise UserError(f"there is nothing to read: {where} is empty")
    rest = chain([first], texts)
    while chunk := list(islice(rest, size)):
        yield chunk


def _stdin_lines() -> Iterator[str]:
    if sys.stdin is None:
        return
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise UserError(f"line {number} of standard input is not UTF-8 text") from None
