"""Which photos are meant: by paths, folders and globs, or by a list."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from captioner.data.images import EXTENSIONS
from captioner.data.path_list import PathList
from rnnkit.errors import UserError


def require_one_source(paths: Sequence[str] | None, from_file: str | None) -> None:
    """Raises: UserError if photos are named nowhere, or both by paths and by a list."""
    if not paths and from_file is None:
        raise UserError(
            "no photos given: name images, folders or globs, or a list of photos with --from-file"
        )
    if paths and from_file is not None:
        raise UserError("give either paths or --from-file with a list of photos, not both")


def find_photos(
    paths: Sequence[str], *, recursive: bool = False, leave_out: Path | None = None
) -> PathList:
    """The photos meant by paths, each an image, a folder or a glob; none comes twice, and a
    folder's are sorted by name.

    A folder that cannot be read is kept in `unread` with the reason. A link that leads nowhere
    counts as a photo, which becomes a row that says so; and so does a path where nothing is, if
    there is something at another path.

    Args:
        recursive: look into folders inside folders too, but not into hidden ones or through links.
        leave_out: a folder inside of others that is not looked into, such as the one that copies
            of the photos go to.

    Raises: UserError naming a glob that matches nothing, a folder without photos, or the first path
        if there is nothing at any; or if a path is empty, which would mean the current folder.
    """
    closed = None if leave_out is None else os.path.realpath(leave_out)
    photos: dict[str, None] = {}  # a set that keeps its order
    missing: dict[str, str] = {}  # those of them where nothing is, as they were written
    unread: dict[str, str] = {}
    for text in paths:
        if not text:
            raise UserError(
                "one of the paths is empty, perhaps a variable of the shell that is not set: leave"
                " it out or fill it in"
            )
        path = Path(text)
        if path.is_dir():
            photos |= _photos_in(path, unread, closed, recursive=recursive)
        elif path.is_file():
            photos[str(path)] = None
        elif files := _glob(text, closed, recursive=recursive):
            photos |= dict.fromkeys(files)
        elif not path.exists() and glob.escape(text) == text:
            missing[str(path)] = text
            photos[str(path)] = None
        else:
            raise _nothing_at(text)
    if missing and photos.keys() == missing.keys() and not unread:
        raise _nothing_at(next(iter(missing.values())))
    return PathList(photos, unread)


def _nothing_at(text: str) -> UserError:
    return UserError(f"there is nothing at '{text}': give an image, a folder or a glob")


def _glob(pattern: str, closed: str | None, *, recursive: bool) -> list[str]:
    """The files that a pattern matches, which may be absolute, outside of a closed folder."""
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=recursive))]  # noqa: PTH207
    if closed is not None:
        matches = [
            match
            for match in matches
            if not Path(os.path.realpath(match.parent)).is_relative_to(closed)
        ]
    return [str(match) for match in matches if match.is_file()]


def _photos_in(
    folder: Path, unread: dict[str, str], closed: str | None, *, recursive: bool
) -> dict[str, None]:
    """Raises: UserError if there are none, though every folder could be read."""
    before = len(unread)
    photos = dict.fromkeys(_walk(folder, unread, closed, recursive=recursive))
    if not photos and len(unread) == before:
        deeper = "" if recursive else "; folders inside need --recursive"
        raise UserError(
            f"no photos in '{folder}' (looked for {', '.join(sorted(EXTENSIONS))}{deeper})"
        )
    return photos


def _walk(
    folder: Path, unread: dict[str, str], closed: str | None, *, recursive: bool
) -> Iterator[str]:
    """Names of the photos in a folder, sorted by path; folders that cannot be read are added to
    `unread`, and the closed one is passed by.
    """
    try:
        with os.scandir(folder) as entries:
            listed = sorted(
                (entry for entry in entries if not entry.name.startswith(".")),
                key=lambda entry: entry.name,
            )
    except OSError as error:
        unread[str(folder)] = f"cannot read the folder ({error.strerror})"
        return
    for entry in listed:
        # Not by Path: one for each entry would take long.
        is_photo = os.path.splitext(entry.name)[1].lower() in EXTENSIONS  # noqa: PTH122
        try:
            is_folder, is_file = entry.is_dir(), is_photo and entry.is_file()
            leads_nowhere = entry.is_symlink() and not os.path.exists(entry)  # noqa: PTH110
        except OSError:  # a link to itself
            is_folder, is_file, leads_nowhere = False, False, True
        if is_file or (is_photo and leads_nowhere):
            yield str(folder / entry.name)
        elif is_folder and recursive and not entry.is_symlink():
            if closed is not None and os.path.realpath(entry) == closed:
                continue
            yield from _walk(folder / entry.name, unread, closed, recursive=True)


def read_photo_list(source: str) -> PathList:
    """The photos named in a file, one on each line, or separated by NUL as `find -print0` does.

    Nothing is looked up: a photo that does not exist becomes a row that says so.

    Args:
        source: a path; "-" is standard input.

    Raises: UserError if the file cannot be read, is itself a photo or names nothing.
    """
    if Path(source).suffix.lower() in EXTENSIONS:
        raise UserError(f"'{source}' is a photo, not a list of photos: leave out --from-file")
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the list '{source}' ({error.strerror})") from None
    if b"\0" in data:
        lines = data.split(b"\0")
    else:
        text = data.removeprefix(b"\xef\xbb\xbf")
        lines = [line.removesuffix(b"\r") for line in text.split(b"\n")]
    names = dict.fromkeys(str(Path(os.fsdecode(line))) for line in lines if line)
    if not names:
        where = "standard input" if source == "-" else source
        raise UserError(f"the list '{where}' names no photos")
    return PathList(names)
