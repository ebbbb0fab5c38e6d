"""How sure captions are, in rows: written, read back, and left out below a threshold."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from captioner.outputs.base import open_output
from captioner.outputs.text_formats import ROW_FORMATS
from captioner.types import Caption, CaptionResult

SURE = Caption("a dog", -0.5, ("a", "dog"), word_confidence=(None, 0.91237), confidence=0.91237)
ROWS = [
    CaptionResult(Path("dog.jpg"), (SURE,)),
    CaptionResult(Path("cat.jpg"), (Caption("a cat", -1.5, (), confidence=0.2),), unsure=True),
]
FORMER_CSV = "path,caption,score,status,error\nold.jpg,a car,-0.7000,ok,\n"


def write(
    format: str, output: Path, rows: list[CaptionResult], *, existing: str = "skip", more: str = ""
) -> list[str]:
    """The photos that were still to be captioned."""
    by_path = {row.path: row for row in rows}
    photos = [*by_path, *([Path(more)] if more else [])]
    with open_output(format, output, sys.stdout, photos, if_exists=existing) as sink:
        asked = [photo for photo in sink.photos if isinstance(photo, Path)]
        for photo in asked:
            sink(by_path[photo])
    return [str(photo) for photo in asked]


def test_jsonl_rows_say_how_sure_the_caption_and_its_words_are(tmp_path: Path) -> None:
    write("jsonl", tmp_path / "rows", ROWS)
    lines = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    assert lines[0] == {
        "path": "dog.jpg", "caption": "a dog", "score": -0.5, "confidence": 0.9124,
        "word_confidence": [None, 0.9124], "status": "ok",
    }  # fmt: skip
    assert lines[1]["status"] == "unsure" and lines[1]["caption"] == "a cat"
    (sure, unsure) = ROW_FORMATS["jsonl"].read((tmp_path / "rows").open("rb"))
    assert sure.captions[0].confidence == 0.9124
    assert sure.captions[0].word_confidence == (None, 0.9124)
    assert unsure.captions == () and unsure.error is None


def test_csv_rows_have_the_confidence_in_the_last_column(tmp_path: Path) -> None:
    write("csv", tmp_path / "rows", ROWS)
    rows = list(csv.DictReader((tmp_path / "rows").read_text().splitlines()))
    assert list(rows[0]) == ["path", "caption", "score", "status", "error", "confidence"]
    assert [(row["status"], row["confidence"]) for row in rows] == [
        ("ok", "0.9124"),
        ("unsure", "0.2000"),
    ]


@pytest.mark.parametrize("format", ["tsv", "coco"])
def test_formats_without_a_status_leave_unsure_captions_out(format: str, tmp_path: Path) -> None:
    write(format, tmp_path / "rows", ROWS)
    text = (tmp_path / "rows").read_text()
    assert "a dog" in text and "cat" not in text


def test_an_unsure_photo_gets_no_sidecar(tmp_path: Path) -> None:
    rows = [CaptionResult(tmp_path / row.path, row.captions, unsure=row.unsure) for row in ROWS]
    with open_output("sidecar", None, sys.stdout, [row.path for row in rows]) as sink:
        for row in rows:
            sink(row)
    assert [path.name for path in tmp_path.iterdir()] == ["dog.txt"]


@pytest.mark.parametrize("existing", ["skip", "append", "overwrite"])
def test_a_csv_file_of_before_there_was_confidence_is_continued_with_its_own_columns(
    existing: str, tmp_path: Path
) -> None:
    output = tmp_path / "rows.csv"
    output.write_text(FORMER_CSV, encoding="utf-8")
    assert write("csv", output, ROWS[:1], existing=existing) == ["dog.jpg"]
    assert output.read_text() == FORMER_CSV + "dog.jpg,a dog,-0.5000,ok,\n"
    assert write("csv", output, [], more="old.jpg") == []


def test_rows_of_before_there_was_confidence_count_as_done(tmp_path: Path) -> None:
    output = tmp_path / "rows.jsonl"
    output.write_text('{"path": "old.jpg", "caption": "a car", "score": -0.7, "status": "ok"}\n')
    assert write("jsonl", output, ROWS, more="old.jpg") == ["dog.jpg", "cat.jpg"]
    # Rows with it, and unsure ones, are done too.
    assert write("jsonl", output, ROWS, more="old.jpg") == []


def test_an_unsure_caption_is_not_added_to_those_that_a_photo_has(tmp_path: Path) -> None:
    output = tmp_path / "rows.jsonl"
    output.write_text('{"path": "cat.jpg", "caption": "my cat", "score": -0.7, "status": "ok"}\n')
    write("jsonl", output, ROWS[1:], existing="append")
    (row,) = (json.loads(line) for line in output.read_text().splitlines())
    assert row["caption"] == "my cat" and row["status"] == "ok" and "captions" not in row


def test_parquet_rows_have_the_confidence_and_older_files_are_continued(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow, the parquet extra, is not installed")
    from pyarrow.parquet import read_table, write_table

    output = tmp_path / "rows.parquet"
    former = {"path": "old.jpg", "caption": "a car", "score": -0.7, "status": "ok"}
    names = ["path", "caption", "score", "status", "error"]
    kinds = [pyarrow.float64() if name == "score" else pyarrow.string() for name in names]
    listed = pyarrow.list_(
        pyarrow.struct([("caption", pyarrow.string()), ("score", pyarrow.float64())])
    )
    schema = pyarrow.schema([*zip(names, kinds, strict=True), ("captions", listed)])
    write_table(pyarrow.Table.from_pylist([former], schema), output)
    assert write("parquet", output, ROWS, more="old.jpg") == ["dog.jpg", "cat.jpg"]
    rows = read_table(output).to_pylist()
    assert [row["confidence"] for row in rows] == [None, 0.9124, 0.2]
    assert [row["status"] for row in rows] == ["ok", "ok", "unsure"]
