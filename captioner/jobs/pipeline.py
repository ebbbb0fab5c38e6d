"""Many photos to rows: found in a stable order, decoded by threads, captioned in batches; one bad
photo is one row.
"""

from __future__ import annotations

import glob
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np
from torch import Tensor

from captioner.captioner import Captioner
from captioner.data.images import EXTENSIONS, ImageError
from captioner.types import CaptionResult, Decoding, EncodedPicture
from rnnkit.errors import UserError

# Batches in hand: one is searched while the next is encoded and the one after that is decoded.
BATCHES_HELD = 3
Encoded = tuple[
    list[str | None], Tensor | None
]  # for each photo None or its error; the features (B, R, C) of those without


class Photos(Sequence[Path]):
    """Paths kept as plain text, which takes a fifth of the memory; and what could not be looked
    into for them, with the reason.
    """

    def __init__(self, names: Iterable[str], unread: Mapping[str, str] | None = None) -> None:
        self.names = list(names)
        self.unread = dict(unread or {})

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Photos: ...

    def __getitem__(self, index: int | slice) -> Path | Photos:
        return Photos(self.names[index]) if isinstance(index, slice) else Path(self.names[index])

    def __len__(self) -> int:
        return len(self.names)


# --- finding --------------------------------------------------------------------------------------


def find_photos(paths: Sequence[str], *, recursive: bool = False) -> Photos:
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
    return Photos(found, unread)


def _nothing_at(text: str) -> UserError:
    return UserError(f"nothing at '{text}': give an image, a folder or a glob")


def read_list(source: str) -> Photos:
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
    return Photos(names)


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


# --- captioning -----------------------------------------------------------------------------------


def caption_photos(
    captioner: Captioner,
    photos: Iterable[Path | EncodedPicture],
    decoding: Decoding,
    *,
    batch_size: int = 32,
    workers: int = 2,
) -> Iterator[list[CaptionResult]]:
    """Rows of photos in their order, a batch at a time.

    Three stages work at the same time, each on another batch: `workers` threads decode and resize,
    one thread runs the encoder, and the caller's thread searches for sentences. At most three
    batches are held, so memory does not grow with the number of photos, which may come from an
    iterator.

    Args:
        batch_size: photos computed at once.
        workers: threads that decode photos while others are computed.
    """
    coming = iter(photos)
    pool, encoder = ThreadPoolExecutor(workers, "decode"), ThreadPoolExecutor(1, "encode")

    def start(batch: list[Path | EncodedPicture]) -> Future[Encoded]:
        pixels = [pool.submit(_prepare, captioner, photo) for photo in batch]
        return encoder.submit(_encode, captioner, pixels)

    held: deque[tuple[list[Path | EncodedPicture], Future[Encoded]]] = deque()
    try:
        while True:
            while len(held) < BATCHES_HELD and (batch := list(islice(coming, batch_size))):
                held.append((batch, start(batch)))
            if not held:
                return
            batch, encoded = held.popleft()
            errors, features = encoded.result()
            captions = iter(
                captioner.caption_features(features, decoding) if features is not None else []
            )
            yield [
                CaptionResult(path, error=error)
                if error is not None
                else CaptionResult(path, tuple(next(captions)))
                for path, error in zip(map(_path, batch), errors, strict=True)
            ]
    finally:  # also where the caller stops early
        for executor in (pool, encoder):
            executor.shutdown(cancel_futures=True)


def default_workers() -> int:
    """Threads for decoding: one a core, at most eight."""
    return min(8, os.cpu_count() or 1)


def _path(photo: Path | EncodedPicture) -> Path:
    return photo.path if isinstance(photo, EncodedPicture) else photo


def _prepare(captioner: Captioner, photo: Path | EncodedPicture) -> np.ndarray | str:
    """Pixels for the encoder, or the reason why there are none."""
    try:
        return captioner.prepare(photo.data if isinstance(photo, EncodedPicture) else photo)
    except ImageError as error:
        return error.reason


def _encode(captioner: Captioner, prepared: Sequence[Future[np.ndarray | str]]) -> Encoded:
    found = [future.result() for future in prepared]
    usable = [pixels for pixels in found if not isinstance(pixels, str)]
    errors = [pixels if isinstance(pixels, str) else None for pixels in found]
    return errors, captioner.encode(np.stack(usable)) if usable else None
