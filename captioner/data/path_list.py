"""A list of paths that takes little memory, however many photos there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import overload


class PathList(Sequence[Path]):
    """Paths kept as plain text, which takes a fifth of the memory; and what could not be looked
    into for them, with the reason.
    """

    def __init__(self, names: Iterable[str], unread: Mapping[str, str] | None = None) -> None:
        self.names = list(names)
        self.unread = dict(unread or {})

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> PathList: ...

    def __getitem__(self, index: int | slice) -> Path | PathList:
        return PathList(self.names[index]) if isinstance(index, slice) else Path(self.names[index])

    def __len__(self) -> int:
        return len(self.names)
