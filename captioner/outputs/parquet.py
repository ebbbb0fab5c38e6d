"""A parquet file of rows, for which the extra `parquet` is needed: they grow beside it as jsonl and
are turned into it at the end.
"""

from __future__ import annotations

import json
import shutil
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
# The columns are the fields of a jsonl row; those that a row lacks are null.
SCHEMA = pyarrow.schema(
    [
        ("path", pyarrow.string()),
        ("caption", pyarrow.string()),
        ("score", pyarrow.float64()),
        ("status", pyarrow.string()),
        ("error", pyarrow.string()),
        ("captions", pyarrow.list_(_CAPTION)),
    ]
)


class Journal(Jsonl):
    """jsonl with names as parquet can hold them: text that is UTF-8."""

    def key(self, path: Path) -> str:
        return Format.key(self, path)

    def encode(self, row: CaptionResult) -> bytes:
        return (
            json.dumps(json_row(row) | {"path": self.key(row.path)}, ensure_ascii=False).encode()
            + b"\n"
        )


JOURNAL = Journal()


class ParquetFile(ResumableFile):
    """See `ResumableFile`. A parquet file cannot grow, so the new one is always made from a .part, and
    that is jsonl.
    """

    grows_aside = True

    def __init__(
        self, output: Path | None, photos: Sequence[Path], existing: str, *, made_by: str = ""
    ) -> None:
        if output is None:
            raise UserError("a parquet file cannot go to stdout: give --output FILE")
        super().__init__(output, JOURNAL, photos, existing, made_by=made_by)

    def _rows_of_output(self) -> Iterator[Record]:
        return read_parquet(self.output)

    def _publish(self) -> None:
        temporary = self.output.with_name(f".{self.output.name}.new")
        try:
            write_parquet(
                temporary,
                (
                    json.loads(record.data)
                    for record in read_rows(self._working, self.format, set())
                ),
            )
            if self.output.exists():
                shutil.copymode(self.output, temporary)
            temporary.replace(self.output)
            self._working.unlink()
        except OSError as error:
            error.filename = error.filename or str(self.output)  # pyarrow does not say which file
            raise
        finally:
            temporary.unlink(missing_ok=True)


def write_parquet(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Write rows as `captioner.outputs.text_formats.json_row` makes them, some thousands at a time."""
    with pyarrow.parquet.ParquetWriter(path, SCHEMA) as writer:
        while some := list(islice(rows, ROWS_AT_ONCE)):
            writer.write_table(pyarrow.Table.from_pylist(some, SCHEMA))


def read_parquet(path: Path) -> Iterator[Record]:
    """The rows of a file, as records of jsonl.

    Raises: UserError if it is no parquet file of captions.
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
            f"'{path}' exists and is no parquet file of captions ({reason}): choose another"
            " --output"
        ) from None
