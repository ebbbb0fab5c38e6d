"""Tar shards of webdataset, for which the extra `webdataset` is needed: photos or shards in, shards
with captions out.

A sample is a photo, its caption as `txt`, its whole row as `caption.json`, and whatever else it had
in a shard.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import rnnkit.torchvision_import  # noqa: F401 - webdataset looks for torchvision
from captioner.data.images import EXTENSIONS
from captioner.data.path_list import PathList
from captioner.jobs.progress import Summary
from captioner.outputs.resumable_file import check_writable, combined_lines, reason_of
from captioner.outputs.run_lock import RunLock
from captioner.outputs.text_formats import Format, json_row
from captioner.types import CaptionResult, EncodedPicture
from rnnkit.errors import UserError

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

    A shard is NAME.tar.part until it is full or the run ends; the next run goes on with the one
    that a killed run left. A new one has a number above all others here, so that shards may be
    moved away; a key is the shard's number, then the place in it. Photos that are in a shard are
    skipped; those that failed are in none, and are tried again.

    Raises: UserError for a folder that cannot be written or holds other shards.
    """

    def __init__(self, photos: Sequence[Path], existing: str, folder: Path) -> None:
        if existing != "skip":
            raise UserError(
                f"shards of photos are only added to, so --existing {existing} cannot be: choose"
                " another --output"
            )
        _check_folder(folder)
        self._folder, self._lock = folder, RunLock(folder, inside=True)
        self._shard: _Shard | None = None
        done: set[str] = set()
        self._number = -1  # the highest of a shard, by its name or its samples' keys
        for path in [*folder.glob("*.tar"), *folder.glob("*.tar.part")]:
            found = _samples_in(path)
            done |= {_photo_of(sample, path) for sample in found}
            keys = [int(sample.key) // SAMPLES for sample in found if sample.key.isdecimal()]
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


class CaptionedShards:
    """Shards in, shards of the same names out, with a caption added to each sample that has a
    photo. See `captioner.outputs.base.Output`.

    What `existing` does with a sample that has a `txt` already: skip passes it on as it is;
    overwrite replaces the text; append and prepend add the lines that it has not. A shard that is
    in the output folder is skipped whole; the one that a killed run left as NAME.tar.part is gone
    on with. A photo that fails keeps its sample, with the reason in caption.json.

    A damaged shard is a failure in the summary, and stays as NAME.tar.part; the others are done.

    `photos` can be gone through once, while its rows are handed in in their order.

    Args:
        summary: where damaged shards are counted, and as skipped the photos that had captions
            already.

    Raises: UserError for a folder that cannot be written, or two shards of one name.
    """

    def __init__(
        self, shards: Sequence[Path], existing: str, folder: Path, summary: Summary
    ) -> None:
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
                    f"'{shard}' lies in '{folder}' itself: choose another folder for --output"
                )
        self._existing, self._folder, self._lock = existing, folder, RunLock(folder, inside=True)
        self.shards = [shard for shard in shards if not (folder / shard.name).exists()]
        self.photos: Iterable[EncodedPicture] = self._read()
        self._shard: _Shard | None = None
        self._summary = summary
        # Samples that wait for their rows, and what is to be done between them.
        self._waiting: deque[Sample | Callable[[], None]] = deque()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock.__enter__()
        return self

    def _read(self) -> Iterator[EncodedPicture]:
        for path in self.shards:
            self._waiting.append(partial(self._open, path.name))
            try:
                yield from self._read_one(path)
                self._waiting.append(self._finish)
            except _DamagedError as error:
                self._summary.count(path, f"the shard is damaged ({error})")
                self._waiting.append(self._leave)
            self._catch_up()

    def _read_one(self, path: Path) -> Iterator[EncodedPicture]:
        done = {sample.key for sample in _samples_in(self._folder / f"{path.name}.part")}
        for sample in _read_shard(path):
            extension = next(
                (name for name in sample if Path(f"photo.{name.lower()}").suffix in EXTENSIONS),
                None,
            )
            has_all = sample["__key__"] in done or (self._existing == "skip" and TEXT in sample)
            self._summary.skipped += has_all and extension is not None
            if sample["__key__"] in done:
                continue
            if extension is None or has_all:
                self._waiting.append(partial(self._write, sample))
                self._catch_up()
            else:
                self._waiting.append(sample)
                yield EncodedPicture(path / f"{sample['__key__']}.{extension}", sample[extension])

    def __call__(self, row: CaptionResult) -> None:
        self._catch_up()
        sample = self._waiting.popleft()
        assert isinstance(sample, dict)
        described = _described(row)
        if self._existing in ("append", "prepend") and TEXT in sample and TEXT in described:
            described[TEXT] = b"\n".join(
                combined_lines(
                    sample[TEXT].splitlines(), described[TEXT].splitlines(), self._existing
                )
            )
        self._write(sample | described)
        self._catch_up()

    def _catch_up(self) -> None:
        """Do what is to be done before the next sample that waits for its row."""
        while self._waiting and callable(self._waiting[0]):
            self._waiting.popleft()()  # type: ignore[operator]

    def _open(self, name: str) -> None:
        self._shard = _Shard(self._folder / name)

    def _write(self, sample: Sample) -> None:
        assert self._shard is not None
        self._shard.write(sample)

    def _finish(self) -> None:
        assert self._shard is not None
        self._shard.finish()
        self._shard = None

    def _leave(self) -> None:
        if self._shard is not None:
            self._shard.leave()
        self._shard = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._leave()
        finally:
            self._lock.__exit__()


class _DamagedError(Exception):
    """A shard that cannot be read to its end; not an OSError, as those of writing end the run."""


class _Shard:
    """One shard while it grows as NAME.part; what a killed run left of it stays, up to the last
    whole sample.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._part = path, path.with_name(f"{path.name}.part")
        whole = _samples_in(self._part)
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
                f"'{self.path}' is there already and is not replaced: move it or '{self._part}'"
                " elsewhere"
            )
        self._part.replace(self.path)

    def leave(self) -> None:
        with suppress(OSError):
            self._writer.close()
            self._stream.close()


@dataclass
class _Found:
    """A sample in a shard, where it ends, and its row if it has one."""

    key: str
    end: int = 0
    row: bytes = b""


def _samples_in(path: Path) -> list[_Found]:
    """Samples of a shard; of one that is still a NAME.part only those after which another one
    began, as the last may be cut.
    """
    found: list[_Found] = []
    if not path.exists():
        return found
    with (
        suppress(tarfile.TarError, EOFError),
        path.open("rb") as stream,
        tarfile.open(fileobj=stream, mode="r:") as tar,
    ):
        for member in tar:
            key, extension = base_plus_ext(member.name)
            if not found or found[-1].key != key:
                if found:
                    found[-1].end = member.offset
                found.append(_Found(key))
            if extension == ROW and (file := tar.extractfile(member)):
                found[-1].row = file.read()
    return found[:-1] if path.suffix == ".part" else found


def _number(shard: Path) -> int:
    """Of 00042.tar or 00042.tar.part 42, of another name -1."""
    name = shard.name.partition(".")[0]
    return int(name) if name.isdecimal() else -1


def _photo_of(sample: _Found, shard: Path) -> str:
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
        raise _DamagedError(
            reason.partition(" @ <")[0]
        ) from None  # webdataset adds what the open file is called in Python


# Names as JSON in UTF-8 can hold them.
_NAMES = Format()


def _described(row: CaptionResult) -> Sample:
    """The caption, and the row as JSON."""
    record = json.dumps(json_row(row) | {"path": _NAMES.key(row.path)}, ensure_ascii=False).encode()
    return (
        {ROW: record}
        if row.error is not None
        else {TEXT: "\n".join(map(str, row.captions)).encode(), ROW: record}
    )


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"'{folder}' is a file: give --output a folder for the shards")
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise UserError(f"cannot write to '{folder}' (permission denied)")
    if not folder.exists():
        check_writable(folder)
