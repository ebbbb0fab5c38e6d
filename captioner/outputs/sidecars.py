"""Captions beside their photos: photo.txt for photo.jpg."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from captioner.data.path_list import PathList
from captioner.outputs.resumable_file import combined_lines, reason_of
from captioner.types import CaptionResult
from rnnkit.errors import UserError
from rnnkit.files import write_file


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
            self.photos = PathList(str(photo) for photo in photos if not _sidecar(photo).exists())
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
            write_file(sidecar, b"".join(line + b"\n" for line in lines))
        except OSError as error:
            return f"its sidecar cannot be written ({reason_of(error)})"
        return None

    def __exit__(self, *error: object) -> None:
        pass


def _sidecar(photo: Path) -> Path:
    return photo.parent / f"{photo.stem}.txt"
