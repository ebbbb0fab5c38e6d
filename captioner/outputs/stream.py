"""Captions to a stream, such as standard output."""

from __future__ import annotations

from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from captioner.outputs.resumable_file import distinct_keys
from captioner.outputs.text_formats import Format
from captioner.types import CaptionResult


class Stream:
    """Rows written to a stream of text, which cannot be read back."""

    def __init__(
        self, stream: TextIO, format: Format, photos: Sequence[Path], *, close: bool = False
    ) -> None:
        if format.name == "coco":
            distinct_keys(photos, format)
        self.photos = photos
        self._stream, self._format, self._close = stream, format, close
        self._rows = 0

    def __enter__(self) -> Self:
        if isinstance(self._stream, TextIOWrapper):
            # A terminal may not know every character.
            self._stream.reconfigure(errors="backslashreplace")
        self._write(self._format.header)
        return self

    def __call__(self, row: CaptionResult) -> None:
        data = self._format.encode(row)
        if data:
            self._write((self._format.separator if self._rows else b"") + data)
            self._rows += 1

    def _write(self, data: bytes) -> None:
        self._stream.write(data.decode())
        self._stream.flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, OSError):  # an interrupted run leaves valid JSON too
            self._write(self._format.footer)
        if self._close:
            self._stream.close()
