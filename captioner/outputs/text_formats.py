"""Rows written as text and read back: tsv, jsonl, csv and COCO results."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from captioner.data.annotations import image_id
from captioner.outputs.csv_layout import OURS, CsvLayout, as_it_was, defused
from captioner.types import Caption, CaptionResult

LONGEST_HEADER = 1 << 16  # bytes of a CSV file's first line
_EMPTY_CELLS = b' \t\r\n,;"'


@dataclass(frozen=True)
class Record:
    """A row read back.

    Attributes:
        key: the photo's name as the file has it.
        data: the row as the file has it.
        captions: without words, and without a score (nan) if the format keeps none; none of a
            photo whose caption was unsure.
        whole: False for the end of a file whose run was killed while it wrote.
        ended: False for a last row that lacks its line break in the file; `data` has it.
    """

    key: str
    data: bytes
    captions: tuple[Caption, ...] = ()
    error: str | None = None
    whole: bool = True
    ended: bool = True


class Format:
    """A text format: `header`, then rows with `separator` between them, then `footer`.

    Everything is bytes, so that positions in a file mean the same in every format.
    """

    name: ClassVar[str]
    header = separator = footer = b""
    several_lines = False  # does a photo with several captions take several lines?

    def as_found(self, path: Path) -> Format:
        """The format as it is in a file that another program may have saved."""
        return self

    def key(self, path: Path) -> str:
        """A photo's name as the format writes it."""
        return str(path).encode("utf-8", "backslashreplace").decode()

    def encode(self, row: CaptionResult) -> bytes:
        """A row; empty if the format has no row for it."""
        raise NotImplementedError

    def beginning(self, key: str) -> bytes:
        """The beginning of every row of a photo."""
        raise NotImplementedError

    def read(self, stream: BinaryIO) -> Iterator[Record]:
        """Rows of a file after its header; an incomplete end comes last, as a record that is not
        whole.

        Raises: ValueError, KeyError or TypeError at a whole line that is not a row.
        """
        for line in stream:
            yield self.decode(line) if line.endswith(b"\n") else self.unended(line)

    def unended(self, line: bytes) -> Record:
        """The last line of a file, without its line break.

        It is a whole row if that can be seen: other programs may leave the line break out.
        """
        return Record("", line, whole=False)

    def decode(self, data: bytes) -> Record:
        """One row from its bytes in the file."""
        raise NotImplementedError


class Tsv(Format):
    """path<TAB>caption; a line for each caption, none for a photo that failed or is unsure.

    A tab, line break or backslash in a path is written as backslash and t, n, r or backslash. On
    Windows no path can hold the first three, and backslashes stay as they are.
    """

    name = "tsv"
    several_lines = True

    def key(self, path: Path) -> str:
        name = str(path)
        if os.sep == "/":
            name = name.translate({9: "\\t", 10: "\\n", 13: "\\r", 92: "\\\\"})
        return name.encode("utf-8", "backslashreplace").decode()

    def encode(self, row: CaptionResult) -> bytes:
        return b"".join(
            self.beginning(self.key(row.path)) + caption.text.encode() + b"\n"
            for caption in row.captions
            if not row.unsure
        )

    def beginning(self, key: str) -> bytes:
        return key.encode() + b"\t"

    def decode(self, data: bytes) -> Record:
        cells = data.decode().rstrip("\r\n").split("\t")
        if len(cells) != 2:
            raise ValueError(f"a line has {len(cells) - 1} tabs, not one")
        return Record(cells[0], data, (_caption(cells[1]),))


class Jsonl(Format):
    """A JSON object on each line, which holds all captions of its photo."""

    name = "jsonl"

    def key(self, path: Path) -> str:
        return str(path)

    def encode(self, row: CaptionResult) -> bytes:
        return json_line(json_row(row)) + b"\n"

    def beginning(self, key: str) -> bytes:
        return json_line({"path": key})[:-1] + b", "

    def decode(self, data: bytes) -> Record:
        return read_json_row(json.loads(data), data)

    def unended(self, line: bytes) -> Record:
        try:
            return replace(self.decode(line + b"\n"), ended=False)
        except (ValueError, KeyError, TypeError, RecursionError):
            return super().unended(line)


class Csv(Format):
    """A header, then a line for each caption or failure.

    A file that another program has saved, or an earlier version without a confidence, is read, and
    written on, in its own layout. Cells of columns that were added there stay with their caption,
    or with the one that replaces it.

    Args:
        safe: put an apostrophe before what a spreadsheet would take for a formula.
    """

    name = "csv"
    several_lines = True

    def __init__(self, layout: CsvLayout = OURS, *, safe: bool = False) -> None:
        self.header, self._layout, self._safe = layout.header, layout, safe
        self._decimal_mark = "."
        # What was read in added columns: by photo, then by caption, "" for a failure.
        self._added: dict[str, dict[str, tuple[str, ...]]] = {}

    def as_found(self, path: Path) -> Csv:
        try:
            with path.open("rb") as stream:
                header = stream.readline(LONGEST_HEADER)
            if header != self.header and header.endswith(b"\n"):
                return Csv(CsvLayout.of(header), safe=self._safe)
        except (OSError, ValueError):  # reading the rows will say what is wrong
            pass
        return Csv(self._layout, safe=self._safe)  # which learns more from the file's rows

    def key(self, path: Path) -> str:
        name = super().key(path)
        return defused(name) if self._safe else name

    def encode(self, row: CaptionResult) -> bytes:
        key = self.key(row.path)
        guard = defused if self._safe else str
        if row.error is not None:
            lines = [("", ["", "error", guard(row.error), ""])]
        else:
            mark, status = self._decimal_mark, "unsure" if row.unsure else "ok"
            lines = [
                (
                    caption.text,
                    [_score(caption.score, mark), status, "", _score(caption.confidence, mark)],
                )
                for caption in row.captions
            ]
        added = self._added.get(key, {})
        if added and not any(text in added for text, _ in lines):
            added = {lines[0][0]: next(iter(added.values()))}  # the first replaces the first
        return b"".join(
            self._layout.join([key, guard(text), *rest], added.get(text, ()))
            for text, rest in lines
        )

    def beginning(self, key: str) -> bytes:
        return self._layout.beginning(key)

    def read(self, stream: BinaryIO) -> Iterator[Record]:
        record = b""
        for line in stream:
            record += line
            # A line break inside quotation marks is part of a cell.
            if record.count(b'"') % 2 == 0 and record.endswith(b"\n"):
                if record.strip(_EMPTY_CELLS):
                    yield self.decode(record)
                record = b""
        if record:
            yield self.unended(record)

    def unended(self, line: bytes) -> Record:
        try:
            if self._layout.is_whole(line):
                return replace(self.decode(line + self._layout.newline.encode()), ended=False)
        except ValueError:
            pass
        return super().unended(line)

    def decode(self, data: bytes) -> Record:
        (path, caption, score, status, error, sure), added = self._layout.split(data)
        if self._safe:
            path, caption = defused(as_it_was(path)), as_it_was(caption)
        if status not in ("ok", "unsure", "error"):
            raise ValueError(f"status is {status!r}, not ok, unsure or error")
        if any(added):
            self._added.setdefault(path, {})[caption] = added
        if status == "error":
            return Record(path, data, error=error)
        if "," in score:
            self._decimal_mark = ","
        if status == "unsure":
            return Record(path, data)
        confidence = _number(sure) if sure else None
        return Record(path, data, (_caption(caption, _number(score), confidence),))


class Coco(Format):
    """COCO results, an array of image_id and caption, without failed and unsure photos."""

    name = "coco"
    header, separator, footer = b"[", b",", b"\n]\n"

    def key(self, path: Path) -> str:
        return json.dumps(image_id(path))

    def encode(self, row: CaptionResult) -> bytes:
        if not row.captions or row.unsure:
            return b""
        return b"\n" + json_line({"image_id": image_id(row.path), "caption": row.captions[0].text})

    def beginning(self, key: str) -> bytes:
        return b"\n" + json_line({"image_id": json.loads(key)})[:-1] + b", "

    def read(self, stream: BinaryIO) -> Iterator[Record]:
        data = stream.read()
        try:
            results = json.loads(b"[" + data)
        except ValueError:
            results = None
        if results is not None:  # whole, whoever wrote it
            for result in results:
                yield self._record(result, b"\n" + json_line(result))
            return
        place = 0
        for line in re.finditer(rb",?(\n\{.*\})(?=,?\n)", data):
            if line.start() != place:
                break
            yield self._record(json.loads(line[1]), line[1])
            place = line.end()
        if place < len(data):
            yield Record("", data[place:], whole=False)

    def _record(self, result: dict[str, Any], data: bytes) -> Record:
        return Record(json.dumps(result["image_id"]), data, (_caption(result["caption"]),))


ROW_FORMATS: dict[str, Format] = {format.name: format for format in (Tsv(), Jsonl(), Csv(), Coco())}
SAFE_CSV = Csv(safe=True)


def json_row(row: CaptionResult) -> dict[str, object]:
    """A row as the JSON object of a jsonl line."""
    record: dict[str, object] = {"path": str(row.path)}
    if row.error is not None:
        return record | {"status": "error", "error": row.error}
    record |= _json_caption(row.captions[0])
    record["status"] = "unsure" if row.unsure else "ok"
    if len(row.captions) > 1:
        record["captions"] = [_json_caption(caption) for caption in row.captions]
    return record


def _json_caption(caption: Caption) -> dict[str, object]:
    record: dict[str, object] = {"caption": caption.text}
    if not math.isnan(caption.score):  # a caption that a person wrote has none
        record["score"] = round(caption.score, 4)
    if caption.confidence is not None:
        record["confidence"] = round(caption.confidence, 4)
    if caption.word_confidence is not None:
        record["word_confidence"] = [
            None if sure is None else round(sure, 4) for sure in caption.word_confidence
        ]
    return record


def read_json_row(record: dict[str, Any], data: bytes = b"") -> Record:
    """What `json_row` made, read back.

    Raises: ValueError, KeyError or TypeError if it is anything else.
    """
    if not isinstance(record, dict) or not isinstance(record["path"], str):
        raise TypeError("not a row with a path")
    if record["status"] == "error":
        return Record(record["path"], data, error=str(record["error"]))
    if record["status"] == "unsure":
        return Record(record["path"], data)
    best, *others = record.get("captions") or [record]
    captions = [record | best, *others]  # parquet's list has less about the best than its row
    return Record(record["path"], data, tuple(map(_read_json_caption, captions)))


def _read_json_caption(record: dict[str, Any]) -> Caption:
    words = record.get("word_confidence")
    return _caption(
        record["caption"],
        record.get("score", math.nan),
        record.get("confidence"),
        None if words is None else tuple(None if sure is None else float(sure) for sure in words),
    )


def _caption(
    text: str,
    score: float | str = math.nan,
    confidence: float | str | None = None,
    words: tuple[float | None, ...] | None = None,
) -> Caption:
    if not isinstance(text, str):
        raise ValueError(f"a caption must be text, not {text!r}")
    sure = None if confidence is None else float(confidence)
    return Caption(text, float(score), (), word_confidence=words, confidence=sure)


def json_line(value: dict[str, Any]) -> bytes:
    """JSON as rows have it, without the line's end."""
    # A file name that is not UTF-8 holds lone surrogates; backslashreplace writes them as JSON
    # does.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _score(score: float | None, decimal_mark: str) -> str:
    missing = score is None or score != score
    return "" if missing else f"{score:.4f}".replace(".", decimal_mark)


def _number(score: str) -> float:
    """A score as `_score` writes it."""
    try:
        return float(score.replace(",", ".") or "nan")
    except ValueError:
        raise ValueError(f"score is {score!r}, not a number") from None
