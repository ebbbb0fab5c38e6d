"""An output file that an interrupted run can resume."""

from __future__ import annotations

import errno
import glob
import hashlib
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from captioner.data.path_list import PathList
from captioner.outputs.text_formats import Format, Record
from captioner.types import Caption, CaptionResult
from rnnkit.errors import UserError, problem
from rnnkit.files import replace_file
from rnnkit.run_lock import RunLock

logger = logging.getLogger(__name__)
EXISTING = ("skip", "overwrite", "append", "prepend")
Line = TypeVar("Line", bound=str | bytes)


# --- the plan -------------------------------------------------------------------------------------


class PublishedForm(Protocol):
    """The form of an output whose format cannot grow row by row."""

    def read(self, path: Path) -> Iterator[Record]:
        """The rows of a finished output, as records of the growing file's format."""

    def write(self, path: Path, growing: Path) -> None:
        """Write the output from the growing file's rows."""


@dataclass(frozen=True)
class ResumePlan:
    """What a run will do with an output file, worked out before anything is changed.

    Attributes:
        photos: those that are still to be captioned.
        source: the file whose rows the growing file begins with; None if there is none.
        rewrite: whether those rows have to be copied first, because some of them go or the growing
            file is another one; otherwise rows are added to the file as it is.
        drop: the keys of photos whose rows are not copied.
        old: the captions that photos have already, by key, to be merged with the new ones.
    """

    photos: Sequence[Path]
    source: Path | None = None
    rewrite: bool = False
    drop: AbstractSet[str] = frozenset()
    old: Mapping[str, tuple[Caption, ...]] = field(default_factory=dict)


def plan_resumption(
    output: Path,
    growing: Path,
    format: Format,
    photos: Sequence[Path],
    if_exists: str,
    *,
    lines_each: int = 1,
    published: PublishedForm | None = None,
) -> ResumePlan:
    """Read the existing files and work out what is still to do.

    Args:
        growing: the file that rows are added to: the output itself, or a .part beside it.
        lines_each: lines of each photo, in a format that gives each caption a line.
        published: how the output is read where its format is not that of the growing file.

    Raises: UserError for a file that is not in this format, or two photos of one key.
    """
    wanted = distinct_keys(photos, format)
    resumes = growing.exists()
    source = growing if resumes else output if output.exists() else None

    def rows(path: Path) -> Iterator[Record]:
        if path == output and published is not None:
            return published.read(path)
        return read_rows(path, format, wanted)

    if if_exists == "skip" or resumes:
        # A row of several lines in a .part may have lost some: how many, only its own run knew.
        expected = lines_each if growing == output else None
        survey = _survey(rows(source) if source else iter(()), format, wanted, expected)
    else:
        survey = _Survey(done=frozenset(), drop=wanted, cut=False, ended=True)
    old: dict[str, tuple[Caption, ...]] = {}
    if if_exists != "skip" and output.exists():
        for record in rows(output):
            if record.key in wanted:
                old[record.key] = old.get(record.key, ()) + record.captions
    if survey.done:
        photos = PathList(str(photo) for photo in photos if format.key(photo) not in survey.done)
    if resumes:
        # Others may have laid out a file with a footer differently: it is written as we do.
        sound = survey.ended and not survey.cut and not survey.drop
        rewrite = not sound or format.footer != b""
    else:
        rewrite = source is not None
    return ResumePlan(photos, source, rewrite, survey.drop, old)


@dataclass(frozen=True)
class _Survey:
    done: AbstractSet[str]  # photos that need nothing more
    drop: AbstractSet[str]  # photos whose rows go: failures, and a row that may be incomplete
    cut: bool  # the file ends within a row
    ended: bool  # its last whole row has its line break


def _survey(
    records: Iterator[Record], format: Format, wanted: AbstractSet[str], lines: int | None
) -> _Survey:
    """What the rows of a file are good for.

    Args:
        lines: lines that a photo gets. The last photo in the file is done again if it has fewer,
            and the file ends within a line or another photo has more; else its lines may be all
            that an earlier run was asked for. If this is None, it is done again in any case.
    """
    done: set[str] = set()
    drop: set[str] = set()
    cut, ended = False, True
    last, count, most = "", 0, 0
    for record in records:
        if not record.whole:
            cut = True
            continue
        ended = record.ended
        if record.key != last:
            last, count, most = record.key, 0, max(most, count)
        count += 1
        if record.key in wanted:
            (drop if record.error is not None else done).add(record.key)
    if lines is not None and not cut:
        lines = min(lines, most)
    if format.several_lines and last in done and (lines is None or count < lines):
        drop.add(last)
    return _Survey(done - drop, drop, cut, ended)


# --- the file -------------------------------------------------------------------------------------


class ResumableFile:
    """Rows of photos in one file, which holds whole rows only, however the run ends.

    What `if_exists` does with a photo that has captions in the file already:

    - skip: leaves it; only the other photos are captioned. Rows of failures are taken out, and
      those photos tried again.
    - overwrite: the new row replaces the old one, unless the photo can no longer be read.
    - append, prepend: the new captions come after or before the old ones, and none is repeated.

    Rows of photos that are not asked for stay as they are. With skip, rows are added to the file
    itself. Otherwise the new file grows beside the old one as NAME.MODE.part (see `part_name`) and
    replaces it at the end. The same command resumes the .part of a killed run; until then any other
    command refuses to touch the output or the .part.

    `photos` are those to caption. Nothing is changed before the context is entered; then call the
    object with each row.

    Args:
        num_captions: captions for each photo; where each takes a line, the last photo in the file
            may have fewer because a run was killed.
        made_by: what makes the captions, a model and its options; a .part is resumed only by the
            same.
        published: the output's own form, where that cannot grow; the rows then always grow beside
            it.

    Raises: UserError for a file that is not in this format, two photos of one key, an output that
        cannot be written, or a .part left by a run with other options; on entering, if another run
        is writing the output.
    """

    def __init__(
        self,
        output: Path,
        format: Format,
        photos: Sequence[Path],
        if_exists: str = "skip",
        *,
        num_captions: int = 1,
        made_by: str = "",
        published: PublishedForm | None = None,
    ) -> None:
        if format.name == "coco" and if_exists in ("append", "prepend"):
            raise UserError(
                f"--existing {if_exists} is not supported for COCO results, which hold one caption"
                " for each photo: use skip or overwrite"
            )
        check_writable(output)
        if output.is_symlink():
            output = Path(os.path.realpath(output))  # a link stays one, whatever is renamed
        self.output = output
        self._if_exists, self._published = if_exists, published
        part = output.with_name(part_name(output.name, if_exists, made_by))
        self._growing = output if if_exists == "skip" and published is None else part
        refuse_other_parts(output, self._growing)
        self._lock = RunLock(output, self._growing)  # before the files are read
        self.format = format.as_found(self._growing if self._growing.exists() else output)
        self._plan: ResumePlan | None = plan_resumption(
            output,
            self._growing,
            self.format,
            photos,
            if_exists,
            lines_each=num_captions,
            published=published,
        )
        self.photos, self._old = self._plan.photos, self._plan.old

    @property
    def part(self) -> Path | None:
        """The file with the rows that are not in the output yet."""
        beside = self._growing != self.output and self._growing.exists()
        return self._growing if beside else None

    def __enter__(self) -> Self:
        self._rows = 0
        self._file: _GrowingFile | None = None
        self._new = not self._growing.exists()
        if self._growing != self.output and self._new and not self.photos:
            return self  # everything is done already
        with ExitStack() as lock:
            lock.enter_context(self._lock)
            assert self._plan is not None
            if self._plan.rewrite:
                self._copy_rows(self._plan)
            self._plan = None  # what it would drop may be as large as the folder
            self._file = _GrowingFile(self._growing, self.format)
            self._held = lock.pop_all()
        return self

    def _copy_rows(self, plan: ResumePlan) -> None:
        """Begin the growing file with the rows that stay."""
        source = plan.source
        assert source is not None
        records = self._read(source)
        with replace_file(self._growing, like=source, only_writer=True) as temporary:
            temporary.touch(0o600)  # it may be private
            with _GrowingFile(temporary, self.format) as file:
                for record in records:
                    if not record.whole:
                        self._tell_of_the_end(source, record.data)
                    elif record.key not in plan.drop:
                        file.add(record.data)

    def _tell_of_the_end(self, source: Path, data: bytes) -> None:
        """Say what is left out, because somebody may have written it and not a killed run."""
        rest = data.removeprefix(self.format.separator)
        if not self.format.header.startswith(data) and not self.format.footer.startswith(rest):
            shown = rest.strip().decode(errors="replace")
            logger.warning("left out the end of '%s', which is not a whole row: %s", source, shown)

    def __call__(self, row: CaptionResult) -> None:
        assert self._file is not None
        old = self._old.get(self.format.key(row.path), ())
        data = self.format.encode(merge(row, old, self._if_exists))
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
            elif self._new and not self._rows:
                self._growing.unlink(missing_ok=True)  # so that it does not block another attempt

    def existing(self, photos: Sequence[Path]) -> Iterator[tuple[Path, tuple[Caption, ...]]]:
        """Each photo and the captions that the file has of it, with those of a run that was
        stopped.
        """
        found: dict[str, tuple[Caption, ...]] = {}
        for path in dict.fromkeys((self.output, self._growing)):
            if not path.exists():
                continue
            rows: dict[str, tuple[Caption, ...]] = {}
            for record in self._read(path):
                if record.whole and record.captions:
                    rows[record.key] = rows.get(record.key, ()) + record.captions
            found |= rows
        for photo in photos:
            yield photo, found.get(self.format.key(photo), ())

    def _read(self, path: Path) -> Iterator[Record]:
        if path == self.output and self._published is not None:
            return self._published.read(path)
        return read_rows(path, self.format)

    def _publish(self) -> None:
        if self._published is not None:
            with replace_file(self.output, only_writer=True) as temporary:
                self._published.write(temporary, self._growing)
            self._growing.unlink()
        elif self._growing != self.output:
            self._growing.replace(self.output)


class _GrowingFile:
    """A file of rows with the footer always in place; a row that cannot be written whole is taken
    back.
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
            self._stream.write(self._format.footer)  # where it was before
            raise OSError(error.errno, error.strerror, str(self._path)) from None
        self._end += len(data)

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def merge(row: CaptionResult, old: tuple[Caption, ...], if_exists: str) -> CaptionResult:
    """A new row joined with the captions that the photo has, as `ResumableFile` describes."""
    if not old or (if_exists == "overwrite" and row.error is None):
        return row
    if row.unsure:
        return CaptionResult(row.path, old)
    known = {caption.text for caption in old}
    new = tuple(caption for caption in row.captions if caption.text not in known)
    return CaptionResult(row.path, new + old if if_exists == "prepend" else old + new)


def combine_lines(old: Sequence[Line], new: Sequence[Line], if_exists: str) -> list[Line]:
    """The lines of a caption file or description after append or prepend, none repeated."""
    further = [line for line in new if line not in old]
    return [*further, *old] if if_exists == "prepend" else [*old, *further]


# --- names, keys and reading ----------------------------------------------------------------------


def part_name(name: str, if_exists: str, made_by: str = "") -> str:
    """The name of the new file while it grows, different for runs that mean different things.

    With skip it does not depend on the model: existing captions stay, whatever made them.
    """
    digest = hashlib.sha256(os.fsencode(made_by)).hexdigest()[:8]
    mark = f"-{digest}" if made_by and if_exists != "skip" else ""
    return f"{name}.{if_exists}{mark}.part"


def refuse_other_parts(output: Path, own: Path | None = None) -> None:
    """Raises: UserError if a run on this output was stopped whose .part is not one's own."""
    for other in sorted(output.parent.glob(f"{glob.escape(output.name)}.*.part")):
        part = re.fullmatch(
            rf"({'|'.join(EXISTING)})(-[0-9a-f]{{8}})?\.part",
            other.name.removeprefix(f"{output.name}."),
        )
        if part and other != own:
            raise UserError(
                f"'{other}' holds the partial results of a run with --existing {part[1]} and other"
                " options: finish that run with its own command, or delete the file"
            )


def distinct_keys(photos: Sequence[Path], format: Format) -> set[str]:
    """The photos' keys in a format.

    Raises: UserError naming two photos of one key.
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


def read_rows(
    path: Path, format: Format, wanted: AbstractSet[str] | None = None
) -> Iterator[Record]:
    """The rows of a file; an incomplete end comes last, as a record that is not whole.

    Args:
        wanted: keys of photos whose rows the file may end in the middle of; None for any.

    Raises: UserError if the file is not in this format, or ends in the middle of anything else.
    """
    with path.open("rb") as stream:
        head = stream.read(len(format.header))
        if head == format.header:
            try:
                for record in format.read(stream):
                    if not record.whole and wanted is not None:
                        _check_end(path, record.data, format, wanted)
                    yield record
                return
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                reason = problem(error)
        elif format.header.startswith(head):
            if head:
                yield Record("", head, whole=False)
            return
        else:
            reason = f"it begins with {head.decode(errors='replace')!r}"
    raise UserError(
        f"'{path}' exists and is not a {format.name} file of captions ({reason}): choose another"
        " --output, or another --format"
    )


def _check_end(path: Path, data: bytes, format: Format, wanted: AbstractSet[str]) -> None:
    """Raises: UserError if this is not the beginning of a wanted photo's row, of a separator or of
    the footer.
    """
    rest = data.removeprefix(format.separator)
    if format.footer.startswith(rest):
        return
    for key in wanted:
        beginning = format.beginning(key)
        begun = beginning.startswith(rest)
        if begun or (
            rest.startswith(beginning) and b"\n" not in rest[len(beginning) :].removesuffix(b"\n")
        ):
            return
    shown = data.strip()[:60].decode(errors="replace")
    raise UserError(
        f"'{path}' ends with '{shown}', which is not a whole row or part of one of these photos:"
        " end it with a line break if it is whole, run the command that wrote it, repair the file,"
        " or choose another --output"
    )


# --- what can be written --------------------------------------------------------------------------


def reason_of(error: OSError) -> str:
    """Why a single photo, or what is written for it alone, cannot be read or written.

    Raises: the error itself if the disk is full, because every other photo would fail too.
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
        reason = "the disk is read-only" if _is_read_only(folder) else "permission denied"
    elif not output.exists():
        reason = _why_no_file(folder)
    if reason:
        raise UserError(f"cannot write to '{output}' ({reason}): choose another place")


def _why_no_file(folder: Path) -> str | None:
    """Why no file can be made in a folder whose permissions allow it, such as /proc."""
    probe = folder / f".probe-{os.getpid()}"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except FileNotFoundError:
        return f"the system lets nobody make files in '{folder}'"
    except FileExistsError:
        return None
    except OSError as error:
        return reason_of(error).lower()
    return None


def _is_read_only(folder: Path) -> bool:
    """Whether the disk of a folder is mounted so that nothing can be written to it."""
    return hasattr(os, "statvfs") and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
