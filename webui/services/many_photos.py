"""Captions many photos at once, files or ZIPs, for the Many photos tab and for /caption_many."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner import Caption, Decoding, ImageError
from captioner.data.images import open_image
from rnnkit.errors import UserError
from webui.errors import sentence
from webui.services.caption_files import numbered
from webui.uploads import (
    MAX_FILE,
    MAX_PHOTO,
    MAX_PHOTOS,
    Budget,
    Upload,
    is_zip,
    name_of,
    receive,
    unpack,
)
from webui.workers import CaptionWorker, decoding_turn

HEADERS = ["File", "Caption", "Note"]
THUMBNAIL = 360  # pixels on the longer side
PHOTOS_IN_HAND = 16  # decoded or waiting for their captions
MAX_CELL = 2000  # characters in a cell of the table


@dataclass
class Entry:
    """One photo of a job, and what became of it."""

    name: str
    path: Path | None = None
    caption: str | None = None  # None: not captioned; an empty caption is a caption too
    score: float = math.nan
    error: str = ""
    thumbnail: str | None = None

    @property
    def done(self) -> bool:
        """Captioned, or known to be unusable."""
        return self.caption is not None or bool(self.error)

    @property
    def cells(self) -> list[str]:
        """Its row in the table, under HEADERS."""
        return [self.name, self.caption or "", self.error]


def gather(files: Any, folder: Path) -> list[Entry]:
    """The photos in what a client sent, with ZIPs unpacked into the folder. What cannot be used
    becomes an entry with its reason.

    No two entries have one name: a second "a.jpg" becomes "a (2).jpg".

    Raises: UserError if there are no photos, or too many.
    """
    values = files if isinstance(files, list) else [files]
    _check_number(len(values))
    entries: list[Entry] = []
    budget = Budget()
    for value in values:
        try:
            entries += _entries_of(value, folder, budget)
        except UserError as error:
            entries.append(Entry(name_of(value), error=sentence(error)))
    if not entries:
        raise UserError("there are no photos in what was sent")
    _check_number(len(entries))
    _tell_apart(entries)
    return entries


def caption_entries(
    worker: CaptionWorker, entries: list[Entry], decoding: Decoding
) -> Iterator[None]:
    """Fill in the entries in their order, and yield after each.

    Each photo is a job of its own: the worker puts those that wait into one batch, and other
    visitors' photos with them.
    """

    def caption(path: Path) -> Caption | ImageError:
        try:
            return worker.caption(path, decoding, run=entries)[0]
        except ImageError as error:
            return error

    usable = [(entry, entry.path) for entry in entries if entry.path is not None]
    pool = ThreadPoolExecutor(PHOTOS_IN_HAND, "photos")
    try:
        answers = pool.map(caption, [path for _, path in usable])
        for (entry, _), answer in zip(usable, answers, strict=True):
            if isinstance(answer, ImageError):
                entry.error = _note(answer.reason)
            else:
                entry.caption, entry.score = answer.text, answer.score
            yield
    finally:  # also where the caller stops early
        pool.shutdown(cancel_futures=True)


def scores_of(entries: list[Entry]) -> dict[str, float]:
    """The scores of the captioned entries, by name."""
    return {entry.name: entry.score for entry in entries if entry.caption is not None}


def edited(table: Any) -> list[list[str]]:
    """The rows of a table that a visitor has edited, under HEADERS.

    Args:
        table: as a client sent it, {"data": [[name, caption, note], ...], ...}.

    Raises: UserError if the table is larger than any that this page could have drawn, or holds
        what cannot be written to a file.
    """
    data = table.get("data") if isinstance(table, dict) else None
    rows = [row for row in data or () if isinstance(row, list) and any(row)]
    _check_number(len(rows))
    cells = [[str(cell or "") for cell in [*row, "", "", ""][:3]] for row in rows]
    for cell in (cell for row in cells for cell in row):
        if len(cell) > MAX_CELL:
            raise UserError(
                f"a cell of the table has {len(cell):,} characters, more than the limit of"
                f" {MAX_CELL:,}"
            )
        if any("\ud800" <= character <= "\udfff" for character in cell):
            raise UserError("the table holds half of a character, which no file can hold")
    return cells


def thumbnail(entry: Entry, folder: Path) -> str | None:
    """The path of a captioned photo's thumbnail, which is drawn into the folder once; None if
    there is none.
    """
    if entry.thumbnail is None and entry.caption is not None and entry.path is not None:
        try:
            with decoding_turn(entry.path):
                image = open_image(entry.path, size=(THUMBNAIL, THUMBNAIL))
        except ImageError:
            return None
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        target = folder / f"{len(list(folder.iterdir()))}.jpg"
        image.save(target, quality=85)
        entry.thumbnail = str(target)
    return entry.thumbnail


def _entries_of(value: Any, folder: Path, budget: Budget) -> list[Entry]:
    upload = receive(value, limit=MAX_FILE)
    if is_zip(upload):
        members = unpack(upload, Path(tempfile.mkdtemp(dir=folder)), budget)
        return [
            Entry(name, where) if isinstance(where, Path) else Entry(name, error=_note(where))
            for name, where in members
        ]
    receive(value, limit=MAX_PHOTO)
    budget.photos -= 1
    return [Entry(upload.name, _on_disk(upload, folder))]


def _on_disk(upload: Upload, folder: Path) -> Path:
    if isinstance(upload.source, Path):
        return upload.source
    path = Path(tempfile.mkstemp(dir=folder)[1])
    path.write_bytes(upload.source)
    return path


def _check_number(photos: int) -> None:
    if photos > MAX_PHOTOS:
        raise UserError(
            f"{photos} photos are more than the limit of {MAX_PHOTOS} at a time; the command"
            " `captioner caption` takes folders of any size"
        )


def _note(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}."


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
