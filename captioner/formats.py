"""How rows are written: tsv, jsonl, csv, COCO results, or a text file beside each photo."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from captioner.datasets import image_id
from captioner.folder import Row
from rnnkit.errors import UserError

Writer = Callable[[Row], None]


def _tsv(stream: TextIO) -> Iterator[Writer]:
    def write(row: Row) -> None:
        if row.error is None:
            # A tab or line break in a file's name would break the line.
            name = str(row.path).translate({9: " ", 10: " ", 13: " "})
            stream.writelines(f"{name}\t{caption.text}\n" for caption in row.captions)

    yield write


def _jsonl(stream: TextIO) -> Iterator[Writer]:
    def write(row: Row) -> None:
        record: dict[str, object] = {"path": str(row.path)}
        if row.error is not None:
            record |= {"status": "error", "error": row.error}
        else:
            best = row.captions[0]
            record |= {"caption": best.text, "score": round(best.score, 4), "status": "ok"}
            if len(row.captions) > 1:
                record["captions"] = [{"caption": caption.text, "score": round(caption.score, 4)} for caption in row.captions]
        stream.write(json.dumps(record, ensure_ascii=False) + "\n")

    yield write


def _csv(stream: TextIO) -> Iterator[Writer]:
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(("path", "caption", "score", "status", "error"))

    def write(row: Row) -> None:
        if row.error is not None:
            table.writerow((row.path, "", "", "error", row.error))
        for caption in row.captions:
            table.writerow((row.path, caption.text, f"{caption.score:.4f}", "ok", ""))

    yield write


def _coco(stream: TextIO) -> Iterator[Writer]:
    separator = "["

    def write(row: Row) -> None:
        nonlocal separator
        if row.error is None:
            result = {"image_id": image_id(row.path), "caption": row.captions[0].text}
            stream.write(f"{separator}\n{json.dumps(result, ensure_ascii=False)}")
            separator = ","

    try:
        yield write
    finally:  # a run that is cut short leaves whole JSON too
        stream.write("[]\n" if separator == "[" else "\n]\n")


def _sidecar(stream: TextIO) -> Iterator[Writer]:
    def write(row: Row) -> None:
        if row.error is None:
            target = row.path.with_suffix(".txt")
            part = target.with_name(f".{target.name}.part")
            part.write_text("".join(f"{caption.text}\n" for caption in row.captions), encoding="utf-8")
            part.replace(target)

    yield write


FORMATS: dict[str, Callable[[TextIO], Iterator[Writer]]] = {"tsv": _tsv, "jsonl": _jsonl, "csv": _csv, "coco": _coco, "sidecar": _sidecar}


def check_sidecars(photos: Sequence[Path]) -> None:
    """See that no sidecar would be written over, and no two photos want the same.

    Raises: UserError naming the first such file.
    """
    wanted: dict[Path, Path] = {}
    for photo in photos:
        sidecar = photo.with_suffix(".txt")
        if sidecar in wanted:
            raise UserError(
                f"'{wanted[sidecar]}' and '{photo}' would both be described in '{sidecar}': rename one, or use another --format"
            )
        if sidecar.exists():
            raise UserError(f"'{sidecar}' exists and would be written over: remove it, or use another --format")
        wanted[sidecar] = photo


@contextmanager
def open_writer(format: str, output: Path | None, stdout: TextIO) -> Iterator[Writer]:
    """A function that writes rows in a format, to a file or to stdout.

    A file name that is not UTF-8 is written with backslashes, which in JSON stand for just that name. An output to
    which no row was written because of an error is removed, so that it is not in the way of another try.

    Raises: UserError for an unknown format, an output that exists or cannot be made; before any photo is opened.
    """
    if format not in FORMATS:
        raise UserError(f"unknown format '{format}': use {', '.join(FORMATS)}")
    if output is None or format == "sidecar":
        if isinstance(stdout, TextIOWrapper):
            stdout.reconfigure(errors="backslashreplace")
        yield from FORMATS[format](stdout)
        return
    try:
        stream = output.open("x", encoding="utf-8", errors="backslashreplace", newline="")
    except FileExistsError:
        raise UserError(f"'{output}' exists: remove it or choose another --output") from None
    except OSError as error:
        raise UserError(f"cannot write to '{output}' ({error.strerror})") from None
    rows = 0
    try:
        with stream, contextmanager(FORMATS[format])(stream) as write:

            def count(row: Row) -> None:
                nonlocal rows
                write(row)
                rows += 1

            yield count
    except BaseException:
        if not rows:
            output.unlink(missing_ok=True)
        raise
