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


def find_photos(paths: Sequence[str], *, recursive: bool = False) -> PathList:
    """The photos meant by paths, each an image, a folder or a glob; a folder's are sorted by name,
    none comes twice.

    Args:
        recursive: look into folders inside folders too; into hidden ones and through links to
            folders never.

    A folder that cannot be looked into is kept in `unread` with the reason. A link that leads
    nowhere is taken for a photo, which becomes a row that says so; and so is a path at which
    nothing is, where there is something at another.

    Raises: UserError naming a glob that matches nothing, a folder without photos, or the first path
        where nothing is at any; or if a path is empty, which would otherwise be the current folder.
    """
    found: dict[str, None] = {}  # a set that keeps its order
    missing: dict[str, str] = {}  # those of them at which nothing is, as they were written
    unread: dict[str, str] = {}
    for text in paths:
        if not text:
            raise UserError(
                "one of the paths is empty, perhaps a variable of the shell that is not set: leave"
                " it out or fill it in"
            )
        path = Path(text)
        if path.is_dir():
            before = len(unread)
            inside = dict.fromkeys(_inside(path, unread, recursive=recursive))
            if not inside and len(unread) == before:
                deeper = "" if recursive else "; folders inside need --recursive"
                raise UserError(
                    f"no photos in '{path}' (looked for {', '.join(sorted(EXTENSIONS))}{deeper})"
                )
            found |= inside
        elif path.is_file():
            found[str(path)] = None
        else:
            matches = [Path(match) for match in sorted(glob.glob(text, recursive=recursive))]  # noqa: PTH207 - absolute patterns too
            files = [str(match) for match in matches if match.is_file()]
            if not files and not path.exists() and glob.escape(text) == text:
                missing[str(path)] = text
                files = [str(path)]
            if not files:
                raise _nothing_at(text)
            found |= dict.fromkeys(files)
    if missing and found.keys() == missing.keys() and not unread:
        raise _nothing_at(next(iter(missing.values())))
    return PathList(found, unread)


def _nothing_at(text: str) -> UserError:
    return UserError(f"nothing at '{text}': give an image, a folder or a glob")


def read_list(source: str) -> PathList:
    """The photos that a file names, one a line, or with NUL between them as `find -print0` writes;
    "-" is standard input.

    Nothing is looked up: a photo that is not there becomes a row that says so.

    Raises: UserError if the file cannot be read or names nothing.
    """
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the list '{source}' ({error.strerror})") from None
    lines = (
        data.split(b"\0")
        if b"\0" in data
        else [line.removesuffix(b"\r") for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    )
    names = dict.fromkeys(str(Path(os.fsdecode(line))) for line in lines if line)
    if not names:
        raise UserError(
            f"the list '{'standard input' if source == '-' else source}' names no photos"
        )
    return PathList(names)


def _inside(folder: Path, unread: dict[str, str], *, recursive: bool) -> Iterator[str]:
    """Names of the photos in a folder, sorted as their paths are; what cannot be looked into is
    added to `unread`.
    """
    try:
        with os.scandir(folder) as entries:
            listed = sorted(
                (entry for entry in entries if not entry.name.startswith(".")),
                key=lambda entry: entry.name,
            )
    except OSError as error:
        unread[str(folder)] = f"cannot look into the folder ({error.strerror})"
        return
    for entry in listed:
        is_photo = os.path.splitext(entry.name)[1].lower() in EXTENSIONS  # noqa: PTH122 - a Path for each takes long
        try:
            is_folder, is_file = entry.is_dir(), is_photo and entry.is_file()
            leads_nowhere = entry.is_symlink() and not os.path.exists(entry)  # noqa: PTH110 - a Path for each takes long
        except OSError:  # a link to itself
            is_folder, is_file, leads_nowhere = False, False, True
        if is_file or (is_photo and leads_nowhere):
            yield str(folder / entry.name)
        elif is_folder and recursive and not entry.is_symlink():
            yield from _inside(folder / entry.name, unread, recursive=True)
