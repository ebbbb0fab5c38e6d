"""A visitor's photos and their captions: rows to edit while the captioner fills them."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from captioner import Caption, ImageError
from captioner.confidence import UNSURE
from captioner.data.images import pixel_count
from rnnkit.errors import UserError
from webui.services.caption_files import CaptionRow, numbered
from webui.services.many_photos import Entry, gather, reason_as_note
from webui.uploads import (
    DISK_FULL,
    MAX_PHOTOS,
    MAX_UNPACKED,
    Budget,
    disk_has_room,
    is_caption_file,
    temporary_folder,
)

MAX_CAPTION = 2000  # characters
NAMED = 5  # files in one sentence
MAX_HISTORY = 1_000_000  # characters in the changes that can be undone
Author = Literal["model", "file", "person"]
Status = Literal["waiting", "failed", "empty", "edited", "given", "unsure", "ok"]


@dataclass(frozen=True)
class Wording:
    """A caption, and whose it is: the model's, a person's, or one that came with the photo."""

    text: str
    author: Author
    score: float = math.nan  # as in `captioner.Caption`; only the model's captions have one
    confidence: float | None = None


@dataclass
class PhotoRow:
    """A photo, its caption, and what became of it.

    Attributes:
        path: None if there is no photo to caption, because it could not be used, or because only
            its caption was brought back after a restart.
        size: of the photo, in bytes.
        digest: of the photo's bytes; empty without a photo.
        wording: the caption as it now stands; None while there is none.
        own: the model's last caption, also where another stands.
        given: the caption that came with the photo.
        error: why the photo could not be used.
        changed: the album's version at the row's last change.
    """

    id: int
    name: str
    path: Path | None = None
    size: int = 0
    digest: bytes = b""
    wording: Wording | None = None
    own: Wording | None = None
    given: Wording | None = None
    error: str = ""
    changed: int = 0

    @property
    def status(self) -> Status:
        """In one word."""
        if self.wording is None:
            return "failed" if self.error else "waiting"
        if not self.wording.text.strip():
            return "empty"
        if self.wording.author != "model":
            return "edited" if self.wording.author == "person" else "given"
        sure = self.wording.confidence
        return "unsure" if sure is not None and sure < UNSURE else "ok"

    @property
    def edited(self) -> bool:
        """Whether a person changed the caption here."""
        return self.wording is not None and self.wording.author == "person"

    def worded(self, text: str) -> Wording:
        """A text as this row's caption: the model's own words remain the model's."""
        for known in (self.own, self.given):
            if known is not None and known.text == text:
                return known
        return Wording(text, "person")

    def as_json(self) -> dict[str, object]:
        """What the page shows of it."""
        wording = self.wording or Wording("", "model")
        return {
            "id": self.id,
            "name": self.name,
            "caption": wording.text,
            "model": self.own.text if self.own else None,
            "status": self.status,
            "author": wording.author,
            "score": None if math.isnan(wording.score) else wording.score,
            "confidence": wording.confidence,
            "error": self.error,
            "photo": self.path is not None,
            "size": self.size,
        }


@dataclass
class UndoStep:
    """What one undo takes back: the captions of some rows before and after."""

    step: str
    before: dict[int, Wording | None] = field(default_factory=dict)
    after: dict[int, Wording | None] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """In characters."""
        wordings = (*self.before.values(), *self.after.values())
        return sum(len(wording.text) if wording else 0 for wording in wordings)


class Added(NamedTuple):
    """What came of files that were sent.

    Attributes:
        notes: sentences about what could not be used and has no row.
        repeated: rows of photos that were in the list already, byte for byte.
    """

    notes: list[str]
    repeated: list[int]


class Album:
    """The rows, which several threads may read and change.

    Args:
        folder: for the photos; deleted by `close`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="album-", dir=temporary_folder()))
        self.version = 0
        self._rows: dict[int, PhotoRow] = {}
        self._next_id = 1
        self._order_changed = 0  # the version at which a row came or went
        self._undo: list[UndoStep] = []
        self._redo: list[UndoStep] = []
        # Names and texts of caption files whose photo has not come yet, by the photo's stem.
        self._loose: dict[str, tuple[str, str]] = {}
        self._lock = threading.RLock()

    # --- what comes in -----------------------------------------------------------------------

    def add(self, files: object) -> Added:
        """Add photos, ZIPs, and text files with captions, as a client sent them.

        Raises: UserError if nothing can be taken.
        """
        if not disk_has_room(0):
            raise UserError(DISK_FULL)
        with self._lock:
            room = Budget(
                photos=MAX_PHOTOS - len(self._rows),
                size=MAX_UNPACKED - sum(row.size for row in self._rows.values()),
                caption_files=MAX_PHOTOS,
            )
            if room.photos <= 0:
                raise UserError(f"there are {MAX_PHOTOS} photos already, the most at a time")
        entries = gather(files, self.folder, room)
        photos = [entry for entry in entries if not _is_caption_file(entry)]
        with self._lock:
            if len(self._rows) + len(photos) > MAX_PHOTOS:
                raise UserError(
                    f"{len(self._rows) + len(photos)} photos are more than the limit of"
                    f" {MAX_PHOTOS} at a time"
                )
            for entry in entries:
                if _is_caption_file(entry):
                    self._loose[_stem(entry.name)] = entry.name, _read_caption(entry)
            repeated = self._admit(photos)
            self._attach()
            notes = _without_photo(sorted(name for name, _ in self._loose.values()))
            return Added(notes, repeated)

    def restore(self, rows: Iterable[PhotoRow]) -> None:
        """Take rows without photos, as a browser kept them while the server was restarted."""
        with self._lock:
            for row in rows:
                row.id, self._next_id = self._next_id, self._next_id + 1
                self._rows[row.id] = row
                self._touch(row, order=True)

    def _admit(self, entries: Sequence[Entry]) -> list[int]:
        """Make rows of photos; gives the new ones that repeat another."""
        lost = {row.name: row for row in self._rows.values() if row.path is None and not row.error}
        taken = dict.fromkeys((row.name for row in self._rows.values()), 1)
        known, repeated = {row.digest for row in self._rows.values() if row.path}, []
        for entry in entries:
            row = lost.pop(entry.name, None)
            is_new = row is None
            if row is None:
                row = PhotoRow(self._next_id, numbered(entry.name, taken))
                self._next_id += 1
                self._rows[row.id] = row
            row.error = entry.error
            if entry.path is not None:
                self._store(row, entry.path)
            if row.path is not None:
                if is_new and row.digest in known:  # other rows have captions to keep
                    repeated.append(row.id)
                known.add(row.digest)
            self._touch(row, order=True)
        return repeated

    def _store(self, row: PhotoRow, source: Path) -> None:
        """Keep a photo, or say why it cannot be used."""
        row.size = source.stat().st_size
        try:
            pixel_count(source)
        except ImageError as error:
            row.error = reason_as_note(error.reason)
            return
        with source.open("rb") as file:
            row.digest = hashlib.file_digest(file, "blake2b").digest()
        row.path = source
        if not source.is_relative_to(self.folder):  # Gradio deletes its own copy after a while
            row.path = self.folder / f"{row.id}{source.suffix[:8]}"
            with suppress(FileExistsError):
                try:
                    os.link(source, row.path)
                except OSError:
                    shutil.copyfile(source, row.path)

    def _attach(self) -> None:
        """Give the captions that came as files to their photos."""
        for row in self._rows.values():
            found = self._loose.pop(_stem(row.name), None) if self._loose else None
            if found is not None and not row.error:
                row.given = Wording(found[1], "file")
                if row.wording is None or row.wording.author != "person":
                    row.wording = row.given
                self._touch(row)

    # --- what a person changes ---------------------------------------------------------------

    def edit(self, texts: Mapping[int, str], step: str) -> None:
        """Set captions, by row.

        Args:
            step: edits that follow one another with one step are undone together, as the letters
                typed into one field are.
        """
        with self._lock:
            change = UndoStep(step)
            last = self._undo[-1] if self._undo and self._undo[-1].step == step else UndoStep(step)
            for number, text in texts.items():
                row = self._rows.get(number)
                if row is None or row.error:
                    continue
                worded: Wording | None = row.worded(text)
                start = last.before.get(number, row.wording)
                if text == (start.text if start else ""):
                    worded = start or row.own  # as if nothing had been typed
                if worded != row.wording:
                    change.before[number], change.after[number] = row.wording, worded
                self._word(row, worded)  # in any case, so that the page hears of it
            self._record(change)

    def undo(self) -> None:
        """Take back the last change, if there is one."""
        self._swap(self._undo, self._redo, "before")

    def redo(self) -> None:
        """Make the change again that was taken back last."""
        self._swap(self._redo, self._undo, "after")

    def remove(self, numbers: Iterable[int]) -> None:
        """Take rows and their photos out. There is no undo."""
        with self._lock:
            for number in numbers:
                row = self._rows.pop(number, None)
                if row is not None:
                    for path in (row.path, *self.folder.glob(f"{number}-*.jpg")):
                        if path is not None:
                            path.unlink(missing_ok=True)
            self.version += 1
            self._order_changed = self.version

    def _record(self, change: UndoStep) -> None:
        if not change.after:
            return
        self._redo.clear()
        last = self._undo[-1] if self._undo else None
        if last is not None and last.step == change.step:
            last.before = change.before | last.before
            last.after |= change.after
            same = [number for number in last.after if last.after[number] == last.before[number]]
            for number in same:
                del last.before[number], last.after[number]
            if not last.after:
                self._undo.pop()
        else:
            self._undo.append(change)
        size = sum(each.size for each in self._undo)
        while size > MAX_HISTORY:
            size -= self._undo.pop(0).size

    def _swap(self, source: list[UndoStep], target: list[UndoStep], side: str) -> None:
        with self._lock:
            if not source:
                return
            change = source.pop()
            target.append(change)
            for number, wording in getattr(change, side).items():
                if (row := self._rows.get(number)) is not None:
                    # The captioner may have been there since.
                    self._word(row, wording or row.own)

    # --- what the captioner brings -----------------------------------------------------------

    def finish(
        self, row: PhotoRow, before: Wording | None, answer: Caption | ImageError, step: str
    ) -> None:
        """Note what the captioner says about a photo. It replaces no edit made meanwhile.

        Args:
            before: the caption when the captioner was asked.
        """
        with self._lock:
            if isinstance(answer, ImageError):
                row.error = reason_as_note(answer.reason)
                self._touch(row)
                return
            row.own = Wording(answer.text, "model", answer.score, answer.confidence)
            if row.wording is not before:
                return
            if before is not None and row.id in self._rows:
                self._record(UndoStep(step, {row.id: before}, {row.id: row.own}))
            self._word(row, row.own)

    # --- what is asked -----------------------------------------------------------------------

    def row(self, number: int) -> PhotoRow | None:
        """A row by its number."""
        return self._rows.get(number)

    @property
    def rows(self) -> list[PhotoRow]:
        """All rows in their order."""
        with self._lock:
            return list(self._rows.values())

    def changes(self, since: int) -> dict[str, object]:
        """What has changed since a version, for the page."""
        with self._lock:
            changed = [row.as_json() for row in self._rows.values() if row.changed > since]
            return {
                "version": self.version,
                "rows": changed,
                "order": list(self._rows) if self._order_changed > since else None,
                "undo": bool(self._undo),
                "redo": bool(self._redo),
            }

    def to_write(self) -> list[CaptionRow]:
        """The rows that are done, as files show them."""
        return [
            CaptionRow(
                name=row.name,
                caption=row.wording.text if row.wording else "",
                score=row.wording.score if row.wording else math.nan,
                confidence=row.wording.confidence if row.wording else None,
                error=row.error,
                edited=row.edited,
            )
            for row in self.rows
            if row.status != "waiting"
        ]

    def close(self) -> None:
        """Delete the photos."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _word(self, row: PhotoRow, wording: Wording | None) -> None:
        row.wording = wording
        self._touch(row)

    def _touch(self, row: PhotoRow, *, order: bool = False) -> None:
        self.version += 1
        row.changed = self.version
        if order:
            self._order_changed = self.version


def checked_caption(text: object) -> str:
    """A caption as a client sent it.

    Raises: UserError if it is longer than a caption may be, or cannot be written to a file.
    """
    if not isinstance(text, str):
        raise UserError("a caption must be text")
    if len(text) > MAX_CAPTION:
        raise UserError(
            f"a caption has {len(text):,} characters, more than the limit of {MAX_CAPTION:,}"
        )
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError("a caption contains half a character, which no file can hold")
    return text


def _without_photo(names: Sequence[str]) -> list[str]:
    """What to say of caption files that match no photo."""
    if len(names) < 2:
        return [f"{name} matches no photo." for name in names]
    listed = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    return [f"{len(names)} caption files match no photo: {listed}."]


def _is_caption_file(entry: Entry) -> bool:
    return entry.path is not None and is_caption_file(entry.name)


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix("")) if PurePosixPath(name).name else name


def _read_caption(entry: Entry) -> str:
    """The text of a caption file, without the space around it; cut where a caption must end."""
    assert entry.path is not None
    with entry.path.open("rb") as file:
        text = file.read(4 * MAX_CAPTION).decode("utf-8-sig", "replace")
    entry.path.unlink(missing_ok=True)
    return text.strip()[:MAX_CAPTION]
