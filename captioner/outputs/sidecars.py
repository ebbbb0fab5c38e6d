"""Captions beside their photos: photo.txt for photo.jpg."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from captioner.data.path_list import PathList
from captioner.outputs.places import check_targets
from captioner.outputs.resumable_file import combine_lines, reason_of
from captioner.types import CaptionResult
from rnnkit.errors import UserError
from rnnkit.files import write_file


class Sidecars:
    """A text file beside each photo, photo.txt for photo.jpg, with a line for each caption.

    What `if_exists` does if there is a sidecar with words already: skip leaves photo and sidecar
    alone, overwrite replaces the sidecar, append and prepend add the lines that it does not have
    yet after or before its own. Each sidecar is written as a whole or not at all. Unsure captions
    are left out.

    Raises: UserError naming two photos that want the same sidecar, a sidecar that would be a photo,
        or a folder that cannot be written.
    """

    def __init__(self, photos: Sequence[Path], if_exists: str) -> None:
        check_targets(photos, _sidecar, becomes="be described in", remedy="use another --format")
        folders: set[Path] = set()
        for photo in photos:
            if photo.parent not in folders:
                folders.add(photo.parent)
                if photo.parent.is_dir() and not os.access(photo.parent, os.W_OK):
                    raise UserError(
                        f"cannot write to the folder '{photo.parent}' (permission denied): use"
                        " another --format with --output"
                    )
        self.photos = photos
        if if_exists == "skip":
            self.photos = PathList(str(photo) for photo in photos if not _has_caption(photo))
        self._if_exists = if_exists

    def __enter__(self) -> Self:
        return self

    def __call__(self, row: CaptionResult) -> str | None:
        if row.error is not None or row.unsure:
            return None
        sidecar = _sidecar(row.path)
        lines = [caption.text.encode() for caption in row.captions]
        try:
            adds = self._if_exists in ("append", "prepend") and sidecar.exists()
            if adds:
                lines = combine_lines(sidecar.read_bytes().splitlines(), lines, self._if_exists)
            data = b"".join(line + b"\n" for line in lines)
            # Waiting for the disk takes 3 ms, half as long as a caption, which can be made again;
            # people's own words cannot.
            write_file(sidecar, data, sync=adds, only_writer=True)
        except OSError as error:
            return f"its sidecar cannot be written ({reason_of(error)})"
        return None

    def __exit__(self, *error: object) -> None:
        pass


def _sidecar(photo: Path) -> Path:
    return photo.parent / f"{photo.stem}.txt"


def _has_caption(photo: Path) -> bool:
    try:
        return _sidecar(photo).read_bytes().strip() != b""
    except FileNotFoundError:
        return False
    except OSError:  # writing will say why
        return True
