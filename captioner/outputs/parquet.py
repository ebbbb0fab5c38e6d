"""Parquet files of rows, which grow beside the output as jsonl. Needs the extra `parquet`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from captioner.outputs.resumable_file import ResumableFile, read_rows
from captioner.outputs.text_formats import Format, Jsonl, Record, json_row, read_json_row
from captioner.types import CaptionResult
from rnnkit.errors import UserError

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    raise UserError('parquet needs pyarrow: pip install "show-and-spell[parquet]"') from None

ROWS_AT_ONCE = 10_000
_CAPTION = pyarrow.struct([("caption", pyarrow.string()), ("score", pyarrow.float64())])
# The columns are the fields of a jsonl row, without the words' confidence; those that a row does
# not have are null.
SCHEMA = pyarrow.schema(
    [
        ("path", pyarrow.string()),
        ("caption", pyarrow.string()),
        ("score", pyarrow.float64()),
        ("status", pyarrow.string()),
        ("error", pyarrow.string()),
        ("captions", pyarrow.list_(_CAPTION)),
        ("confidence", pyarrow.float64()),
    ]
)


class Journal(Jsonl):
    """The growing rows: jsonl with names in UTF-8, the only text that parquet can hold."""

    def key(self, path: Path) -> str:
        return Format.key(self, path)

    def encode(self, row: CaptionResult) -> bytes:
        return (
            json.dumps(json_row(row) | {"path": self.key(row.path)}, ensure_ascii=False).encode()
            + b"\n"
        )


JOURNAL = Journal()


class ParquetForm:
    """A parquet file that is made at the end of a run from rows that grew beside it."""

    def read(self, path: Path) -> Iterator[Record]:
        """See `read_parquet`."""
        return read_parquet(path)

    def write(self, path: Path, growing: Path) -> None:
        """Turn the journal into a parquet file."""
        records = read_rows(growing, JOURNAL, frozenset())
        write_parquet(path, (json.loads(record.data) for record in records))


def open_parquet(
    output: Path | None, photos: Sequence[Path], if_exists: str, *, made_by: str = ""
) -> ResumableFile:
    """A parquet file as an output; see `ResumableFile`.

    Raises: UserError as that does, or if no file is given.
    """
    if output is None:
        raise UserError("a parquet file cannot go to standard output: give --output FILE")
    return ResumableFile(
        output, JOURNAL, photos, if_exists, made_by=made_by, published=ParquetForm()
    )


def write_parquet(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Write rows made by `captioner.outputs.text_formats.json_row`, a few thousand at a time."""
    with pyarrow.parquet.ParquetWriter(path, SCHEMA) as writer:
        while chunk := list(islice(rows, ROWS_AT_ONCE)):
            writer.write_table(pyarrow.Table.from_pylist(chunk, SCHEMA))


def read_parquet(path: Path) -> Iterator[Record]:
    """The rows of a file, as records of jsonl.

    Raises: UserError if it is not a parquet file of captions.
    """
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=SCHEMA.names):
                for row in batch.to_pylist():
                    whole = {name: value for name, value in row.items() if value is not None}
                    yield read_json_row(
                        whole, json.dumps(whole, ensure_ascii=False).encode() + b"\n"
                    )
    except (pyarrow.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"'{path}' exists and is not a parquet file of captions ({reason}): choose another"
            " --output"
        ) from None
