"""Captions that are there already, edited: what changes is said, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def edit(captioner_command: Run) -> Run:
    return lambda *arguments: captioner_command("edit", *arguments)


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def test_sidecars_change_where_the_edit_says_so_and_keep_every_other_byte(
    edit: Run, tmp_path: Path
) -> None:
    for name in ("a.jpg", "b.jpg", "deep/c.png"):
        photo(tmp_path / name)
    odd = b"\xef\xbb\xbfa man sits\r\n\r\na woman \xff stands\na man sits"
    (tmp_path / "a.txt").write_bytes(odd)
    (tmp_path / "b.txt").write_bytes(b"nobody is there  \r")
    (tmp_path / "deep" / "c.txt").write_bytes(b"one man\n")
    (tmp_path / "notes.txt").write_bytes(b"a man took these photos\n")  # beside no photo
    untouched = (tmp_path / "b.txt").stat().st_ino

    code, out, err = edit(tmp_path, "--replace", "man", "person", "--dry-run")
    assert code == 0 and (tmp_path / "a.txt").read_bytes() == odd
    assert out.splitlines()[0] == f"{tmp_path / 'a.txt'}\ta man sits\ta person sits"
    assert "would change 2 captions in 1 of 2 files; nothing was done" in err
    code, _, err = edit(tmp_path, "--replace", "man", "person", "--recursive")
    assert code == 0 and "changed 3 captions in 2 of 3 files" in err
    edited = odd.replace(b"a man sits", b"a person sits")  # and a woman stays one
    assert (tmp_path / "a.txt").read_bytes() == edited
    assert (tmp_path / "deep" / "c.txt").read_bytes() == b"one person\n"
    assert (tmp_path / "notes.txt").read_bytes() == b"a man took these photos\n"
    assert (tmp_path / "b.txt").stat().st_ino == untouched

    for _ in range(2):  # the second time it is there already
        assert edit(tmp_path / "a.txt", "--prepend", "sks", "--append", ", oil", "--dedupe")[0] == 0
        assert (tmp_path / "a.txt").read_bytes() == (
            b"\xef\xbb\xbfsks a person sits, oil\r\n\r\nsks a woman \xff stands, oil\n"
        )


def test_photos_that_a_glob_brings_in_are_left_out_unless_there_is_nothing_else(
    edit: Run, tmp_path: Path
) -> None:
    pictures, sidecar = [photo(tmp_path / name) for name in ("a.JPG", "b.png")], tmp_path / "a.txt"
    sidecar.write_bytes(b"a dog\n")
    code, _, err = edit(pictures[0], sidecar, pictures[1], "--replace", "dog", "wolf")
    assert (code, sidecar.read_bytes()) == (0, b"a wolf\n")
    assert err == "captioner: changed 1 caption in 1 of 1 file; left out 2 photos\n"
    code, _, err = edit(*pictures, "--replace", "dog", "wolf")
    assert code == 2 and "a.JPG' is a photo, and its captions are in another file" in err


def test_sidecars_are_found_by_their_extension_and_in_their_folder(
    edit: Run, tmp_path: Path
) -> None:
    photo(tmp_path / "photos" / "x" / "a.jpg")
    sidecar = tmp_path / "words" / "x" / "a.caption"
    sidecar.parent.mkdir(parents=True)
    sidecar.write_text("a red red ball\n", encoding="utf-8")
    given = ("--recursive", "--extension", "caption", "--sidecar-folder", tmp_path / "words")
    assert edit(tmp_path / "photos", *given, "--replace", "red", "")[0] == 0
    assert sidecar.read_text(encoding="utf-8") == "a ball\n"
    code, _, err = edit(tmp_path / "photos", "--recursive", "--dedupe")
    assert code == 2 and "looked for metadata.jsonl and for a .txt file of each photo" in err


JSONL = [
    b'{"path": "a.jpg", "caption": "a dog", "score": -1, "status": "ok", "confidence": 1, "x":1}\n',
    b'{"path":"b.jpg","caption":"a cat","score":-1e0,"status":"ok"}\r\n',
    b'{"path": "c.jpg", "status": "error", "error": "a dog ate it"}\n',
    b'{"path": "d.jpg", "caption": "a cat", "score": -1, "status": "ok", "captions": ['
    b'{"caption": "a cat", "score": -1}, {"caption": "a dog", "score": -2}]}\n',
]


def test_an_edited_row_of_jsonl_has_no_score_and_says_so_and_the_others_keep_their_bytes(
    edit: Run, tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"".join(JSONL))
    (tmp_path / "one.tsv").write_bytes(b"a.jpg\ta dog\n")
    assert (
        "would change 1 caption in 1 of 1 file;"
        in edit(tmp_path / "one.tsv", "--replace", "dog", "wolf", "--dry-run")[2]
    )
    assert edit(file, "--replace", "dog", "wolf")[0] == 0
    lines = file.read_bytes().splitlines(keepends=True)
    assert lines[1:3] == JSONL[1:3]
    assert [json.loads(lines[index]) for index in (0, 3)] == [
        {"path": "a.jpg", "caption": "a wolf", "status": "ok", "x": 1, "edited": True},
        {
            "path": "d.jpg",
            "caption": "a cat",
            "score": -1,
            "status": "ok",
            "captions": [{"caption": "a cat", "score": -1}, {"caption": "a wolf"}],
            "edited": True,
        },
    ]
    assert edit(file, "--replace", "wolf", "cat", "--dedupe")[0] == 0
    last = json.loads(file.read_bytes().splitlines()[3])
    assert (last["caption"], last["score"], "captions" in last) == ("a cat", -1, False)


def test_rows_of_csv_tsv_and_metadata_are_edited_in_their_own_layout(
    edit: Run, tmp_path: Path
) -> None:
    csv, tsv, rows = (tmp_path / name for name in ("a.csv", "a.rows", "metadata.jsonl"))
    csv.write_bytes(
        b"path;caption;mine;score;status;error;confidence\r\n"
        b"a.jpg;a dog;kept;-1,0;ok;;0,5\r\n;;;\r\n"
        b'b.jpg;"a ""big"" cat";;-1,0;ok;;\r\n'
    )
    tsv.write_bytes(b"a.jpg\ta dog\r\nb.jpg\ta cat\nb.jpg\ta cat\n")
    rows.write_bytes(
        b'{"file_name":"a.jpg","text":"a dog"}\n{"file_name": "b.jpg", "text": "a cat", "y": 2}'
    )
    photo(tmp_path / "a.jpg")
    code, _, err = edit(csv, tsv, tmp_path, "--replace", "dog", "wolf", "--dedupe")
    assert code == 0 and "changed 4 captions in 3 of 3 files" in err
    assert csv.read_bytes() == (
        b"path;caption;mine;score;status;error;confidence\r\n"
        b"a.jpg;a wolf;kept;;ok;;\r\n;;;\r\n"
        b'b.jpg;"a ""big"" cat";;-1,0;ok;;\r\n'
    )
    assert tsv.read_bytes() == b"a.jpg\ta wolf\r\nb.jpg\ta cat\n"
    assert rows.read_bytes() == (
        b'{"file_name": "a.jpg", "text": "a wolf"}\n{"file_name": "b.jpg", "text": "a cat", "y": 2}'
    )


@pytest.mark.parametrize(
    ("name", "content", "flags", "message"),
    [
        ("a.tsv", "a.jpg\ta dog\n", (), "nothing to do: give --replace, --prepend"),
        ("a.tsv", "a.jpg\ta dog\n", ("--replace", "a dog", ""), "would become an empty caption"),
        ("a.tsv", "a.jpg\ta dog\n", ("--append", "x\ny"), "--append has a tab or a line break"),
        ("a.tsv", "a.jpg\ta dog\n", ("--replace", "a\tb", "c"), "--replace has a tab"),
        ("a.tsv", "a.jpg\ta dog\nnonsense\n", ("--dedupe",), "line 2 has 0 tabs, not one"),
        ("a.csv", "path,text\na,b\n", ("--dedupe",), "the first line must name the columns path"),
        ("a.jsonl", '{"path": "a"}\n', ("--dedupe",), "line 1: 'status' is missing"),
        ("a.json", "[]", ("--dedupe",), "cannot be edited"),
        ("a.html", "<p>a dog</p>\n", ("--prepend", "sks"), "is not a file of captions by its name"),
        ("a.txt", "a\0d\0o\0g\0", ("--prepend", "sks"), "it is not text in UTF-8"),
    ],
)
def test_what_cannot_be_edited_is_named_and_no_file_changes(
    name: str, content: str, flags: tuple[str, ...], message: str, edit: Run, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.tsv", tmp_path / name
    bad.write_bytes(content.encode())
    if good != bad:
        good.write_bytes(b"a.jpg\ta dog\n" * 2)
    before = good.read_bytes()
    code, _, err = edit(good, bad, *flags)
    assert code == 2 and message in err and err.count("\n") == 1
    assert (good.read_bytes(), bad.read_bytes()) == (before, content.encode())


def test_a_file_whose_run_was_stopped_is_not_edited(edit: Run, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"a.jpg\ta dog\n")
    (tmp_path / "a.tsv.overwrite-01234567.part").write_bytes(b"")
    code, _, err = edit(tmp_path / "a.tsv", "--append", "x")
    assert code == 2 and "holds the partial results" in err
    assert (tmp_path / "a.tsv").read_bytes() == b"a.jpg\ta dog\n"


@pytest.mark.parametrize(
    "row",
    [
        '{"path": "a.jpg", "caption": "a dog", "status": "ok"}',
        '{"file_name": "a", "text": "a dog"}',
    ],
)
def test_a_row_that_says_only_what_an_earlier_one_says_is_taken_out(
    edit: Run, tmp_path: Path, row: str
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f"{row}\n{row}\n", encoding="utf-8")
    assert edit(file, "--dedupe")[0] == 0
    assert file.read_text(encoding="utf-8") == f"{row}\n"
