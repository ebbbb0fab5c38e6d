"""Captions inside the photos: a copy of each photo, or the photo itself, gets a description."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from captioner.data.path_list import PathList
from captioner.outputs.places import Mirror, check_targets
from captioner.outputs.resumable_file import check_writable, combine_lines, reason_of
from captioner.outputs.xmp_exif import EmbedError, read_description, with_description
from captioner.types import Caption, CaptionResult
from rnnkit.errors import UserError
from rnnkit.files import replace_file


class MetadataOutput:
    """Captions in the metadata of photos: of copies in a folder, or of the photos themselves.

    What `if_exists` does: with skip, a photo that already has a copy, or in place a description, is
    left alone; overwrite replaces the description and the copy; append and prepend add the lines
    that the photo's own description does not have.

    Args:
        folder: where copies go, under the paths that the photos have below `roots`; None works in
            place.
        roots: the folders that were asked for.

    Raises: UserError naming two photos that want the same copy, a copy that would be a photo or not
        in the folder, or a folder that cannot be written.
    """

    def __init__(
        self,
        photos: Sequence[Path],
        if_exists: str,
        folder: Path | None,
        roots: Sequence[Path] = (),
    ) -> None:
        self.photos, self._if_exists = photos, if_exists
        self._folder = folder
        if folder is not None:
            _check_folder(folder)
            self._copy = Mirror(folder, roots)
            shared = check_targets(
                photos,
                self._target,
                becomes="be copied to",
                remedy="choose another --output, or use --in-place",
                folder=folder,
            )
            for photo, other in shared.items():
                raise UserError(
                    f"'{photo}' and '{other}' would both be copied to '{self._target(photo)}':"
                    " rename one, or choose another --output, or use --in-place"
                )
        if if_exists == "skip":
            self.photos = PathList(str(photo) for photo in photos if not self._is_done(photo))

    def _target(self, photo: Path) -> Path:
        if self._folder is None:
            return Path(os.path.realpath(photo))  # the file behind a link
        return self._copy(photo)

    def _is_done(self, photo: Path) -> bool:
        if self._folder is not None:
            return self._target(photo).exists()
        return _description(photo) != ""

    def existing(self, photos: Sequence[Path]) -> Iterator[tuple[Path, tuple[Caption, ...]]]:
        """Each photo and the captions in its copy or, in place, in itself."""
        for photo in photos:
            lines = _description(self._target(photo)).splitlines()
            yield photo, tuple(Caption.written(line) for line in lines if line.strip())

    def __enter__(self) -> Self:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __call__(self, row: CaptionResult) -> str | None:
        """Write a photo; returns the reason if that is not possible."""
        if row.error is not None or row.unsure:
            return None
        lines = [caption.text for caption in row.captions]
        try:
            data = row.path.read_bytes()
            if self._if_exists in ("append", "prepend"):
                lines = combine_lines(read_description(data).splitlines(), lines, self._if_exists)
            described = with_description(data, "\n".join(lines))
            target = self._target(row.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            # Synced: the photo that it replaces may be the only one.
            with replace_file(target, like=row.path, only_writer=True) as temporary:
                temporary.write_bytes(described)
        except EmbedError as error:
            return str(error)
        except OSError as error:
            return f"cannot be rewritten ({reason_of(error)})"
        return None

    def __exit__(self, *error: object) -> None:
        pass


def _description(photo: Path) -> str:
    """What a photo says about itself; empty if it cannot be read, which its row will explain."""
    try:
        with (
            photo.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return read_description(data)
    except (EmbedError, OSError, ValueError):
        return ""


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(
            f"'{folder}' is a file: with --embed, --output is the folder for the copies"
        )
    above = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    check_writable(above / ".probe")
