"""What visitors send: which files are theirs, how large they may be, and what a ZIP may hold."""

from __future__ import annotations

import atexit
import base64
import binascii
import os
import shutil
import stat
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, cast

from rnnkit.errors import UserError

MEGABYTE = 2**20
MAX_PHOTO = 20 * MEGABYTE
MAX_FILE = 200 * MEGABYTE  # a ZIP, or a file of captions
MAX_PHOTOS = 500  # in one go
MAX_UNPACKED = 1000 * MEGABYTE  # all members of all ZIPs of one go
MAX_INDEX = MEGABYTE  # of a ZIP; some five thousand names
MAX_NAME = 150  # bytes; the end of a longer name stays
MAX_RATIO = 200  # unpacked to packed, of one member; photos hardly shrink, bombs do
FREE_DISK = 2048 * MEGABYTE  # uploads and what is unpacked of them must leave so much
DISK_FULL = "the server's disk is nearly full: try again later"
JOB = "job-"  # how the name of a job's folder begins


@dataclass(frozen=True)
class Upload:
    """A file that a visitor sent: here on the disk, or its bytes."""

    name: str
    source: Path | bytes

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


@dataclass
class Budget:
    """What one request may still bring: several ZIPs, or one sent several times, have no more room
    than one.
    """

    photos: int = field(default_factory=lambda: MAX_PHOTOS)
    size: int = field(default_factory=lambda: MAX_UNPACKED)  # in bytes, unpacked

    def take(self, name: str, members: list[zipfile.ZipInfo]) -> None:
        """Set aside the room for the members of a ZIP.

        Raises: UserError naming the ZIP if there is not enough left.
        """
        size = sum(member.file_size for member in members)
        if len(members) > self.photos:
            raise UserError(
                f"{name} holds {len(members)} files, more than the {self.photos} left of"
                f" {MAX_PHOTOS} in one go: split it"
            )
        if size > self.size:
            left, limit = (f"{number / MEGABYTE:.0f}" for number in (self.size, MAX_UNPACKED))
            raise UserError(
                f"{name} has {size / MEGABYTE:.0f} MB when unpacked, more than the {left} left of"
                f" {limit} in one go: split it"
            )
        self.photos -= len(members)
        self.size -= size


def disk_has_room(size: int) -> bool:
    """Whether so many bytes may still be written."""
    return shutil.disk_usage(temporary_folder()).free - size >= FREE_DISK


@cache
def temporary_folder() -> Path:
    """Where everything lies that visitors send or get; removed when the program ends."""
    folder = Path(tempfile.mkdtemp(prefix="show-and-spell-")).resolve()
    atexit.register(remove_temporary_folder)
    return folder


def remove_temporary_folder() -> None:
    """Delete all that visitors sent and got."""
    shutil.rmtree(temporary_folder(), ignore_errors=True)


def new_folder() -> Path:
    """A folder for what visitors get of one job; `remove_old_folders` deletes it later."""
    return Path(tempfile.mkdtemp(prefix=JOB, dir=temporary_folder()))


def remove_old_folders(age: float) -> None:
    """Delete the folders of jobs that nothing was added to for so many seconds: Gradio deletes only
    the files that it made itself.
    """
    for folder in temporary_folder().glob(f"{JOB}*"):
        with suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > age:
                shutil.rmtree(folder, ignore_errors=True)


def received(value: Any, *, limit: int = MAX_PHOTO) -> Upload:
    """The file behind what a client sent for one, which need not have come from the page's own
    form.

    Args:
        value: Gradio's file data, {"path", "url", "orig_name", ...}, or a data URL.

    Raises: UserError for anything but a file uploaded to this server or a data URL, or one that is
        too large.
    """
    data = value if isinstance(value, dict) else {"path": value}
    path, url = data.get("path"), data.get("url")
    text = path if isinstance(path, str) and path else url
    if not isinstance(text, str) or not text:
        raise UserError("there is no file: choose one first")
    given = data.get("orig_name")
    name = _clean(given if isinstance(given, str) else PurePosixPath(text[:1000]).name)
    if text.startswith("data:"):
        upload = Upload(name if isinstance(given, str) else "picture", _decoded(text, limit))
    elif text.startswith(("http:", "https:")):
        raise UserError("addresses are not fetched: send the file itself")
    else:
        upload = Upload(name, _own(text, name))
    if upload.size > limit:
        raise UserError(
            f"{upload.name} has {upload.size / MEGABYTE:.0f} MB, more than the limit of"
            f" {limit // MEGABYTE} MB"
        )
    return upload


def unpacked(upload: Upload, folder: Path, budget: Budget) -> Iterator[tuple[str, Path | str]]:
    """The files in a ZIP, written into a folder under names of our own.

    Args:
        budget: what the request may still bring; what the ZIP holds is taken from it before
            anything is written.

    Yields: (name in the ZIP, where it lies now, or the reason why it was left in the ZIP).
    Raises: UserError if it is no sound ZIP, or holds too much.
    """
    try:
        if _index_size(upload) > MAX_INDEX:
            raise UserError(
                f"{upload.name} holds far more files than the limit of {MAX_PHOTOS} in one go:"
                " split it"
            )
        with zipfile.ZipFile(upload.source) as archive:  # type: ignore[arg-type]
            members = [member for member in archive.infolist() if not _is_clutter(member)]
            budget.take(upload.name, members)
            for number, member in enumerate(members):
                if not disk_has_room(
                    member.file_size
                ):  # asked for each, because others unpack at the same time
                    raise UserError(DISK_FULL)
                name = _clean(member.filename)
                target = folder / f"{number}{_suffix(name)}"
                yield name, _refusal(member) or _extract(archive, member, target)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise UserError(f"{upload.name} is no ZIP that can be read ({error})") from None


def is_zip(upload: Upload) -> bool:
    """Told by content."""
    return not isinstance(upload.source, bytes) and zipfile.is_zipfile(upload.source)


def _index_size(upload: Upload) -> int:
    """Bytes of a ZIP's index, which zipfile reads whole before anything can be asked of it. The
    number of files beside it may lie.
    """
    with cast(Path, upload.source).open("rb") as file:
        # Private, but what zipfile itself goes by: any other reader could be shown another index.
        record = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    return int(record[5]) if record else 0


def _decoded(url: str, limit: int) -> bytes:
    header, _, body = url.partition(",")
    if not header.endswith(";base64"):
        raise UserError("a data URL must be in base64")
    if len(body) > limit * 4 // 3 + 4:
        raise UserError(f"the picture is larger than the limit of {limit // MEGABYTE} MB")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise UserError("the data URL is damaged: its base64 does not decode") from None


def _own(path: str, name: str) -> Path:
    """The path, if it is a file that was uploaded here; whatever else it is, the answer is the
    same.
    """
    try:
        found = Path(path).resolve(strict=True)
        if found.is_relative_to(temporary_folder()) and found.is_file():
            return found
    except (OSError, ValueError, RuntimeError):
        pass
    raise UserError(f"{name} was not uploaded to this page, or is no longer here: choose it again")


def _clean(name: str) -> str:
    """A file's name as it may be shown and written; a file system takes 255 bytes, and a number or
    an ending may yet come to it.
    """
    printable = "".join(
        character if character.isprintable() else " " for character in name[-MAX_NAME:]
    )
    return printable.encode()[-MAX_NAME:].decode(errors="ignore").strip() or "file"


def _suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return suffix if len(suffix) <= 6 and suffix[1:].isalnum() else ""


def _is_clutter(member: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    return (
        member.is_dir()
        or not parts
        or "__MACOSX" in parts
        or any(part.startswith(".") and part != ".." for part in parts)
    )


def _refusal(member: zipfile.ZipInfo) -> str | None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return "its path leads outside of the ZIP"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "a link, not a photo"
    if member.flag_bits & 1:
        return "encrypted"
    if member.file_size > MAX_PHOTO:
        return (
            f"{member.file_size / MEGABYTE:.0f} MB is more than the limit of"
            f" {MAX_PHOTO // MEGABYTE} MB"
        )
    if member.file_size > MAX_RATIO * max(member.compress_size, 1024):
        return "packed suspiciously tight"
    return None


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> Path | str:
    try:
        with archive.open(member) as packed:
            content = packed.read(MAX_PHOTO + 1)  # the sizes in the ZIP's index may lie
    except Exception as error:  # the decompressors raise nearly anything on damaged data
        return f"damaged in the ZIP ({' '.join(str(error).split()) or type(error).__name__})"
    if len(content) > MAX_PHOTO:
        return f"more than the limit of {MAX_PHOTO // MEGABYTE} MB"
    target.write_bytes(content)
    return target


def prepare_gradio() -> None:
    """Settings that Gradio reads from the environment when it is imported: where files lie, and
    nothing reported to anybody.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(temporary_folder())
    os.environ["GRADIO_EXAMPLES_CACHE"] = str(temporary_folder() / "examples")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    # Gradio sums up its statistics with pandas after every so many events; nobody looks at them.
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = "1000000"
