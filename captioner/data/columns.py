"""What columns of images and captions are called, in CSV, jsonl and tsv; and how CSV is read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

IMAGE_IDS = ("image_id", "id", "cocoid")
IMAGE_FILES = ("path", "file", "file_name", "filename", "image", "image_name", "photo")
CAPTIONS = ("caption", "text", "prediction", "comment")
STATUS = "status"
# What we write; the names are among those that we read.
ROW_COLUMNS = ("path", "caption", "score", STATUS, "error", "confidence")
FORMER_ROW_COLUMNS = ROW_COLUMNS[:-1]


@dataclass(frozen=True)
class CsvRow:
    """A row of a CSV file; a cell that it does not have is None."""

    line: int
    image: str | None
    caption: str | None
    status: str


def column(header: Sequence[str], names: Sequence[str]) -> int | None:
    """Where a header has one of the names, the first of them that it has; None if it has none."""
    cells = [cell.strip().strip('"').lower() for cell in header]
    return next((cells.index(name) for name in names if name in cells), None)


def read_csv(text: str, image_names: Sequence[str]) -> Iterator[CsvRow]:
    """Rows of a CSV file whose first line names its columns; blank lines are left out.

    Columns are separated by commas, semicolons (spreadsheets where numbers have decimal commas) or
    bars (Flickr30k), whichever the first line has most of. A caption with commas and without
    quotation marks is whole if it is the last column.

    Args:
        image_names: what the image's column may be called.

    Raises: ValueError if the first line does not name the columns of image and caption; csv.Error.
    """
    first = text.partition("\n")[0]
    mark = max(",;|", key=first.count)
    # With bars, quotation marks are part of the text; otherwise they enclose captions that hold the
    # mark.
    quotes: dict[str, Any] = {"quoting": csv.QUOTE_NONE} if mark == "|" else {}
    rows = csv.reader(io.StringIO(text), delimiter=mark, **quotes)
    header = next(rows, [])
    image, caption = column(header, image_names), column(header, CAPTIONS)
    status = column(header, (STATUS,))
    if image is None or caption is None:
        raise ValueError(f"the first line must name the columns image and caption, not {first!r}")

    def cell(row: list[str], index: int | None) -> str | None:
        return row[index] if index is not None and index < len(row) else None

    for row in rows:
        if len(row) > len(header) == caption + 1:
            row = [*row[:caption], mark.join(row[caption:])]
        if row:
            state = cell(row, status) or ""
            yield CsvRow(rows.line_num, cell(row, image), cell(row, caption), state)
