"""A file of rows that a run may find half done: read back, its cut end mended, and gone on with."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from captioner.data.path_list import PathList
from captioner.outputs.run_lock import RunLock
from captioner.outputs.text_formats import Format, Record
from captioner.types import Caption, CaptionResult
from rnnkit.errors import UserError

EXISTING = ("skip", "overwrite", "append", "prepend")
Line = TypeVar("Line", bound=str | bytes)


class ResumableFile:
    """Rows of photos in one file, which holds whole rows only, however the run ends.

    What `existing` does with a photo that has captions in the file already:

    - skip: leaves it; only the other photos are captioned. Rows of failures are taken out and those
      photos tried again.
    - overwrite: the new row takes the old one's place, unless the photo can no longer be read.
    - append, prepend: the new captions come after or before the old ones; one that is there already
      is not repeated.

    Rows of photos that are not asked for stay as they are. With skip, rows are added to the file
    itself. Otherwise the new file grows beside the old one, as NAME.MODE.part (see `part_name`),
    and takes its place when all is done; the same command goes on with the .part that a killed run
    left, and no other command touches output or .part before.

    `photos` are those to caption. Nothing is changed before the context is entered; then call the
    object with each row.

    Args:
        num_captions: captions that a photo gets; where each takes a line, fewer at the end of the
            file are a row cut short.
        made_by: what the captions come from, a model and its options; a .part is gone on with only
            where it is the same.

    Raises: UserError for a file that is not of this format, two photos that the format calls the
        same, an output that cannot be written, or one of which a run with other options left a
        .part; on entering for one that another run writes.
    """

    grows_aside = (
        False  # True where the format itself cannot grow row by row: see captioner.parquet
    )

    def __init__(
        self,
        output: Path,
        format: Format,
        photos: Sequence[Path],
        existing: str = "skip",
        *,
        num_captions: int = 1,
        made_by: str = "",
    ) -> None:
        if format.name == "coco" and existing in ("append", "prepend"):
            raise UserError(
                f"COCO results hold one caption a photo, so --existing {existing} cannot be: use"
                " skip or overwrite"
            )
        check_writable(output)
        if output.is_symlink():
            output = Path(os.path.realpath(output))  # a link stays one, whatever is renamed
        self.output, self.format, self._existing = output, format, existing
        part = output.with_name(part_name(output.name, existing, made_by))
        self._working = part if existing != "skip" or self.grows_aside else output
        _refuse_other_parts(output, self._working)
        self._lock = RunLock(output, self._working)
        self._wanted = distinct_keys(photos, format)
        self._dropped: set[str] = (
            set()
        )  # photos whose rows are left out when the file is written anew
        self._cut = False
        if existing == "skip" or self._working.exists():
            done = self._done(num_captions if self._working == output else None)
        else:
            done, self._dropped = set(), self._wanted
        self._old: dict[str, tuple[Caption, ...]] = {}
        if existing != "skip" and output.exists():
            for record in self._rows_of_output():
                if record.key in self._wanted:
                    self._old[record.key] = self._old.get(record.key, ()) + record.captions
        self.photos = (
            PathList(str(photo) for photo in photos if format.key(photo) not in done)
            if done
            else photos
        )

    @property
    def part(self) -> Path | None:
        """Where the rows are that do not stand in the output yet."""
        return self._working if self._working != self.output and self._working.exists() else None

    def _rows_of_output(self) -> Iterator[Record]:
        return read_rows(self.output, self.format, self._wanted)

    def _rows_to_keep(self) -> Iterator[Record]:
        """The rows with which the working file begins, before any are dropped."""
        if self._working.exists():
            return read_rows(self._working, self.format, self._wanted)
        return self._rows_of_output() if self.output.exists() else iter(())

    def _done(self, lines: int | None) -> set[str]:
        """Photos that need nothing more; the last one in the file needs it if lines may be missing
        (None: they always may).
        """
        done: set[str] = set()
        last, count = "", 0
        for record in self._rows_to_keep():
            if not record.whole:
                self._cut = True
                continue
            last, count = record.key, count + 1 if record.key == last else 1
            if record.key in self._wanted:
                (self._dropped if record.error is not None else done).add(record.key)
        if self.format.several_lines and last in done and (lines is None or count < lines):
            self._dropped.add(last)
        return done - self._dropped

    def __enter__(self) -> Self:
        self._rows = 0
        self._file: _GrowingFile | None = None
        self._fresh = not self._working.exists()
        if self._working != self.output and self._fresh and not self.photos:
            return self  # all is done already
        with ExitStack() as lock:
            lock.enter_context(self._lock)
            self._begin()
            self._held = lock.pop_all()
        return self

    def _begin(self) -> None:
        mends = self._cut or bool(self._dropped) or self.format.footer != b""
        if self.output.exists() if self._fresh else mends:
            self._write_anew()
        self._file = _GrowingFile(self._working, self.format)
        self._wanted, self._dropped = set(), set()  # both may be as large as the folder

    def _write_anew(self) -> None:
        """The rows that stay, in another file that is then renamed: a kill leaves the old one or
        the new one, whole.
        """
        temporary = self._working.with_name(f".{self._working.name}.new")
        temporary.unlink(missing_ok=True)  # of a run that was killed here
        try:
            with _GrowingFile(temporary, self.format) as file:
                shutil.copymode(
                    self.output if self._fresh else self._working, temporary
                )  # before anything private is in it
                for record in self._rows_to_keep():
                    if record.whole and record.key not in self._dropped:
                        file.add(record.data)
            temporary.replace(self._working)
        finally:
            temporary.unlink(missing_ok=True)

    def __call__(self, row: CaptionResult) -> None:
        assert self._file is not None
        data = self.format.encode(
            merged(row, self._old.get(self.format.key(row.path), ()), self._existing)
        )
        if data:
            self._file.add(data)
            self._rows += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is None:
            return
        with self._held:
            self._file.close()
            if kind is None:
                self._publish()
            elif self._fresh and not self._rows:
                self._working.unlink(missing_ok=True)  # not in the way of another try

    def _publish(self) -> None:
        if self._working != self.output:
            self._working.replace(self.output)


class _GrowingFile:
    """A file of rows with the footer always in its place; a row that cannot be written whole is
    taken back.
    """

    def __init__(self, path: Path, format: Format) -> None:
        self._path, self._format = path, format
        self._stream = path.open("r+b" if path.exists() else "x+b", buffering=0)
        if self._stream.seek(0, os.SEEK_END) == 0:
            self._end = 0
            self._put(format.header)
        else:
            self._end = self._stream.tell() - len(format.footer)

    def add(self, data: bytes) -> None:
        """Write a row. Raises: OSError naming the file."""
        self._put((self._format.separator if self._end > len(self._format.header) else b"") + data)

    def _put(self, data: bytes) -> None:
        rest = memoryview(data + self._format.footer)
        self._stream.seek(self._end)
        try:
            while rest:
                rest = rest[self._stream.write(rest) :]
        except OSError as error:
            self._stream.truncate(self._end)
            self._stream.seek(self._end)
            self._stream.write(self._format.footer)  # into the place where it was before
            raise OSError(error.errno, error.strerror, str(self._path)) from None
        self._end += len(data)

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def merged(row: CaptionResult, old: tuple[Caption, ...], existing: str) -> CaptionResult:
    """A new row and the captions that the photo had, as `ResumableFile` says; what the old ones say is
    never said twice.
    """
    if not old or (existing == "overwrite" and row.error is None):
        return row
    known = {caption.text for caption in old}
    new = tuple(caption for caption in row.captions if caption.text not in known)
    return CaptionResult(row.path, new + old if existing == "prepend" else old + new)


def combined_lines(old: Sequence[Line], new: Sequence[Line], existing: str) -> list[Line]:
    """The lines of a caption file or description after append or prepend; one that is there already
    is not repeated.
    """
    further = [line for line in new if line not in old]
    return [*further, *old] if existing == "prepend" else [*old, *further]


def part_name(name: str, existing: str, made_by: str = "") -> str:
    """What the new file is called while it grows beside the old one, so that no run goes on with
    what another one meant.

    With skip the model is no part of it: what is there stays, whatever it was made by.
    """
    mark = (
        f"-{hashlib.sha256(os.fsencode(made_by)).hexdigest()[:8]}"
        if made_by and existing != "skip"
        else ""
    )
    return f"{name}.{existing}{mark}.part"


def _refuse_other_parts(output: Path, own: Path) -> None:
    for other in sorted(output.parent.glob(f"{glob.escape(output.name)}.*.part")):
        found = re.fullmatch(
            rf"({'|'.join(EXISTING)})(-[0-9a-f]{{8}})?\.part",
            other.name.removeprefix(f"{output.name}."),
        )
        if found and other != own:
            raise UserError(
                f"'{other}' is what a run with --existing {found[1]} and other options than these"
                " has done so far: finish that run with its own command, or delete the file if it"
                " was stopped"
            )


def distinct_keys(photos: Sequence[Path], format: Format) -> set[str]:
    """What a format calls the photos.

    Raises: UserError naming two photos that it calls the same.
    """
    keys: set[str] = set()
    for photo in photos:
        key = format.key(photo)
        if key in keys:
            first = next(other for other in photos if format.key(other) == key)
            raise UserError(
                f"'{first}' and '{photo}' would both be '{key}' in {format.name}: rename one, or"
                " use another --format"
            )
        keys.add(key)
    return keys


def read_rows(path: Path, format: Format, wanted: set[str]) -> Iterator[Record]:
    """The rows of a file; a cut end comes last, as a record that is not whole.

    Raises: UserError if the file is not of this format, or ends with anything but the beginning of
        a row of a wanted photo.
    """
    with path.open("rb") as stream:
        head = stream.read(len(format.header))
        if head == format.header:
            try:
                for record in format.read(stream):
                    if not record.whole and not _is_cut_row(record.data, format, wanted):
                        shown = record.data.strip()[:60].decode(errors="replace")
                        raise UserError(
                            f"'{path}' ends with '{shown}', which is no whole row and not of these"
                            " photos: run the command that wrote it, repair the file, or choose"
                            " another --output"
                        )
                    yield record
                return
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                reason = f"{type(error).__name__}: {error}"
        elif format.header.startswith(head):
            if head:
                yield Record("", head, whole=False)
            return
        else:
            reason = f"it begins with {head!r}"
    raise UserError(
        f"'{path}' exists and is no {format.name} file of captions ({reason}): choose another"
        " --output, or another --format"
    )


def _is_cut_row(data: bytes, format: Format, wanted: set[str]) -> bool:
    """Is this how a row of a wanted photo begins, or what stands between and after rows?"""
    data = data.removeprefix(format.separator)
    if format.footer.startswith(data):
        return True
    for key in wanted:
        beginning = format.beginning(key)
        if beginning.startswith(data) or (
            data.startswith(beginning) and b"\n" not in data[len(beginning) :].removesuffix(b"\n")
        ):
            return True
    return False


def reason_of(error: OSError) -> str:
    """Why one photo, or what is written for it alone, cannot be read or written.

    Raises: the error itself where the disk is full, as no other photo fares better then.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise error
    return "no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)


def check_writable(output: Path) -> None:
    """Raises: UserError if a file cannot be written there."""
    folder = output.parent
    reason = None
    if output.is_dir():
        reason = "it is a folder"
    elif not folder.is_dir():
        reason = f"there is no folder '{folder}'"
    elif not os.access(output if output.exists() else folder, os.W_OK):
        reason = "permission denied"
    if reason:
        raise UserError(f"cannot write to '{output}' ({reason})")
