"""Captions as files to download, in the formats of `captioner caption`."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from captioner import Caption
from captioner.outputs.text_formats import ROW_FORMATS, SAFE_CSV
from captioner.types import CaptionResult
from webui.uploads import new_folder

Row = Sequence[str]  # name, caption, and why there is none


def write_all(rows: Sequence[Row], scores: Mapping[str, float]) -> list[str]:
    """Write captions.csv, captions.jsonl and captions.zip, and return their paths.

    Args:
        scores: by name; captions without one are written without a score.
    """
    folder = new_folder()
    return [
        write_rows(rows, scores, "csv", folder),
        write_rows(rows, scores, "jsonl", folder),
        write_sidecars(rows, folder),
    ]


def write_rows(
    rows: Sequence[Row], scores: Mapping[str, float], format_name: str, folder: Path
) -> str:
    """Write a file in one of the captioner's formats, csv or jsonl, and return its path."""
    # Visitors name the files, and the table is for spreadsheets.
    row_format = SAFE_CSV if format_name == "csv" else ROW_FORMATS[format_name]
    path = folder / f"captions.{format_name}"
    results = (_result(row, scores) for row in rows)
    path.write_bytes(row_format.header + b"".join(map(row_format.encode, results)))
    return str(path)


def write_sidecars(rows: Sequence[Row], folder: Path) -> str:
    """Write captions.zip, which holds a .txt for each caption, and return its path."""
    path = folder / "captions.zip"
    taken: dict[str, int] = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, caption, error in rows:
            if not error:
                archive.writestr(_sidecar(name, taken), caption + "\n")
    return str(path)


def numbered(name: str, taken: dict[str, int]) -> str:
    """The name, or the first of "name (2)", "name (3)", ... that is free; it is then taken.

    Args:
        taken: for each name the number it has reached, so that numbering a thousand equal names
            does not start from 2 a thousand times.
    """
    suffix = PurePosixPath(name).suffix
    free = name
    while free in taken:
        taken[name] += 1
        free = f"{name.removesuffix(suffix)} ({taken[name]}){suffix}"
    taken[free] = 1
    return free


def _result(row: Row, scores: Mapping[str, float]) -> CaptionResult:
    name, caption, error = row
    if error:
        return CaptionResult(Path(name), error=error)
    return CaptionResult(Path(name), (Caption(caption, scores.get(name, math.nan), ()),))


def _sidecar(name: str, taken: dict[str, int]) -> str:
    """The name of a photo's .txt in the ZIP: inside it, and unlike the others."""
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in path.parts if part not in ("/", "..", ".")] or ["photo"]
    return numbered(str(PurePosixPath(*parts).with_suffix(".txt")), taken)
