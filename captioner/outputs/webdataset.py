"""Tar shards of webdataset: photos or shards in, shards with captions out.

A sample is a photo, its caption as `txt`, its whole row as `caption.json`, and whatever else it had
in a shard. Needs the extra `webdataset`.
"""

from __future__ import annotations

import json
import tarfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from types import TracebackType
from typing import Any, Protocol, Self

import rnnkit.torchvision_import  # noqa: F401 - webdataset looks for torchvision
from captioner.data.images import EXTENSIONS
from captioner.data.path_list import PathList
from captioner.outputs.resumable_file import check_writable, combine_lines, reason_of
from captioner.outputs.text_formats import Format, json_row
from captioner.types import CaptionResult, EncodedPicture
from rnnkit.errors import UserError
from rnnkit.run_lock import RunLock

try:
    from webdataset.tariterators import base_plus_ext, group_by_keys, tar_file_iterator
    from webdataset.writer import TarWriter
except ImportError:
    raise UserError(
        'tar shards need webdataset: pip install "show-and-spell[webdataset]"'
    ) from None

SAMPLES = 1000  # in a shard made from photos
TEXT, ROW = "txt", "caption.json"
Sample = dict[str, Any]  # bytes by extension, and the name without extension under __key__


class PhotoShards:
    """Photos copied with their captions into shards 00000.tar, 00001.tar ... of a folder. See
    `captioner.outputs.base.Output`.

    A shard is NAME.tar.part until it is full or the run ends; the next run resumes the one that a
    killed run left. A new shard has a number above all others here, so shards may be moved away; a
    key is the shard's number, then the place in it. Photos that are in a shard are skipped; those
    that failed are in none and are tried again.

    Raises: UserError for a folder that cannot be written or holds other shards.
    """

    def __init__(self, photos: Sequence[Path], if_exists: str, folder: Path) -> None:
        if if_exists != "skip":
            raise UserError(
                f"--existing {if_exists} is not supported for shards of photos, to which photos are"
                " only added: choose another --output"
            )
        _check_folder(folder)
        self._folder, self._lock = folder, RunLock(folder, inside=True)
        self._shard: _Shard | None = None
        done: set[str] = set()
        self._number = -1  # the highest of a shard, by its name or its samples' keys
        for path in [*folder.glob("*.tar"), *folder.glob("*.tar.part")]:
            members = _samples_in(path)
            done |= {_photo_of(member, path) for member in members}
            keys = [int(each.key) // SAMPLES for each in members if each.key.isdecimal()]
            self._number = max(self._number, _number(path), *keys)
        self.photos: Sequence[Path] = photos
        if done:
            self.photos = PathList(str(photo) for photo in photos if _NAMES.key(photo) not in done)

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as lock:
            lock.enter_context(self._lock)
            for part in self._folder.glob("*.tar.part"):
                if _number(part) >= 0:
                    self._shard = _Shard(part.with_suffix(""))
            self._held = lock.pop_all()
        return self

    def __call__(self, row: CaptionResult) -> str | None:
        if row.error is not None:
            return None
        try:
            data = row.path.read_bytes()
        except OSError as error:
            return reason_of(error)
        if self._shard is None:
            self._number += 1
            self._shard = _Shard(self._folder / f"{self._number:05d}.tar")
        extension = row.path.suffix.lower().removeprefix(".") or "jpg"
        key = f"{_number(self._shard.path) * SAMPLES + self._shard.samples:09d}"
        self._shard.write({"__key__": key, extension: data} | _described(row))
        if self._shard.samples == SAMPLES:
            self._shard.finish()
            self._shard = None
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._held:
            if self._shard is not None and kind is None:
                self._shard.finish()
            elif self._shard is not None:
                self._shard.leave()


class Tally(Protocol):
    """Counts what became of photos, as `captioner.jobs.progress.Summary` does."""

    skipped: int

    def count(self, path: Path, error: str | None) -> None: ...


@dataclass(eq=False)
class _Slot:
    """The place of a sample in its shard, ready as soon as it has its caption or needs none."""

    sample: Sample
    ready: bool


@dataclass(frozen=True)
class _ShardPicture(EncodedPicture):
    """A photo of a shard on its way through the captioner."""

    shard: _ShardCopy
    slot: _Slot


class CaptionedShards:
    """Shards in, shards of the same names out, with a caption added to each sample that has a
    photo. See `captioner.outputs.base.Output`.

    What `if_exists` does with a sample that has a `txt` already: skip copies it as it is; overwrite
    replaces the text; append and prepend add the lines that it does not have. A shard that is in
    the output folder is skipped as a whole; one that a killed run left as NAME.tar.part is resumed.
    A photo that fails keeps its sample, with the reason in caption.json.

    A damaged shard is a failure in the summary, and stays as NAME.tar.part; the others are done. So
    is a sample whose name leads outside of the folder that the shard is unpacked to; it is left
    out.

    `photos` can be iterated over once, and each row must carry the picture that it came from.

    Args:
        tally: counts damaged shards as failures, and photos that had captions already as skipped.

    Raises: UserError for a folder that cannot be written, or two shards of one name.
    """

    def __init__(self, shards: Sequence[Path], if_exists: str, folder: Path, tally: Tally) -> None:
        _check_folder(folder)
        names: dict[str, Path] = {}
        for shard in shards:
            if names.setdefault(shard.name, shard) != shard:
                raise UserError(
                    f"'{names[shard.name]}' and '{shard}' would both become"
                    f" '{folder / shard.name}': rename one"
                )
            if shard.parent.resolve() == folder.resolve():
                raise UserError(
                    f"'{shard}' is in '{folder}' itself: choose another folder for --output"
                )
        self._if_exists, self._folder, self._tally = if_exists, folder, tally
        self._lock = RunLock(folder, inside=True)
        self.shards = [shard for shard in shards if not (folder / shard.name).exists()]
        self.photos: Iterable[EncodedPicture] = self._read()
        self._open: set[_ShardCopy] = set()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock.__enter__()
        return self

    def _read(self) -> Iterator[EncodedPicture]:
        """The photos that need captions; all other samples go straight into their shard's copy."""
        for path in self.shards:
            copy = _ShardCopy(self._folder / path.name)
            self._open.add(copy)
            damaged = False
            try:
                yield from self._read_one(path, copy)
            except _DamagedError as error:
                self._tally.count(path, f"the shard is damaged ({error})")
                damaged = True
            copy.end(damaged=damaged)
            self._open = {copy for copy in self._open if not copy.closed}

    def _read_one(self, path: Path, copy: _ShardCopy) -> Iterator[EncodedPicture]:
        for sample in _read_shard(path):
            key = sample["__key__"]
            if (member := _stray_member(sample)) is not None:
                why = f"a sample would be unpacked elsewhere and is left out ('{member}')"
                self._tally.count(path, why)
                continue
            extension = _photo_extension(sample)
            copied = key in copy.done
            has_caption = copied or (
                self._if_exists == "skip" and bool(sample.get(TEXT, b"").strip())
            )
            self._tally.skipped += has_caption and extension is not None
            if copied:
                continue
            if extension is None or has_caption:
                copy.add(sample, ready=True)
            else:
                slot = copy.add(sample, ready=False)
                photo = path / f"{key}.{extension}"
                yield _ShardPicture(photo, sample[extension], copy, slot)

    def __call__(self, row: CaptionResult) -> None:
        picture = row.source
        assert isinstance(picture, _ShardPicture)
        sample, described = picture.slot.sample, _described(row)
        if self._if_exists in ("append", "prepend") and TEXT in sample and TEXT in described:
            lines = combine_lines(
                sample[TEXT].splitlines(), described[TEXT].splitlines(), self._if_exists
            )
            described[TEXT] = b"\n".join(lines)
        sample.update(described)
        picture.slot.ready = True
        picture.shard.write_ready()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for copy in self._open:
                copy.leave()
        finally:
            self._lock.__exit__()


def _stray_member(sample: Sample) -> str | None:
    """The name of a member that some system would unpack elsewhere; None if there is none."""
    for extension in (name for name in sample if not name.startswith("__")):  # webdataset's own
        member = f"{sample['__key__']}.{extension}"
        path = PureWindowsPath(member)  # knows slashes and backslashes
        if path.anchor or ".." in path.parts:
            return member
    return None


def _photo_extension(sample: Sample) -> str | None:
    return next(
        (name for name in sample if Path(f"photo.{name.lower()}").suffix in EXTENSIONS), None
    )


class _ShardCopy:
    """A shard with captions on its way: its samples are written in their order, each as soon as it
    and all before it are ready.
    """

    def __init__(self, path: Path) -> None:
        self.closed = False
        self._shard = _Shard(path)
        self.done = self._shard.keys  # of samples that an interrupted run has written
        self._slots: deque[_Slot] = deque()
        self._ended = self._damaged = False

    def add(self, sample: Sample, *, ready: bool) -> _Slot:
        """The next sample of the shard."""
        slot = _Slot(sample, ready)
        self._slots.append(slot)
        self.write_ready()
        return slot

    def end(self, *, damaged: bool) -> None:
        """No more samples will come; a damaged shard stays a .part."""
        self._ended, self._damaged = True, damaged
        self.write_ready()

    def write_ready(self) -> None:
        """Write the samples whose turn it is, and close the shard after the last one."""
        while self._slots and self._slots[0].ready:
            self._shard.write(self._slots.popleft().sample)
        if self._ended and not self._slots and not self.closed:
            self.closed = True
            if self._damaged:
                self._shard.leave()
            else:
                self._shard.finish()

    def leave(self) -> None:
        """Close the shard as it is, for the next run to resume."""
        if not self.closed:
            self.closed = True
            self._shard.leave()


class _DamagedError(Exception):
    """A shard that cannot be read to its end. Not an OSError, because those end the run."""


class _Shard:
    """One shard while it grows as NAME.part, after the whole samples that a killed run left."""

    def __init__(self, path: Path) -> None:
        self.path, self._part = path, path.with_name(f"{path.name}.part")
        whole = _samples_in(self._part)
        self.keys = {member.key for member in whole}
        self.samples = len(whole)
        self._stream = self._part.open("r+b" if self._part.exists() else "x+b")
        self._stream.seek(whole[-1].end if whole else 0)
        self._stream.truncate()
        self._writer = TarWriter(self._stream, encoder=False)

    def write(self, sample: Sample) -> None:
        try:
            self._writer.write(sample)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._part)) from None
        self.samples += 1

    def finish(self) -> None:
        self._writer.close()
        self._stream.close()
        if self.path.exists():
            raise UserError(
                f"'{self.path}' exists already and is not replaced: move it or '{self._part}'"
                " elsewhere"
            )
        self._part.replace(self.path)

    def leave(self) -> None:
        with suppress(OSError):
            self._writer.close()
            self._stream.close()


@dataclass
class _Member:
    """A sample in a shard, where it ends, and its row if it has one."""

    key: str
    end: int = 0
    row: bytes = b""


def _samples_in(path: Path) -> list[_Member]:
    """Samples of a shard; of a NAME.part only those followed by another, as the last may be cut."""
    members: list[_Member] = []
    if not path.exists():
        return members
    with (
        suppress(tarfile.TarError, EOFError),
        path.open("rb") as stream,
        tarfile.open(fileobj=stream, mode="r:") as tar,
    ):
        for member in tar:
            key, extension = base_plus_ext(member.name)
            if not members or members[-1].key != key:
                if members:
                    members[-1].end = member.offset
                members.append(_Member(key))
            if extension == ROW and (file := tar.extractfile(member)):
                members[-1].row = file.read()
    return members[:-1] if path.suffix == ".part" else members


def _number(shard: Path) -> int:
    """42 for 00042.tar or 00042.tar.part; -1 for any other name."""
    name = shard.name.partition(".")[0]
    return int(name) if name.isdecimal() else -1


def _photo_of(sample: _Member, shard: Path) -> str:
    try:
        return str(json.loads(sample.row)["path"])
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"'{shard}' exists and was not made from photos here: choose another folder for"
            " --output"
        ) from None


def _read_shard(path: Path) -> Iterator[Sample]:
    try:
        # An open file, never a name: webdataset would run what follows "pipe:" in one.
        with path.open("rb") as stream:
            yield from group_by_keys(
                (file | {"__url__": ""} for file in tar_file_iterator(stream)), lcase=False
            )
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(map(str, error.args[:1]))
        # webdataset adds the open file's name in Python.
        raise _DamagedError(reason.partition(" @ <")[0]) from None


# Names as JSON in UTF-8 can hold them.
_NAMES = Format()


def _described(row: CaptionResult) -> Sample:
    """The caption, unless it is unsure, and the row as JSON."""
    record = json.dumps(json_row(row) | {"path": _NAMES.key(row.path)}, ensure_ascii=False).encode()
    if row.error is not None or row.unsure:
        return {ROW: record}
    return {TEXT: "\n".join(map(str, row.captions)).encode(), ROW: record}


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"'{folder}' is a file: give --output a folder for the shards")
    check_writable(folder / "00000.tar" if folder.exists() else folder)
