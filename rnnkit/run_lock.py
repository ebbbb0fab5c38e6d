"""One run at a time writes an output: a lock that ends with its process, however that ends."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from rnnkit.errors import UserError


class RunLock:
    """Keeps other runs from an output, which may not exist yet.

    Make it before the output is read, and enter it before the output is changed.

    The lock is on .NAME.lock beside the output, because the output itself is renamed over, or on
    .lock in a folder. It ends with the process that holds it, so a file that a killed run left
    blocks nobody. Where the folder or the file system does not allow locks, the run goes ahead
    without one.

    Args:
        also: other files that were read and that no other run may have changed since.
        inside: the output is a folder.

    Raises: UserError on entering, if another run holds the lock or has changed one of the files.
    """

    def __init__(self, output: Path, *also: Path, inside: bool = False) -> None:
        self._output = output
        self._path = output / ".lock" if inside else output.with_name(f".{output.name}.lock")
        self._lock = FileLock(self._path, timeout=0, mode=0o600)
        self._read = also if inside else (output, *also)
        self._before = self._states()

    def _states(self) -> list[tuple[int, int, int] | None]:
        stats = [path.stat() if path.exists() else None for path in self._read]
        return [
            None if stat is None else (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            for stat in stats
        ]

    def __enter__(self) -> Self:
        try:
            self._lock.acquire()
        except Timeout:
            raise UserError(
                f"another run is writing '{self._output}'",
                hint="wait for it to end, or choose another --output",
            ) from None
        except (OSError, NotImplementedError):  # no locks here
            pass
        if self._states() != self._before:
            self.__exit__()
            raise UserError(
                f"another run has changed '{self._output}' in the meantime",
                hint="run this command again",
            )
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock.is_locked:
            # While it is still held: a run that opened the file just now sees that it is gone.
            # Windows cannot delete an open file; filelock does it there.
            with suppress(OSError):
                self._path.unlink()
            self._lock.release()
