"""Writes a file as a whole or not at all: a crash or a full disk leaves the old one or the new."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give the block a temporary path to write to; it then takes the place of `path`.

    The data is on the disk before the rename, so after a power cut, too, there is one or the other.
    If the block fails, `path` is left as it was. An existing file keeps its permissions.

    Raises: OSError that names `path`, not the temporary file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_file(path: Path, data: bytes) -> None:
    """Write bytes by `replace_file`."""
    with replace_file(path) as temporary:
        temporary.write_bytes(data)
