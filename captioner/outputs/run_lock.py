"""One run at a time writes an output: a lock that ends with its process, however that ends."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from rnnkit.errors import UserError

try:
    import fcntl
except ImportError:  # Windows, where runs are not kept apart
    fcntl = None  # type: ignore[assignment]


class RunLock:
    """Keeps other runs from an output, which need not be there yet. Made before the output is read,
    entered before it is changed.

    What is locked is .NAME.lock beside it, because the output itself is renamed over, or .lock in a
    folder. The file that a killed run leaves is nobody's, and taken over. Where it cannot be made
    or locked (a folder or a file system that does not allow it), the run goes on without.

    Args:
        also: other files that were read, and that no other run may have changed in between either.
        inside: the output is a folder.

    Raises: UserError on entering, if another run holds it or has changed one of the files
        meanwhile.
    """

    def __init__(self, output: Path, *also: Path, inside: bool = False) -> None:
        self._output = output
        self._path = output / ".lock" if inside else output.with_name(f".{output.name}.lock")
        self._read = also if inside else (output, *also)
        self._before = self._states()
        self._file: int | None = None

    def _states(self) -> list[tuple[int, int, int] | None]:
        found = [path.stat() if path.exists() else None for path in self._read]
        return [
            None if each is None else (each.st_ino, each.st_size, each.st_mtime_ns)
            for each in found
        ]

    def __enter__(self) -> Self:
        if fcntl is not None:
            with suppress(OSError):
                self._file = self._take()
        if self._states() != self._before:
            self.__exit__()
            raise UserError(
                f"another run has changed '{self._output}' meanwhile: start this one again"
            )
        return self

    def _take(self) -> int:
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            with ExitStack() as undo:
                undo.callback(os.close, file)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise UserError(
                        f"another run is writing '{self._output}': wait for its end, or choose"
                        " another --output"
                    ) from None
                with suppress(FileNotFoundError):  # a run that ended just now took its file away
                    if os.path.samestat(os.fstat(file), self._path.stat()):
                        undo.pop_all()
                        return file

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._path.unlink()
            os.close(self._file)
            self._file = None
