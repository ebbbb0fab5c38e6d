"""Where captions go: standard output, a file, or a text file beside each photo; one door to all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TextIO

from captioner.jobs.pipeline import Photos
from captioner.outputs.resumable_file import (
    EXISTING,
    RowFile,
    combined_lines,
    distinct_keys,
    reason_of,
)
from captioner.outputs.text_formats import FORMATS, Format
from captioner.types import CaptionResult, EncodedPicture
from rnnkit.errors import UserError

FORMAT_NAMES = (*FORMATS, "sidecar", "parquet", "webdataset")


class Output(Protocol):
    """Says which photos it still wants captions of, then takes their rows. Nothing is changed
    before it is entered.
    """

    @property
    def photos(self) -> Sequence[Path] | Iterable[EncodedPicture]: ...

    def __enter__(self) -> Self: ...

    def __call__(self, row: CaptionResult) -> str | None:
        """Take a row, which is whole in the output afterwards; returns why not where this photo
        cannot have one.
        """

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_output(
    format: str,
    output: Path | None,
    stdout: TextIO,
    photos: Sequence[Path] = (),
    *,
    existing: str = "skip",
    num_captions: int = 1,
    made_by: str = "",
) -> Output:
    """Where rows of photos go in a format.

    Args:
        output: a file; None or - is stdout, except for sidecars, which lie beside their photos.
        existing: what becomes of captions that are there already; see
            `captioner.outputs.resumable_file.RowFile` and `Sidecars`.
        num_captions, made_by: see `captioner.outputs.resumable_file.RowFile`.

    Raises: UserError for an unknown format, or an output that cannot be written or holds something
        else.
    """
    if format not in FORMAT_NAMES or format == "webdataset":
        raise UserError(f"unknown format '{format}': use {', '.join(FORMAT_NAMES)}")
    if existing not in EXISTING:
        raise UserError(f"unknown --existing '{existing}': use {', '.join(EXISTING)}")
    if format == "sidecar":
        if output is not None:
            raise UserError(
                "sidecars lie beside their photos: leave out --output, or use another --format"
            )
        return Sidecars(photos, existing)
    if output == Path("-"):
        output = None
    if format == "parquet":
        from captioner.outputs.parquet import ParquetFile  # an extra

        return ParquetFile(output, photos, existing, made_by=made_by)
    if output is None:
        return Stream(stdout, FORMATS[format], photos)
    if output.exists() and not output.is_file() and not output.is_dir():  # a device or a named pipe
        return Stream(output.open("w", encoding="utf-8"), FORMATS[format], photos, close=True)
    return RowFile(
        output, FORMATS[format], photos, existing, num_captions=num_captions, made_by=made_by
    )


class Stream:
    """Rows to a stream of text, which cannot be read back."""

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
            self._stream.reconfigure(
                errors="backslashreplace"
            )  # a terminal may know fewer letters than UTF-8
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
        if not isinstance(error, OSError):  # a run that is cut short leaves whole JSON too
            self._write(self._format.footer)
        if self._close:
            self._stream.close()


class Sidecars:
    """A text file beside each photo, photo.txt beside photo.jpg: a line for each caption, whole or
    not there.

    What `existing` does where there is a sidecar already: skip leaves photo and sidecar alone,
    overwrite writes it anew, append and prepend add the lines that it does not have yet after or
    before its own.

    Raises: UserError naming two photos that want the same sidecar, or a folder that cannot be
        written.
    """

    def __init__(self, photos: Sequence[Path], existing: str) -> None:
        wanted: dict[str, int] = {}
        folders: set[Path] = set()
        for index, photo in enumerate(photos):
            sidecar = _sidecar(photo)
            if (other := wanted.setdefault(str(sidecar), index)) != index:
                raise UserError(
                    f"'{photos[other]}' and '{photo}' would both be described in '{sidecar}':"
                    " rename one, or use another --format"
                )
            if photo.parent not in folders:
                folders.add(photo.parent)
                if photo.parent.is_dir() and not os.access(photo.parent, os.W_OK):
                    raise UserError(
                        f"cannot write to the folder '{photo.parent}' (permission denied): use"
                        " another --format with --output"
                    )
        self.photos = photos
        if existing == "skip":
            self.photos = Photos(str(photo) for photo in photos if not _sidecar(photo).exists())
        self._existing = existing

    def __enter__(self) -> Self:
        return self

    def __call__(self, row: CaptionResult) -> str | None:
        if row.error is not None:
            return None
        sidecar = _sidecar(row.path)
        lines = [caption.text.encode() for caption in row.captions]
        try:
            if self._existing in ("append", "prepend") and sidecar.exists():
                lines = combined_lines(sidecar.read_bytes().splitlines(), lines, self._existing)
            write_whole(sidecar, b"".join(line + b"\n" for line in lines))
        except OSError as error:
            return f"its sidecar cannot be written ({reason_of(error)})"
        return None

    def __exit__(self, *error: object) -> None:
        pass


def _sidecar(photo: Path) -> Path:
    return photo.parent / f"{photo.stem}.txt"


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a kill or a full disk leaves the old one or the new one, never half of
    it.

    Raises: OSError naming the file.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None
