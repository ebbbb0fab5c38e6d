"""Rows as files: each format can be read back, by our own readers and by others', and nothing else
is taken for one.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from captioner.outputs.base import open_output
from captioner.outputs.text_formats import ROW_FORMATS
from captioner.types import Caption, CaptionResult
from rnnkit.errors import UserError


def caption(text: str, score: float = -0.51234) -> Caption:
    return Caption(text, score, tuple(text.split()))


DOG, CAT = caption("a dog runs"), caption('a "big" cat, asleep', -1.25)
ROWS = [
    CaptionResult(Path("photos/COCO_val2014_000000000042.jpg"), (DOG,)),
    CaptionResult(Path("photos/broken.jpg"), error="damaged or cut short"),
    CaptionResult(Path("photos/straße, \U0001f415 & 犬.png"), (CAT,)),
]


def written(format: str, rows: list[CaptionResult], path: Path) -> str:
    with open_output(format, path, sys.stdout) as write:
        for row in rows:
            write(row)
    return path.read_bytes().decode("utf-8")


def test_tsv_is_a_line_for_each_photo_that_has_a_caption(tmp_path: Path) -> None:
    text = written("tsv", ROWS, tmp_path / "rows.tsv")
    assert (
        text == f'photos/COCO_val2014_000000000042.jpg\ta dog runs\n{ROWS[2].path}\ta "big" cat,'
        " asleep\n"
    )


@pytest.mark.skipif(
    os.sep != "/", reason="no path holds these there, and backslashes stand between folders"
)
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\tb.jpg", r"a\tb.jpg"),
        ("a\nb.jpg", r"a\nb.jpg"),
        ("a\rb", r"a\rb"),
        ("a\\tb.jpg", r"a\\tb.jpg"),
    ],
)
def test_a_tsv_line_has_one_tab_whatever_the_photo_is_called(
    name: str, shown: str, tmp_path: Path
) -> None:
    assert (
        written("tsv", [CaptionResult(Path(name), (DOG,))], tmp_path / "rows.tsv")
        == f"{shown}\ta dog runs\n"
    )


def test_jsonl_rows_say_whether_they_are_ok(tmp_path: Path) -> None:
    records = [
        json.loads(line) for line in written("jsonl", ROWS, tmp_path / "rows.jsonl").splitlines()
    ]
    assert records == [
        {"path": str(ROWS[0].path), "caption": "a dog runs", "score": -0.5123, "status": "ok"},
        {"path": str(ROWS[1].path), "status": "error", "error": "damaged or cut short"},
        {
            "path": str(ROWS[2].path),
            "caption": 'a "big" cat, asleep',
            "score": -1.25,
            "status": "ok",
        },
    ]


def test_csv_rows_are_read_back_as_they_were(tmp_path: Path) -> None:
    odd = CaptionResult(Path('a,"b"\n.jpg'), (DOG,))
    table = list(
        csv.DictReader(io.StringIO(written("csv", [*ROWS, odd], tmp_path / "rows.csv"), newline=""))
    )
    assert [row["path"] for row in table] == [str(row.path) for row in [*ROWS, odd]]
    assert [row["caption"] for row in table] == [
        "a dog runs",
        "",
        'a "big" cat, asleep',
        "a dog runs",
    ]
    assert [(row["status"], row["error"], row["score"]) for row in table[:2]] == [
        ("ok", "", "-0.5123"),
        ("error", "damaged or cut short", ""),
    ]


def test_coco_results_are_loaded_by_pycocotools(tmp_path: Path) -> None:
    rows = [ROWS[0], ROWS[1], CaptionResult(Path("x/000000000007.png"), (CAT,))]
    written("coco", rows, tmp_path / "results.json")
    coco = COCO()
    coco.dataset = {"images": [{"id": 42}, {"id": 7}], "annotations": [], "info": {}}
    coco.createIndex()
    loaded = coco.loadRes(str(tmp_path / "results.json"))
    assert {number: [a["caption"] for a in loaded.imgToAnns[number]] for number in (42, 7)} == {
        42: ["a dog runs"],
        7: [CAT.text],
    }


def test_coco_results_keep_a_name_that_is_not_a_number(tmp_path: Path) -> None:
    results = json.loads(written("coco", ROWS, tmp_path / "results.json"))
    assert results == [
        {"image_id": 42, "caption": "a dog runs"},
        {"image_id": ROWS[2].path.stem, "caption": CAT.text},
    ]


def test_coco_results_without_rows_are_an_empty_list(tmp_path: Path) -> None:
    assert json.loads(written("coco", [ROWS[1]], tmp_path / "results.json")) == []
    assert json.loads(written("coco", [], tmp_path / "none.json")) == []


def test_a_sidecar_lies_beside_each_photo_that_has_a_caption(tmp_path: Path) -> None:
    rows = [
        CaptionResult(tmp_path / "dog.jpg", (DOG, CAT)),
        CaptionResult(tmp_path / "bad.jpg", error="damaged"),
    ]
    with open_output("sidecar", None, sys.stdout) as write:
        for row in rows:
            write(row)
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == {
        "dog.txt": f"{DOG}\n{CAT}\n"
    }


@pytest.mark.parametrize("format", ["tsv", "csv"])
def test_several_captions_of_a_photo_are_several_lines(format: str, tmp_path: Path) -> None:
    text = written(format, [CaptionResult(Path("a.jpg"), (DOG, CAT))], tmp_path / "rows")
    lines = text.splitlines()[-2:]
    assert (
        all(line.startswith("a.jpg") for line in lines) and "dog" in lines[0] and "cat" in lines[1]
    )


def test_several_captions_of_a_photo_are_one_jsonl_row(tmp_path: Path) -> None:
    (record,) = map(
        json.loads,
        written(
            "jsonl", [CaptionResult(Path("a.jpg"), (DOG, CAT))], tmp_path / "rows"
        ).splitlines(),
    )
    assert record["caption"] == "a dog runs"
    assert record["captions"] == [
        {"caption": "a dog runs", "score": -0.5123},
        {"caption": CAT.text, "score": -1.25},
    ]


def test_coco_results_have_one_caption_a_photo(tmp_path: Path) -> None:
    assert json.loads(
        written("coco", [CaptionResult(Path("1.jpg"), (DOG, CAT))], tmp_path / "x")
    ) == [{"image_id": 1, "caption": "a dog runs"}]


@pytest.mark.parametrize("format", [*ROW_FORMATS, "sidecar"])
def test_rows_go_to_stdout_where_no_file_is_named_and_it_stays_open(
    format: str, tmp_path: Path
) -> None:
    stream = io.StringIO()
    with open_output(format, None, stream) as write:
        write(CaptionResult(tmp_path / "dog.jpg", (DOG,)))
    assert not stream.closed and ("a dog runs" in stream.getvalue()) == (format != "sidecar")


@pytest.mark.skipif(
    sys.platform in ("win32", "darwin"), reason="file names are always Unicode here"
)
@pytest.mark.parametrize("format", [*ROW_FORMATS, "sidecar"])
def test_a_file_name_that_is_not_utf_8_does_not_stop_the_rows(format: str, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    with open_output(
        format, None if format == "sidecar" else tmp_path / "rows", sys.stdout
    ) as write:
        write(CaptionResult(path, (DOG,)))
    if format == "sidecar":
        assert path.with_suffix(".txt").read_text(encoding="utf-8") == "a dog runs\n"
        return
    text = (tmp_path / "rows").read_text(encoding="utf-8")
    assert "caf\\udce9" in text and "a dog runs" in text
    if format == "jsonl":
        assert os.fsencode(json.loads(text)["path"]).endswith(b"/caf\xe9.jpg")


# --- outputs that cannot be, and runs that are cut short ------------------------------------------


FOREIGN = {
    "text": b"precious",
    "lines": b"precious\nthings\n",
    "json": b'{"precious": true}\n',
    "table": b"image,caption\na.jpg,precious\n",
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "deep": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("format", ROW_FORMATS)
@pytest.mark.parametrize("existing", ["skip", "overwrite"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_something_else_is_refused_and_left_as_it_is(
    kind: str, existing: str, format: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows"
    path.write_bytes(FOREIGN[kind])
    with (
        pytest.raises(UserError, match=r"'.*rows' (exists and is not|ends with)"),
        open_output(format, path, sys.stdout, [Path("a.jpg")], if_exists=existing),
    ):
        pytest.fail("an output was given")
    assert path.read_bytes() == FOREIGN[kind] and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("format", ROW_FORMATS)
@pytest.mark.parametrize("other", ROW_FORMATS)
def test_rows_of_another_format_are_refused(other: str, format: str, tmp_path: Path) -> None:
    if other == format:
        return
    text = written(other, ROWS, tmp_path / "rows")
    with pytest.raises(UserError, match="is not"):
        open_output(format, tmp_path / "rows", sys.stdout, [row.path for row in ROWS])
    assert (tmp_path / "rows").read_bytes().decode() == text


def test_an_output_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "such" / "folder.tsv", tmp_path):
        with (
            pytest.raises(UserError, match="cannot write to"),
            open_output("tsv", path, sys.stdout),
        ):
            pytest.fail("a writer was given")


def test_an_unknown_format_is_refused_and_the_known_ones_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match="unknown format 'xml': use tsv, jsonl, csv, coco, sidecar, metadata, parquet or webd",
    ):
        written("xml", ROWS, tmp_path / "rows.xml")
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_cut_short_leaves_whole_coco_results(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        open_output("coco", tmp_path / "rows", sys.stdout) as write,
    ):
        write(ROWS[0])
        raise KeyboardInterrupt
    assert json.loads((tmp_path / "rows").read_text(encoding="utf-8")) == [
        {"image_id": 42, "caption": "a dog runs"}
    ]


@pytest.mark.parametrize("format", ["tsv", "jsonl", "csv", "coco"])
def test_an_error_before_the_first_row_leaves_no_output_in_the_way(
    format: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError), open_output(format, tmp_path / "rows", sys.stdout):
        raise UserError("no checkpoint")
    assert not (tmp_path / "rows").exists()
