"""CSV files that other programs have saved: read, written on in their layout, and nothing lost."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.columns import ROW_COLUMNS
from captioner.outputs.base import format_of, open_output
from captioner.outputs.csv_layout import MARKS, CsvLayout, as_it_was, defused
from captioner.types import Caption, CaptionResult
from rnnkit.errors import UserError

Rows = list[list[str]]
CELLS = st.text(st.sampled_from("a ,;\t\r\n\"'=é"), max_size=6)


def row(name: str, *texts: str) -> CaptionResult:
    captions = tuple(Caption(text, -0.5, ()) for text in texts)
    return CaptionResult(Path(name), captions, None if texts else "no such file")


OLD = [row("a.jpg", "a dog; a cat"), row("b.jpg", 'the "big, red" bus'), row("gone.jpg")]


def write(
    path: Path, rows: list[CaptionResult], existing: str = "skip", *, safe: bool = False
) -> Rows:
    """What `captioner caption` does; returns the file's rows, its first line included."""
    photos = [each.path for each in rows]
    with open_output("csv", path, sys.stdout, photos, if_exists=existing, csv_safe=safe) as output:
        for each in rows:
            if each.path in list(output.photos):
                output(each)
    text = path.read_bytes().decode("utf-8-sig")
    mark = ";" if ";" in text.partition("\n")[0] else ","
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=mark))


def with_python(rows: Rows) -> bytes:
    saved = io.StringIO()
    csv.writer(saved).writerows(rows)
    return saved.getvalue().encode()


def with_excel(rows: Rows) -> bytes:
    return b"\xef\xbb\xbf" + with_python(rows)


def with_excel_in_german(rows: Rows) -> bytes:
    saved = io.StringIO()
    numbers = [[cell.replace("-0.5000", "-0,5") for cell in cells] for cells in rows]
    csv.writer(saved, delimiter=";").writerows(numbers)
    return saved.getvalue().encode()


def with_all_quoted(rows: Rows) -> bytes:
    saved = io.StringIO()
    csv.writer(saved, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return saved.getvalue().encode()


def with_more_columns(rows: Rows) -> bytes:
    """One in front and one among ours."""
    added = ["seen", *["yes"] * (len(rows) - 1)], ["album", *"12345"]
    return with_python(
        [[a, *cells[:2], b, *cells[2:]] for a, b, cells in zip(*added, rows, strict=False)]
    )


SAVERS = [with_python, with_excel, with_excel_in_german, with_all_quoted, with_more_columns]


@pytest.mark.parametrize("save", SAVERS)
def test_a_file_that_another_program_saved_is_continued_in_its_layout(
    save: Callable[[Rows], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(save(write(path, OLD)))
    lines = path.read_bytes().splitlines(keepends=True)
    found = write(path, [*OLD[:2], row("gone.jpg", "a bird"), row("new.jpg", "a hat")])
    assert path.read_bytes().startswith(b"".join(lines[:3]))  # the failure is tried again
    newline = b"\r\n" if lines[0].endswith(b"\r\n") else b"\n"
    assert path.read_bytes().count(newline) == path.read_bytes().count(b"\n") == 5
    table = [dict(zip(found[0], cells, strict=True)) for cells in found[1:]]
    assert [cells["path"] for cells in table] == ["a.jpg", "b.jpg", "gone.jpg", "new.jpg"]
    assert [cells["caption"] for cells in table[2:]] == ["a bird", "a hat"]
    mark = "," if save is with_excel_in_german else "."
    assert {cells["score"].rstrip("0") for cells in table} == {f"-0{mark}5"}
    if save is with_more_columns:
        assert [(cells["seen"], cells["album"]) for cells in table] == [
            ("yes", "1"), ("yes", "2"), ("yes", "3"), ("", ""),
        ]  # fmt: skip
    before = path.read_bytes()
    write(path, [*OLD[:2], row("gone.jpg", "never"), row("new.jpg", "never")])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("existing", "captions"),
    [
        ("overwrite", [("a hat", "1"), ('the "big, red" bus', "2")]),
        ("append", [("a dog; a cat", "1"), ("a hat", ""), ('the "big, red" bus', "2")]),
        ("prepend", [("a hat", ""), ("a dog; a cat", "1"), ('the "big, red" bus', "2")]),
    ],
)
def test_cells_of_added_columns_stay_with_their_caption_or_the_one_that_replaces_it(
    existing: str, captions: list[tuple[str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(with_more_columns(write(path, OLD[:2])))
    found = write(path, [row("a.jpg", "a hat"), OLD[1]], existing)
    assert [(cells[2], cells[3]) for cells in found[1:]] == captions


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"path;caption;status;error\n", "it begins with 'path;caption;status;error"),
        (b"path,path,caption,score,status,error\n", "it begins with 'path,path"),
        (b"path;caption;score;status;error\na;b;c;ok;\n", "score is 'c', not a number"),
        (
            b"path;caption;score;status;error\na;b;;fine;\n",
            "status is 'fine', not ok, unsure or error",
        ),
        (b"path;caption;score;status;error\na;b;;ok;;more\n", "a row has 6 cells for 5 columns"),
        (b"path;caption;score;status;error\ncaf\xe9;b;;ok;\n", "it is not UTF-8 text"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_in_words(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(UserError, match=reason):
        write(tmp_path / "rows.csv", OLD)
    assert (tmp_path / "rows.csv").read_bytes() == content


@given(st.lists(CELLS, min_size=6, max_size=6), st.lists(CELLS, max_size=2), st.data())
def test_what_is_written_in_any_layout_is_what_is_read(
    cells: list[str], added: list[str], data: st.DataObject
) -> None:
    columns = data.draw(st.permutations([*ROW_COLUMNS, *map(str, range(len(added)))]))
    mark, newline = data.draw(st.sampled_from(MARKS)), data.draw(st.sampled_from(["\n", "\r\n"]))
    layout = CsvLayout.of(f"{mark.join(columns)}{newline}".encode())
    assert (layout.mark, layout.newline, layout.columns) == (mark, newline, tuple(columns))
    assert layout.split(layout.join(cells, added)) == (cells, tuple(added))
    if columns[0] == "path":
        assert layout.join(cells, added).startswith(layout.beginning(cells[0]))


# --- cells that a spreadsheet would compute -------------------------------------------------------


@given(st.text(st.sampled_from("'=+-@\t\ra"), max_size=4))
def test_a_defused_cell_is_no_formula_and_says_what_it_was(cell: str) -> None:
    assert not defused(cell).startswith((*"=+-@\t\r",)) and as_it_was(defused(cell)) == cell
    if not cell.lstrip("'").startswith((*"=+-@\t\r",)):
        assert defused(cell) == cell


def test_a_safe_file_is_continued_and_one_that_was_not_safe_too(tmp_path: Path) -> None:
    rows = [row("=a.jpg", "+1 dog"), row("'=a.jpg", "a cat"), row("b.jpg", "-")]
    safe, plain = tmp_path / "safe.csv", tmp_path / "plain.csv"
    found = write(safe, rows, safe=True)
    assert [cells[:3] for cells in found[1:]] == [
        ["'=a.jpg", "'+1 dog", "-0.5000"],
        ["''=a.jpg", "a cat", "-0.5000"],
        ["b.jpg", "'-", "-0.5000"],
    ]
    assert write(plain, rows[::2])[1][:2] == ["=a.jpg", "+1 dog"]
    for path, rest in ((safe, rows), (plain, rows[::2])):
        before = path.read_bytes()
        assert write(path, rest, safe=True) and path.read_bytes() == before
        write(path, rest, "append", safe=True)
        assert path.read_bytes() == before if path == safe else path.read_bytes() != before


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("x.jsonl", "jsonl"), ("x.CSV", "csv"), ("x.json", "coco"), ("x.parquet", "parquet"),
        ("x.tsv", "tsv"), ("x.txt", "tsv"), ("x", "tsv"), ("-", "tsv"), (None, "tsv"),
    ],
)  # fmt: skip
def test_the_format_is_the_one_that_the_outputs_name_stands_for(
    name: str | None, format: str
) -> None:
    assert format_of(None if name is None else Path(name)) == format
