"""Takes in many photos at once, files or ZIPs, and captions them: for /caption_many and albums."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner import Caption, Decoding, ImageError
from rnnkit.errors import UserError
from webui.errors import sentence
from webui.services.caption_files import numbered
from webui.uploads import (
    MAX_FILE,
    MAX_PHOTO,
    MAX_PHOTOS,
    Budget,
    Upload,
    is_caption_file,
    is_zip,
    name_of,
    receive,
    refuse_larger,
    unpack,
)
from webui.workers import CaptionWorker

HEADERS = ["File", "Caption", "Note"]
PHOTOS_IN_HAND = 16  # decoded or waiting for their captions


@dataclass
class Entry:
    """One photo of a job, and what became of it."""

    name: str
    path: Path | None = None
    caption: str | None = None  # None: not captioned; an empty caption is a caption too
    score: float = math.nan
    error: str = ""

    @property
    def cells(self) -> list[str]:
        """Its row in the table, under HEADERS."""
        return [self.name, self.caption or "", self.error]


def gather(files: Any, folder: Path, budget: Budget | None = None) -> list[Entry]:
    """The photos in what a client sent, with ZIPs unpacked into the folder. What cannot be used
    becomes an entry with its reason.

    No two entries have one name: a second "a.jpg" becomes "a (2).jpg".

    Args:
        budget: what may still come; by default the limits of one request.

    Raises: UserError if there are no photos, or too many.
    """
    values = files if isinstance(files, list) else [files]
    budget = budget or Budget()
    most = MAX_PHOTOS + budget.caption_files
    _check_number(len(values), most)
    entries: list[Entry] = []
    for value in values:
        try:
            entries += _entries_of(value, folder, budget)
        except UserError as error:
            entries.append(Entry(name_of(value), error=sentence(error)))
    if not entries:
        raise UserError("there are no photos in what was sent")
    _check_number(len(entries), most)
    _tell_apart(entries)
    return entries


def captions_of(
    worker: CaptionWorker, paths: Sequence[Path], decoding: Decoding
) -> Generator[Caption | ImageError, None, None]:
    """The caption of each photo in turn, or why there is none.

    Each photo is a job of its own: the worker puts those that wait into one batch, and other
    visitors' photos with them.
    """
    run = object()

    def caption(path: Path) -> Caption | ImageError:
        try:
            return worker.caption(path, decoding, run=run)[0]
        except ImageError as error:
            return error

    pool = ThreadPoolExecutor(PHOTOS_IN_HAND, "photos")
    try:
        yield from pool.map(caption, paths)
    finally:  # also where the caller stops early
        pool.shutdown(cancel_futures=True)


def caption_entries(
    worker: CaptionWorker, entries: list[Entry], decoding: Decoding
) -> Iterator[None]:
    """Fill in the entries in their order, and yield after each."""
    usable = [(entry, entry.path) for entry in entries if entry.path is not None]
    answers = captions_of(worker, [path for _, path in usable], decoding)
    try:
        for (entry, _), answer in zip(usable, answers, strict=True):
            if isinstance(answer, ImageError):
                entry.error = reason_as_note(answer.reason)
            else:
                entry.caption, entry.score = answer.text, answer.score
            yield
    finally:
        answers.close()


def reason_as_note(reason: str) -> str:
    """Why a photo cannot be used, as a sentence."""
    return f"{reason[:1].upper()}{reason[1:]}."


def _entries_of(value: Any, folder: Path, budget: Budget) -> list[Entry]:
    upload = receive(value, limit=MAX_FILE)
    if is_zip(upload):
        members = unpack(upload, Path(tempfile.mkdtemp(dir=folder)), budget)
        return [
            Entry(name, where)
            if isinstance(where, Path)
            else Entry(name, error=reason_as_note(where))
            for name, where in members
        ]
    refuse_larger(upload, MAX_PHOTO)
    if is_caption_file(upload.name) and budget.caption_files:
        budget.caption_files -= 1
    else:
        budget.photos -= 1
    return [Entry(upload.name, _on_disk(upload, folder))]


def _on_disk(upload: Upload, folder: Path) -> Path:
    if isinstance(upload.source, Path):
        return upload.source
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(upload.source)
    return Path(file.name)


def _check_number(photos: int, most: int) -> None:
    if photos > most:
        raise UserError(
            f"{photos} photos are more than the limit of {MAX_PHOTOS} at a time; the command"
            " `captioner caption` takes folders of any size"
        )


def _tell_apart(entries: list[Entry]) -> None:
    """Number the photos of one name, which may come from several folders and ZIPs; captions and
    scores are looked up by name.
    """
    taken = {entry.name: 1 for entry in entries}
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            entry.name = numbered(entry.name, taken)
        seen.add(entry.name)
