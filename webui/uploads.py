"""What visitors send: which files are theirs, how large they may be, and what a ZIP may hold."""

from __future__ import annotations

import atexit
import base64
import binascii
import io
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
from typing import Any

from rnnkit.errors import UserError

MEGABYTE = 2**20
MAX_PHOTO = 20 * MEGABYTE
MAX_FILE = 200 * MEGABYTE  # a ZIP, or a file of captions
MAX_PHOTOS = 500  # at a time
MAX_UNPACKED = 1000 * MEGABYTE  # all members of all ZIPs of one request
MAX_INDEX = MEGABYTE  # of a ZIP; about five thousand names
MAX_NAME = 150  # bytes; the end of a longer name stays
MAX_RATIO = 200  # unpacked to packed, for one member; photos hardly shrink, bombs do
FREE_DISK = 2048 * MEGABYTE  # what uploads and unpacked files must leave free
DISK_FULL = "the server's disk is nearly full: try again later"
JOB = "job-"  # the start of the name of a job's folder
CAPTION_ENDINGS = (".txt", ".caption")  # of files that hold the caption of the photo beside them


@dataclass(frozen=True)
class Upload:
    """A file that a visitor sent: on this machine's disk, or as bytes."""

    name: str
    source: Path | bytes

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


@dataclass
class Budget:
    """What one request may still bring. Several ZIPs share it, as does one sent several times."""

    photos: int = field(default_factory=lambda: MAX_PHOTOS)
    size: int = field(default_factory=lambda: MAX_UNPACKED)  # in bytes, unpacked
    caption_files: int = 0  # text files that count as no photo

    def take(self, name: str, members: list[zipfile.ZipInfo]) -> None:
        """Set aside room for the members of a ZIP.

        Raises: UserError naming the ZIP if there is not enough left.
        """
        size = sum(member.file_size for member in members)
        texts = sum(is_caption_file(member.filename) for member in members)
        texts = min(texts, self.caption_files)
        photos = len(members) - texts
        if photos > self.photos:
            raise UserError(
                f"{name} holds {photos} files, more than the {self.photos} left of"
                f" {MAX_PHOTOS} at a time: split it"
            )
        if size > self.size:
            left, limit = (f"{number / MEGABYTE:.0f}" for number in (self.size, MAX_UNPACKED))
            raise UserError(
                f"{name} has {size / MEGABYTE:.0f} MB when unpacked, more than the {left} MB left"
                f" of {limit} MB at a time: split it"
            )
        self.photos -= photos
        self.caption_files -= texts
        self.size -= size


def disk_has_room(size: int) -> bool:
    """Whether there is room to write a number of bytes."""
    return shutil.disk_usage(temporary_folder()).free - size >= FREE_DISK


@cache
def temporary_folder() -> Path:
    """The folder of everything that visitors send or get; removed when the program ends."""
    folder = Path(tempfile.mkdtemp(prefix="show-and-spell-")).resolve()
    atexit.register(remove_temporary_folder)
    return folder


def remove_temporary_folder() -> None:
    """Delete everything that visitors sent or got."""
    shutil.rmtree(temporary_folder(), ignore_errors=True)


def new_folder() -> Path:
    """A folder for the files that one job gives a visitor; `remove_old_folders` deletes it.

    Raises: UserError if the disk is nearly full.
    """
    if not disk_has_room(0):
        raise UserError(DISK_FULL)
    return Path(tempfile.mkdtemp(prefix=JOB, dir=temporary_folder()))


def remove_old_folders(age: float) -> None:
    """Delete the folders of jobs that nothing was added to for `age` seconds. Gradio deletes only
    the files that it made itself.
    """
    for folder in temporary_folder().glob(f"{JOB}*"):
        with suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > age:
                shutil.rmtree(folder, ignore_errors=True)


def receive(value: Any, *, limit: int = MAX_PHOTO) -> Upload:
    """The file that a client sent, which need not have come from the page's own form.

    Args:
        value: Gradio's file data, {"path", "url", "orig_name", ...}, or a data URL.

    Raises: UserError for a file that is too large, and for anything but a data URL or a file
        uploaded to this server.
    """
    data = value if isinstance(value, dict) else {"path": value}
    path, url = data.get("path"), data.get("url")
    text = path if isinstance(path, str) and path else url
    if not isinstance(text, str) or not text:
        raise UserError("there is no file: choose one first")
    name = name_of(value)
    if text.startswith("data:"):
        upload = Upload(name, _decode(text, limit))
    elif text.startswith(("http:", "https:")):
        raise UserError("addresses are not fetched: send the file itself")
    else:
        upload = Upload(name, _uploaded_file(text, name))
    refuse_larger(upload, limit)
    return upload


def refuse_larger(upload: Upload, limit: int) -> None:
    """Raises: UserError if a file has more bytes than the limit."""
    if upload.size > limit:
        raise UserError(
            f"{upload.name} has {upload.size / MEGABYTE:.0f} MB, more than the limit of"
            f" {limit // MEGABYTE} MB"
        )


def name_of(value: Any) -> str:
    """The name of a file that a client sent, as it may be shown and written."""
    data = value if isinstance(value, dict) else {"path": value}
    given, path = data.get("orig_name"), data.get("path")
    if isinstance(given, str):
        return _clean(given)
    if not isinstance(path, str) or path.startswith("data:"):
        return "picture"
    return _clean(PurePosixPath(path[-1000:]).name)


def unpack(upload: Upload, folder: Path, budget: Budget) -> Iterator[tuple[str, Path | str]]:
    """Write the files in a ZIP into a folder, under names of our own.

    Args:
        budget: what the request may still bring; what the ZIP holds is taken from it before
            anything is written.

    Yields: (name in the ZIP, the path of the written file or the reason why there is none).
    Raises: UserError if it cannot be read as a ZIP, or holds too much.
    """
    try:
        with _BoundedFile(upload) as file, zipfile.ZipFile(file) as archive:
            file.bounded = False
            members = [member for member in archive.infolist() if not _is_clutter(member)]
            budget.take(upload.name, members)
            for number, member in enumerate(members):
                # Checked for each member, because others unpack at the same time.
                if not disk_has_room(member.file_size):
                    raise UserError(DISK_FULL)
                name = _clean(member.filename)
                target = folder / f"{number}{_suffix(name)}"
                yield name, _refusal(member) or _extract(archive, member, target)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise UserError(f"{upload.name} cannot be read as a ZIP ({error})") from None


def is_caption_file(name: str) -> bool:
    """Whether a file, by its name, holds the caption of a photo."""
    return name.lower().endswith(CAPTION_ENDINGS)


def is_zip(upload: Upload) -> bool:
    """Whether the upload is a ZIP, by content."""
    return not isinstance(upload.source, bytes) and zipfile.is_zipfile(upload.source)


class _BoundedFile(io.BufferedReader):
    """A ZIP that refuses to be read in large pieces while it is `bounded`.

    zipfile reads the whole index in one piece when it opens a ZIP, and the number of files that
    the ZIP states may lie. To find the index by other means would not help: a ZIP can be made to
    show two readers two different ones.
    """

    def __init__(self, upload: Upload) -> None:
        super().__init__(io.FileIO(str(upload.source)))
        self._upload, self.bounded = upload, True

    def read(self, size: int | None = -1, /) -> bytes:
        left = self._upload.size - self.tell()
        wanted = left if size is None or size < 0 else min(size, left)
        if self.bounded and wanted > MAX_INDEX:
            raise UserError(
                f"{self._upload.name} holds far more files than the limit of {MAX_PHOTOS} at a"
                " time: split it"
            )
        return super().read(size)


def _decode(url: str, limit: int) -> bytes:
    header, _, body = url.partition(",")
    if not header.endswith(";base64"):
        raise UserError("a data URL must be in base64")
    if len(body) > limit * 4 // 3 + 4:
        raise UserError(f"the picture is larger than the limit of {limit // MEGABYTE} MB")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise UserError("the data URL is damaged: its base64 does not decode") from None


def _uploaded_file(path: str, name: str) -> Path:
    """The path, if it is a file that was uploaded here; anything else gets the same answer,
    whether it exists or not.
    """
    try:
        file = Path(path).resolve(strict=True)
        if file.is_relative_to(temporary_folder()) and file.is_file():
            return file
    except (OSError, ValueError, RuntimeError):
        pass
    raise UserError(f"{name} was not uploaded to this page, or is no longer here: choose it again")


def _clean(name: str) -> str:
    """A file's name as it may be shown and written. It stays well below the 255 bytes of file
    systems, because a number or an ending may be added.
    """
    end = name[-MAX_NAME:]
    printable = "".join(character if character.isprintable() else " " for character in end)
    return printable.encode()[-MAX_NAME:].decode(errors="ignore").strip() or "file"


def _suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return suffix if len(suffix) <= 6 and suffix[1:].isalnum() else ""


def _is_clutter(member: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    return member.filename != "" and (
        member.is_dir()
        or not parts
        or "__MACOSX" in parts
        or any(part.startswith(".") and part != ".." for part in parts)
    )


def _refusal(member: zipfile.ZipInfo) -> str | None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if not path.parts:
        return "it has no name in the ZIP"
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
        return "compressed suspiciously well"
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
    """Set what Gradio reads from the environment when it is imported: where to keep files, and to
    report nothing to anybody.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(temporary_folder())
    os.environ["GRADIO_EXAMPLES_CACHE"] = str(temporary_folder() / "examples")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    # Gradio would sum up statistics that nobody sees after every event: 6 ms of processor time
    # after 1,000 events and 18 ms after 10,000, where a caption takes about 65 ms.
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = "1000000"
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"  # that it keeps in memory for these statistics
