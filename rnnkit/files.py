"""Writes a file as a whole or not at all: a crash or a full disk leaves the old one or the new."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have errors of the system in the block name a file; Python leaves it out where writing fails.

    Raises: OSError that names `path`.
    """
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


@contextmanager
def replace_file(
    path: Path, *, like: Path | None = None, sync: bool = True, only_writer: bool = False
) -> Iterator[Path]:
    """Give the block a temporary path to write to; it then takes the place of `path`.

    The data is on the disk before the rename, so after a power cut, too, there is one or the other.
    If the block fails, `path` is left as it was. An existing file keeps its permissions and, where
    that is allowed, its owner.

    Args:
        like: the file whose permissions and owner the new one takes; `path` itself if not given.
        sync: wait until the data is on the disk. Without it a power cut, but no crash of the
            process, may lose a file that was just written; for files that are cheap to make again.
        only_writer: no other process writes this file at the same time. The temporary file then
            always has the same name, so what a killed run left of it is cleared away by the next.

    Raises: OSError that names `path`, not the temporary file.
    """
    own = "" if only_writer else f".{os.getpid()}"
    temporary = path.with_name(f".{path.name}{own}.part")
    try:
        if only_writer:
            temporary.unlink(missing_ok=True)
        yield temporary
        if sync:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        model = like or path
        if model.exists():
            _copy_permissions(model, temporary)
        temporary.replace(path)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror or str(error), str(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_file(path: Path, data: bytes, *, sync: bool = True, only_writer: bool = False) -> None:
    """Write bytes by `replace_file`."""
    with replace_file(path, sync=sync, only_writer=only_writer) as temporary:
        temporary.write_bytes(data)


def _copy_permissions(model: Path, file: Path) -> None:
    shutil.copymode(model, file)
    if hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(file, model.stat().st_uid, model.stat().st_gid)
