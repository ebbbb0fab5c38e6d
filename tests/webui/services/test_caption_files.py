"""Captions as files: what each format says about an edit, an empty caption and a bad photo."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

from captioner.outputs.text_formats import SAFE_CSV
from webui.services.caption_files import DOWNLOADS, CaptionRow

ROWS = [
    CaptionRow("a/dog.jpg", 'a "dog", running', -0.41234, 0.75),
    CaptionRow("b.jpg", "", error="Damaged."),
    CaptionRow("c.jpg", "mine", edited=True),
    CaptionRow("d.jpg", " ", edited=True),
]


def written(kind: str, rows: list[CaptionRow] = ROWS) -> str:
    return DOWNLOADS[kind].make(rows).decode()


def test_an_edited_row_says_so_and_has_no_score_and_an_empty_one_is_marked() -> None:
    assert written("csv") == (
        "path,caption,score,status,error,confidence,edited\n"
        'a/dog.jpg,"a ""dog"", running",-0.4123,ok,,0.7500,\n'
        "b.jpg,,,error,Damaged.,,\n"
        "c.jpg,mine,,ok,,,true\n"
        "d.jpg,,,error,The caption is empty.,,true\n"
    )
    assert [json.loads(line) for line in written("jsonl").splitlines()] == [
        {
            "path": "a/dog.jpg",
            "caption": 'a "dog", running',
            "score": -0.4123,
            "confidence": 0.75,
            "status": "ok",
        },
        {"path": "b.jpg", "status": "error", "error": "Damaged."},
        {"path": "c.jpg", "caption": "mine", "status": "ok", "edited": True},
        {"path": "d.jpg", "status": "error", "error": "The caption is empty.", "edited": True},
    ]


def test_files_for_training_hold_only_captions_to_train_on() -> None:
    assert [json.loads(line) for line in written("metadata").splitlines()] == [
        {"file_name": "a/dog.jpg", "text": 'a "dog", running'},
        {"file_name": "c.jpg", "text": "mine"},
    ]
    assert [row["image_id"] for row in json.loads(written("coco"))] == ["dog", "c"]
    with zipfile.ZipFile(io.BytesIO(DOWNLOADS["sidecars"].make(ROWS))) as archive:
        assert archive.namelist() == ["a/dog.txt", "c.txt"]
        assert archive.read("c.txt") == b"mine\n"


def test_photos_that_differ_in_their_ending_only_have_a_sidecar_each() -> None:
    rows = [CaptionRow(f"dog.{ending}", "a dog") for ending in ("jpg", "png", "gif")]
    with zipfile.ZipFile(io.BytesIO(DOWNLOADS["sidecars"].make(rows))) as archive:
        assert archive.namelist() == ["dog.txt", "dog (2).txt", "dog (3).txt"]


def test_the_table_to_download_has_no_formulas() -> None:
    rows = [
        CaptionRow("=1.jpg", "+a dog", edited=True),
        CaptionRow("a.jpg", "a cat", -0.5),
        CaptionRow("@b.jpg", "", error="-damaged"),
    ]
    assert written("csv", rows).splitlines()[1:] == [
        "'=1.jpg,'+a dog,,ok,,,true",
        "a.jpg,a cat,-0.5000,ok,,,",
        "'@b.jpg,,,error,'-damaged,,",
    ]


def test_a_run_of_the_command_can_continue_the_table_that_was_downloaded(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_bytes(DOWNLOADS["csv"].make(ROWS))
    with path.open("rb") as stream:
        layout = SAFE_CSV.as_found(path)
        stream.readline()
        records = list(layout.read(stream))
    assert [[caption.text for caption in record.captions] for record in records] == [
        ['a "dog", running'],
        [],
        ["mine"],
        [],
    ]
    assert [record.error for record in records] == [None, "Damaged.", None, "The caption is empty."]
