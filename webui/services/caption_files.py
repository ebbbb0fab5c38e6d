"""Captions as files to download, in the formats of `captioner caption`."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from captioner import Caption
from captioner.outputs.image_folders import NAME as METADATA
from captioner.outputs.text_formats import ROW_FORMATS, SAFE_CSV, json_line, json_row
from captioner.types import CaptionResult

EMPTY = "The caption is empty."


@dataclass(frozen=True)
class CaptionRow:
    """A photo and its caption, as files show them.

    Attributes:
        score, confidence: the model's, of a caption that nobody changed.
        error: why there is no caption.
        edited: a person changed the caption.
    """

    name: str
    caption: str
    score: float = math.nan
    confidence: float | None = None
    error: str = ""
    edited: bool = False

    @property
    def usable(self) -> bool:
        """Whether there is a caption to train on."""
        return not self.error and bool(self.caption.strip())

    def result(self) -> CaptionResult:
        """The row for the captioner's own formats; an empty caption is an error there."""
        if not self.usable:
            return CaptionResult(Path(self.name), error=self.error or EMPTY)
        caption = Caption(self.caption, self.score, (), confidence=self.confidence)
        return CaptionResult(Path(self.name), (caption,))


Rows = Sequence[CaptionRow]


def csv_file(rows: Rows) -> bytes:
    """CSV without formulas, because visitors name the files and the table is for spreadsheets."""
    return SAFE_CSV.header + b"".join(SAFE_CSV.encode(row.result()) for row in rows)


def edited_csv_file(rows: Rows) -> bytes:
    """The same with a further column, which says what a person changed."""
    lines = [SAFE_CSV.header[:-1] + b",edited\n"]
    for row in rows:
        line = SAFE_CSV.encode(row.result())
        lines.append(line[:-1] + (b",true\n" if row.edited else b",\n"))
    return b"".join(lines)


def jsonl_file(rows: Rows) -> bytes:
    """A JSON object for each photo; `edited` stands where a person changed the caption."""
    return _lines(json_row(row.result()) | ({"edited": True} if row.edited else {}) for row in rows)


def metadata_file(rows: Rows) -> bytes:
    """`metadata.jsonl` as Hugging Face's imagefolder reads it, for the folder of the photos."""
    return _lines({"file_name": row.name, "text": row.caption} for row in rows if row.usable)


def coco_file(rows: Rows) -> bytes:
    """COCO results: an array of image_id and caption."""
    coco = ROW_FORMATS["coco"]
    body = coco.separator.join(coco.encode(row.result()) for row in rows if row.usable)
    return coco.header + body + coco.footer


def sidecar_zip(rows: Rows) -> bytes:
    """A ZIP that holds a .txt for each caption; none for one that is empty."""
    file, taken = io.BytesIO(), dict[str, int]()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for row in rows:
            if row.usable:
                archive.writestr(_sidecar(row.name, taken), row.caption + "\n")
    return file.getvalue()


@dataclass(frozen=True)
class Download:
    """A kind of file, its name and what makes it."""

    file_name: str
    make: Callable[[Rows], bytes]


DOWNLOADS = {
    "csv": Download("captions.csv", edited_csv_file),
    "jsonl": Download("captions.jsonl", jsonl_file),
    "sidecars": Download("captions.zip", sidecar_zip),
    "metadata": Download(METADATA, metadata_file),
    "coco": Download("captions.json", coco_file),
}


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


def _lines(records: Iterable[dict[str, object]]) -> bytes:
    return b"".join(json_line(record) + b"\n" for record in records)


def _sidecar(name: str, taken: dict[str, int]) -> str:
    """The name of a photo's .txt in the ZIP: inside it, and unlike the others."""
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in path.parts if part not in ("/", "..", ".")] or ["photo"]
    return numbered(str(PurePosixPath(*parts).with_suffix(".txt")), taken)
