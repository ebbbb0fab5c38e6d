"""A file of photos' features and names, as safetensors or npy, that grows by batches and appears as
a whole or not at all.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from captioner.outputs.resumable_file import check_writable
from rnnkit.errors import UserError
from rnnkit.files import replace_file, write_file

SUFFIXES = (".safetensors", ".npy")
LARGEST_HEADER = 100_000_000  # bytes that readers of safetensors accept


def check_feature_file(path: Path) -> None:
    """Raises: UserError for another kind of file, or one that cannot be written."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"--output '{path}' must end in {' or '.join(SUFFIXES)}")
    check_writable(path)


def names_file(path: Path) -> Path:
    """Where the names of a .npy file's photos are."""
    return path.with_suffix(".names.json")


@contextmanager
def open_feature_file(path: Path, names: Sequence[str], encoder: str) -> Iterator[FeatureFile]:
    """A file to add features to; what the block has added is in `path` when it ends without error.

    Args:
        path: NAME.safetensors or NAME.npy.
        names: of all photos that may be added.
        encoder: what computes the features.

    Raises: UserError if nothing was added, or if there are too many names for safetensors; OSError
        naming the file.
    """
    form: _Form = _Safetensors(encoder) if path.suffix == ".safetensors" else _Npy()
    with replace_file(path) as temporary, temporary.open("wb") as file:
        features = FeatureFile(file, form, names)
        yield features
        features.finish()
        if path.suffix == ".npy":
            about = {"encoder": encoder, "names": features.names}
            write_file(names_file(path), (json.dumps(about, indent=1) + "\n").encode())


class FeatureFile:
    """See `open_feature_file`. A gap in front of the numbers is kept for the header, which can only
    be written when the photos that cannot be read are known.
    """

    def __init__(self, file: BinaryIO, form: _Form, names: Sequence[str]) -> None:
        self.names: list[str] = []
        self._file, self._form, self._all = file, form, names
        self._row, self._reserved = np.empty(0, np.float32), 0

    def add(self, names: Sequence[str], rows: np.ndarray) -> None:
        """Add photos' features (B, ...), all of one shape and type."""
        if not self.names:
            self._row = rows[0]
            self._reserved = len(self._form.header(self._all, self._row, 0))
            self._file.write(bytes(self._reserved))
        self._file.write(np.ascontiguousarray(rows).tobytes())
        self.names += names

    def finish(self) -> None:
        """Write the header. Raises: UserError if nothing was added."""
        if not self.names:
            raise UserError("none of the photos can be read, so there are no features to write")
        self._file.seek(0)
        self._file.write(self._form.header(self.names, self._row, self._reserved))


class _Form(Protocol):
    """What stands in front of the numbers."""

    def header(self, names: Sequence[str], row: np.ndarray, length: int) -> bytes:
        """The header of len(names) such rows, at least `length` bytes long."""


class _Safetensors:
    def __init__(self, encoder: str) -> None:
        self.encoder = encoder

    def header(self, names: Sequence[str], row: np.ndarray, length: int) -> bytes:
        tensor = {
            "dtype": {2: "F16", 4: "F32"}[row.itemsize],
            "shape": [len(names), *row.shape],
            "data_offsets": [0, len(names) * row.nbytes],
        }
        about = {"encoder": self.encoder, "names": json.dumps(list(names))}
        text = json.dumps({"__metadata__": about, "features": tensor}).encode()
        size = max(length - 8, len(text) + -len(text) % 8)
        if size > LARGEST_HEADER:
            raise UserError(
                f"the names of {len(names):,} photos do not fit into a safetensors file",
                hint="write a .npy file, or several",
            )
        return size.to_bytes(8, "little") + text.ljust(size)


class _Npy:
    def header(self, names: Sequence[str], row: np.ndarray, length: int) -> bytes:
        # numpy leaves room for the number of rows to grow, so the length is always the same.
        buffer = io.BytesIO()
        about = {"descr": row.dtype.str, "fortran_order": False, "shape": (len(names), *row.shape)}
        np.lib.format.write_array_header_1_0(buffer, about)
        return buffer.getvalue()
