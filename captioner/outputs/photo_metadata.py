"""Captions inside the photos themselves: each photo copied, or rewritten in place, with its caption
as its description.
"""

from __future__ import annotations

import mmap
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from captioner.data.path_list import PathList
from captioner.outputs.resumable_file import check_writable, combined_lines, reason_of
from captioner.outputs.xmp_exif import EmbedError, read_description, with_description
from captioner.types import CaptionResult
from rnnkit.errors import UserError


class MetadataOutput:
    """Photos that say their captions themselves: copies in a folder, or the photos in place.

    What `existing` does: with skip, a photo whose copy is there, or in place one that has a
    description, is left alone; overwrite replaces description and copy; append and prepend add the
    lines that the photo's own description has not.

    Args:
        folder: where copies go, under the names that the photos have in the folders of `roots`;
            None works in place.
        roots: the folders that were asked for.

    Raises: UserError naming two photos that want the same copy, or a folder that cannot be written.
    """

    def __init__(
        self, photos: Sequence[Path], existing: str, folder: Path | None, roots: Sequence[Path] = ()
    ) -> None:
        self.photos, self._existing, self._folder = photos, existing, folder
        self._roots = roots
        if folder is not None:
            _check_copies(photos, self._target, folder)
        if existing == "skip":
            self.photos = PathList(str(photo) for photo in photos if not self._is_done(photo))

    def _target(self, photo: Path) -> Path:
        if self._folder is None:
            return Path(os.path.realpath(photo))  # through a link, so that it stays one
        root = next((root for root in self._roots if photo.is_relative_to(root)), photo.parent)
        return self._folder / photo.relative_to(root)

    def _is_done(self, photo: Path) -> bool:
        if self._folder is not None:
            return self._target(photo).exists()
        try:
            with (
                photo.open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
            ):
                return read_description(data) != ""
        except (EmbedError, OSError, ValueError):  # it will be a row that says why
            return False

    def __enter__(self) -> Self:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __call__(self, row: CaptionResult) -> str | None:
        """Write a photo; returns the reason where that cannot be."""
        if row.error is not None:
            return None
        lines = [caption.text for caption in row.captions]
        try:
            data = row.path.read_bytes()
            if self._existing in ("append", "prepend"):
                lines = combined_lines(read_description(data).splitlines(), lines, self._existing)
            _replace(
                self._target(row.path), with_description(data, "\n".join(lines)), like=row.path
            )
        except EmbedError as error:
            return str(error)
        except OSError as error:
            return f"cannot be rewritten ({reason_of(error)})"
        return None

    def __exit__(self, *error: object) -> None:
        pass


def _check_copies(photos: Sequence[Path], target: Callable[[Path], Path], folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(
            f"'{folder}' is a file: with --embed, --output is the folder for the copies"
        )
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    check_writable(existing / ".probe")
    copies: dict[str, int] = {}
    for index, photo in enumerate(photos):
        copy = target(photo)
        if (other := copies.setdefault(str(copy), index)) != index:
            raise UserError(
                f"'{photos[other]}' and '{photo}' would both be copied to '{copy}': rename one, or"
                " caption them one by one"
            )
        if copy.exists() and copy.samefile(photo):
            raise UserError(
                f"the copy of '{photo}' would be the photo itself: use --in-place, or another"
                " --output"
            )


def _replace(path: Path, data: bytes, *, like: Path) -> None:
    """Write a whole photo or none, with the mode and owner of the one that it is made from.

    Raises: OSError naming the file.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # the photo that it replaces may be the only one
        shutil.copymode(like, part)
        if hasattr(os, "chown"):
            with suppress(OSError):
                os.chown(part, like.stat().st_uid, like.stat().st_gid)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None
