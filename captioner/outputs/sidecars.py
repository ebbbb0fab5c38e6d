"""Captions beside their photos, or in a folder of their own: photo.txt for photo.jpg."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Self

from captioner.data.images import EXTENSIONS
from captioner.data.path_list import PathList
from captioner.outputs.places import Mirror, check_targets
from captioner.outputs.resumable_file import combine_lines, reason_of
from captioner.types import Caption, CaptionResult
from rnnkit.errors import UserError
from rnnkit.files import write_file

EXTENSION = ".txt"


class Sidecars:
    """A text file for each photo, photo.txt for photo.jpg, with a line for each caption.

    What `if_exists` does if there is a sidecar with words already: skip leaves photo and sidecar
    alone, overwrite replaces the sidecar, append and prepend add the lines that it does not have
    yet after or before its own. Each sidecar is written as a whole or not at all. Unsure captions
    are left out.

    Args:
        extension: what the sidecars' names end with.
        folder: where they go, under the paths that the photos have below `roots`; beside the photos
            if not given.
        roots: the folders that were asked for.

    Attributes:
        photos: those to caption.
        refused: photos that share their sidecar with another one, and why they get none.

    Raises: UserError for a sidecar that would be a photo, or a folder that cannot be written.
    """

    def __init__(
        self,
        photos: Sequence[Path],
        if_exists: str,
        *,
        extension: str = EXTENSION,
        folder: Path | None = None,
        roots: Sequence[Path] = (),
    ) -> None:
        self._target = sidecar_names(extension, folder, roots)
        shared = check_targets(
            photos,
            self._target,
            becomes="be described in",
            remedy="use another --format or --extension",
            folder=folder,
        )
        self.refused = {
            photo: "shares its sidecar with another photo"
            f" ('{self._target(photo)}' would be that of '{other}' too: rename one of them)"
            for photo, other in shared.items()
        }
        if folder is not None and folder.exists() and not folder.is_dir():
            raise UserError(f"--sidecar-folder '{folder}' is a file")
        places = {photo.parent for photo in photos} if folder is None else {_existing(folder)}
        for place in places:
            if place.is_dir() and not os.access(place, os.W_OK):
                raise UserError(
                    f"cannot write to the folder '{place}' (permission denied): use another"
                    " --format with --output, or --sidecar-folder"
                )
        todo = (photo for photo in photos if photo not in self.refused)
        if if_exists == "skip":
            todo = (photo for photo in todo if not _has_words(self._target(photo)))
        self.photos: Sequence[Path] = PathList(str(photo) for photo in todo)
        self._if_exists, self._folder = if_exists, folder

    def __enter__(self) -> Self:
        return self

    def __call__(self, row: CaptionResult) -> str | None:
        if row.error is not None or row.unsure:
            return None
        sidecar = self._target(row.path)
        lines = [caption.text.encode() for caption in row.captions]
        try:
            adds = self._if_exists in ("append", "prepend") and sidecar.exists()
            if adds:
                lines = combine_lines(sidecar.read_bytes().splitlines(), lines, self._if_exists)
            data = b"".join(line + b"\n" for line in lines)
            if self._folder is not None:
                sidecar.parent.mkdir(parents=True, exist_ok=True)
            # Waiting for the disk takes 3 ms, half as long as a caption, which can be made again;
            # people's own words cannot.
            write_file(sidecar, data, sync=adds, only_writer=True)
        except OSError as error:
            return f"its sidecar cannot be written ({reason_of(error)})"
        return None

    def __exit__(self, *error: object) -> None:
        pass

    def existing(self, photos: Sequence[Path]) -> Iterator[tuple[Path, tuple[Caption, ...]]]:
        """Each photo and the captions in its sidecar."""
        for photo in photos:
            try:
                text = self._target(photo).read_text(encoding="utf-8-sig", errors="replace")
            except OSError:
                text = ""
            yield photo, tuple(Caption.written(line) for line in text.splitlines() if line.strip())


def sidecar_names(
    extension: str = EXTENSION, folder: Path | None = None, roots: Sequence[Path] = ()
) -> Callable[[Path], Path]:
    """What gives a photo its sidecar's name; arguments as for `Sidecars`.

    Raises: UserError for an extension that is none, or that photos have.
    """
    extension = with_dot(extension)
    if (
        extension == "."
        or Path(f"a{extension}").name != f"a{extension}"
        or not extension.isprintable()
    ):
        raise UserError(
            f"--extension '{extension}' is not the end of a file's name, such as .caption"
        )
    if extension.lower() in EXTENSIONS:
        raise UserError(
            f"--extension '{extension}' is that of photos: use another, such as .caption"
        )
    mirror = None if folder is None else Mirror(folder, roots)
    return partial(_sidecar, extension=extension, mirror=mirror)


def with_dot(extension: str) -> str:
    """An extension as names have it, also if it was given without its dot."""
    return extension if extension.startswith(".") else f".{extension}"


def _sidecar(photo: Path, *, extension: str, mirror: Mirror | None) -> Path:
    place = photo if mirror is None else mirror(photo)
    return place.parent / f"{photo.stem}{extension}"


def _existing(folder: Path) -> Path:
    """The folder, or the first one above it that exists."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def _has_words(sidecar: Path) -> bool:
    try:
        return sidecar.read_bytes().strip() != b""
    except FileNotFoundError:
        return False
    except OSError:  # writing will say why
        return True
