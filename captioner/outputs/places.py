"""Where paths lead, so that nothing is written onto a photo or outside of its folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from rnnkit.errors import UserError


class Places:
    """Where files stand once links and `..` on the way are followed; each folder is looked up once.

    The last name is kept, also if it is a link itself: a file that is renamed to it replaces the
    link.
    """

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def __call__(self, path: Path) -> Path:
        folder = os.path.dirname(path)  # noqa: PTH120 - a million photos come here
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return Path(self._folders[folder], path.name)


class Mirror:
    """The files in a folder that repeats the tree of the photos below `roots`; the file of a photo
    that is in none of them is in the folder itself.
    """

    def __init__(self, folder: Path, roots: Sequence[Path] = ()) -> None:
        self._folder, self._place = folder, Places()
        self._roots = [Path(os.path.realpath(root)) for root in roots]

    def __call__(self, photo: Path) -> Path:
        # By where they are: "../b.jpg" and "photos/../b.jpg" are not below "." and "photos".
        place = self._place(photo)
        root = next((root for root in self._roots if place.is_relative_to(root)), place.parent)
        return self._folder / place.relative_to(root)


def check_targets(
    photos: Sequence[Path],
    target: Callable[[Path], Path],
    *,
    becomes: str,
    remedy: str,
    folder: Path | None = None,
) -> dict[Path, Path]:
    """Check the files that are to be written for photos, before the first one is.

    Args:
        target: the file for a photo.
        becomes: what photos do with their files, such as "be copied to", for messages.
        remedy: what to do if a file is itself a photo, or another photo's.
        folder: where all files have to be; None does not check that.

    Returns: photos whose file is also that of another one, which is the value.
    Raises: UserError naming a file that is one of the photos or not in the folder.
    """
    place = Places()
    inputs = {str(place(photo)) for photo in photos}
    inputs |= {os.path.realpath(photo) for photo in photos if os.path.islink(photo)}  # noqa: PTH114
    root = None if folder is None else Path(os.path.realpath(folder))
    wanted: dict[str, int] = {}
    shared: dict[Path, Path] = {}
    for index, photo in enumerate(photos):
        file = target(photo)
        there = place(file)
        if (other := wanted.setdefault(str(there), index)) != index:
            shared.setdefault(photos[other], photo)
            shared[photo] = photos[other]
        if str(there) in inputs or _is_one_file(file, photo):
            raise UserError(
                f"'{photo}' would {becomes} '{file}', which is one of the photos: {remedy}"
            )
        if root is not None and not there.is_relative_to(root):
            raise UserError(
                f"'{photo}' would {becomes} '{there}', because of a link in '{folder}': choose"
                " another folder"
            )
    return shared


def _is_one_file(file: Path, photo: Path) -> bool:
    """Whether two names are of one file, as where case does not count; False if one is missing."""
    try:
        return file.samefile(photo)
    except OSError:
        return False
