"""Runs that are stopped anywhere and started again: in the end each photo has exactly one whole
row.
"""

from __future__ import annotations

import errno
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from captioner.outputs.base import open_output
from captioner.outputs.resumable_file import ResumableFile
from captioner.outputs.text_formats import ROW_FORMATS, Record
from captioner.types import Caption, CaptionResult
from rnnkit.errors import UserError

NAMES = st.text(st.sampled_from('ab\t\n\r,"\\ é🐕\udce9{}[]t'), min_size=1, max_size=6)
WORDS = st.text(st.sampled_from('a ,"\\é{}[]'), max_size=8).map(str.strip)


def caption(text: str, score: float = -0.5) -> Caption:
    return Caption(text, score, ())


def row_of(path: Path, texts: Sequence[str]) -> CaptionResult:
    return (
        CaptionResult(path, tuple(caption(text) for text in texts))
        if texts
        else CaptionResult(path, error="damaged, or cut short")
    )


@st.composite
def all_rows(draw: st.DrawFn, captions: int = 1, failures: bool = True) -> list[CaptionResult]:
    """Rows of photos with odd names; COCO calls no two of them the same."""
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    texts = st.lists(WORDS, min_size=captions, max_size=captions)
    return [
        row_of(
            Path(f"{number}/{name}{number}.jpg"),
            draw(st.one_of(texts, st.just([])) if failures else texts),
        )
        for number, name in enumerate(names)
    ]


def run(
    output: Path,
    format: str,
    rows: Sequence[CaptionResult],
    existing: str = "skip",
    *,
    stop_after: int | None = None,
    captions: int = 1,
) -> list[Path]:
    """What `captioner caption` does with an output; returns the photos that were captioned."""
    by_path = {row.path: row for row in rows}
    with open_output(
        format, output, sys.stdout, list(by_path), if_exists=existing, num_captions=captions
    ) as write:
        photos = [photo for photo in write.photos if isinstance(photo, Path)]
        for number, photo in enumerate(photos):
            if number == stop_after:
                raise KeyboardInterrupt
            write(by_path[photo])
    return photos


def listed(folder: str | Path) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def records(output: Path, format: str) -> list[Record]:
    form = ROW_FORMATS[format]
    with output.open("rb") as stream:
        assert stream.read(len(form.header)) == form.header
        found = list(form.read(stream))
    assert all(record.whole for record in found)
    return found


def said(output: Path, format: str) -> dict[str, list[str]]:
    """Captions by photo, as the file has them."""
    found: dict[str, list[str]] = {}
    for record in records(output, format):
        found.setdefault(record.key, []).extend(each.text for each in record.captions)
    return found


@pytest.mark.parametrize("format", ROW_FORMATS)
@given(data=st.data())
def test_any_beginning_of_a_file_is_completed_to_the_whole(
    format: str, data: st.DataObject
) -> None:
    rows = data.draw(all_rows())
    with TemporaryDirectory() as folder:
        run(Path(folder, "whole"), format, rows)
        whole = Path(folder, "whole").read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        Path(folder, "rows").write_bytes(whole[:cut])
        run(Path(folder, "rows"), format, rows)
        # Rows of failures are tried again, and so come last.
        assert sorted(map(repr, records(Path(folder, "rows"), format))) == sorted(
            map(repr, records(Path(folder, "whole"), format))
        )
        if all(row.captions for row in rows):
            assert Path(folder, "rows").read_bytes() == whole
        assert listed(folder) == ["rows", "whole"]


@pytest.mark.parametrize("format", ["tsv", "csv", "jsonl"])
@given(data=st.data())
def test_a_photo_of_several_lines_has_them_all_after_a_restart(
    format: str, data: st.DataObject
) -> None:
    rows = data.draw(all_rows(captions=3, failures=False))
    with TemporaryDirectory() as folder:
        run(Path(folder, "whole"), format, rows, captions=3)
        whole = Path(folder, "whole").read_bytes()
        beginning = whole[: data.draw(st.integers(0, len(whole)))]
        Path(folder, "rows").write_bytes(beginning)
        run(Path(folder, "rows"), format, rows, captions=3)
        form, first = ROW_FORMATS[format], rows[0]
        fewer = [
            form.header + form.encode(replace(first, captions=first.captions[:lines]))
            for lines in (1, 2)
        ]
        if beginning in fewer:  # whole lines of one photo may be all that somebody wanted of it
            whole = beginning + whole[len(form.header + form.encode(first)) :]
        assert Path(folder, "rows").read_bytes() == whole
        assert run(Path(folder, "rows"), format, rows, captions=3) == []


@pytest.mark.parametrize("format", ["tsv", "csv"])
@pytest.mark.parametrize("photos", [1, 3])
def test_a_caption_at_the_end_is_kept_when_more_captions_a_photo_are_asked_for(
    format: str, photos: int, tmp_path: Path
) -> None:
    rows = [row_of(Path(f"{number}.jpg"), ["my own words"]) for number in range(photos)]
    run(tmp_path / "rows", format, rows)
    before = (tmp_path / "rows").read_bytes()
    assert run(tmp_path / "rows", format, rows, captions=3) == []
    assert (tmp_path / "rows").read_bytes() == before


@pytest.mark.parametrize(
    ("format", "existing"),
    [
        (format, existing)
        for format in ROW_FORMATS
        for existing in ("overwrite", "append", "prepend")
        if format != "coco" or existing == "overwrite"
    ],
)
@given(data=st.data())
def test_a_changed_file_takes_the_place_of_the_old_one_only_when_it_is_whole(
    format: str, existing: str, data: st.DataObject
) -> None:
    rows = data.draw(all_rows(failures=False))
    new = [row_of(row.path, [f"new {row.captions[0].text}".strip()]) for row in rows]
    asked = data.draw(st.lists(st.sampled_from(new), min_size=1, unique_by=lambda row: row.path))
    with TemporaryDirectory() as folder:
        output, part = Path(folder, "rows"), Path(folder, f"rows.{existing}.part")
        run(output, format, rows)
        old = output.read_bytes()
        stop = data.draw(st.integers(1, len(asked)))
        if stop < len(asked):
            with pytest.raises(KeyboardInterrupt):
                run(output, format, asked, existing, stop_after=stop)
            assert output.read_bytes() == old
            grown = part.read_bytes()
            # A kill can cut what was written since the part was begun, which holds the rows of
            # other photos from the start.
            kept = len(grown) - data.draw(st.integers(0, 10))
            part.write_bytes(grown[: max(kept, 0)])
            try:
                run(output, format, asked, existing)
            except (
                UserError
            ) as error:  # cut into what no kill can cut, because it was renamed into place
                assume("ends with" not in str(error))
                raise
        else:
            run(output, format, asked, existing)
        form = ROW_FORMATS[format]
        expected = {form.key(row.path): [row.captions[0].text] for row in rows}
        for row in asked:
            key, text = form.key(row.path), row.captions[0].text
            expected[key] = {
                "overwrite": [text],
                "append": [*expected[key], text],
                "prepend": [text, *expected[key]],
            }[existing]
        assert said(output, format).keys() <= expected.keys()
        assert {
            key: texts
            for key, texts in said(output, format).items()
            if key in {form.key(row.path) for row in asked}
        } == {form.key(row.path): expected[form.key(row.path)] for row in asked}
        if stop == len(asked):
            assert said(output, format) == expected
        assert listed(folder) == ["rows"]


@pytest.mark.parametrize("format", ROW_FORMATS)
def test_a_run_that_is_done_changes_nothing_when_it_is_run_again(
    format: str, tmp_path: Path
) -> None:
    rows = [row_of(Path(f"{number}.jpg"), ["a dog"]) for number in range(4)]
    assert len(run(tmp_path / "rows", format, rows)) == 4
    before = (tmp_path / "rows").read_bytes()
    assert run(tmp_path / "rows", format, rows) == []
    assert (tmp_path / "rows").read_bytes() == before


@pytest.mark.parametrize("format", ROW_FORMATS)
def test_failures_are_tried_again_and_a_photo_that_goes_then_has_one_row(
    format: str, tmp_path: Path
) -> None:
    a, b, c = (Path(f"{name}.jpg") for name in "abc")
    run(tmp_path / "rows", format, [row_of(a, []), row_of(b, ["a dog"]), row_of(c, [])])
    assert run(
        tmp_path / "rows", format, [row_of(a, ["a cat"]), row_of(b, ["never"]), row_of(c, [])]
    ) == [a, c]
    key = ROW_FORMATS[format].key
    assert said(tmp_path / "rows", format) == {key(b): ["a dog"], key(a): ["a cat"]} | (
        {key(c): []} if format in ("jsonl", "csv") else {}
    )
    assert len(records(tmp_path / "rows", format)) == (3 if format in ("jsonl", "csv") else 2)


@pytest.mark.parametrize("format", ROW_FORMATS)
@pytest.mark.parametrize("existing", ["skip", "overwrite"])
def test_rows_of_other_photos_stay(existing: str, format: str, tmp_path: Path) -> None:
    run(tmp_path / "rows", format, [row_of(Path("a.jpg"), ["a dog"]), row_of(Path("bad.jpg"), [])])
    run(tmp_path / "rows", format, [row_of(Path("b.jpg"), ["a cat"])], existing)
    found = said(tmp_path / "rows", format)
    key = ROW_FORMATS[format].key
    assert found[key(Path("a.jpg"))] == ["a dog"] and found[key(Path("b.jpg"))] == ["a cat"]
    assert (key(Path("bad.jpg")) in found) == (format in ("jsonl", "csv"))


@pytest.mark.parametrize("existing", ["overwrite", "append", "prepend"])
def test_a_photo_that_can_no_longer_be_read_keeps_its_captions(
    existing: str, tmp_path: Path
) -> None:
    run(tmp_path / "rows", "jsonl", [row_of(Path("a.jpg"), ["a dog"])])
    run(tmp_path / "rows", "jsonl", [row_of(Path("a.jpg"), [])], existing)
    assert said(tmp_path / "rows", "jsonl") == {"a.jpg": ["a dog"]}


@pytest.mark.parametrize("existing", ["append", "prepend"])
def test_a_caption_that_is_there_is_not_said_twice(existing: str, tmp_path: Path) -> None:
    for _ in range(2):
        run(tmp_path / "rows", "jsonl", [row_of(Path("a.jpg"), ["a dog", "a cat"])], existing)
    assert said(tmp_path / "rows", "jsonl") == {"a.jpg": ["a dog", "a cat"]}
    (record,) = map(json.loads, (tmp_path / "rows").read_text(encoding="utf-8").splitlines())
    assert record["caption"] == "a dog" and record["score"] == -0.5


def test_coco_results_hold_one_caption_a_photo_and_no_two_photos_of_one_id(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--existing append is not supported"):
        open_output("coco", tmp_path / "rows", sys.stdout, [Path("a.jpg")], if_exists="append")
    with pytest.raises(UserError, match=r"'a\.jpg' and 'b/a\.png' would both be '\"a\"' in coco"):
        open_output("coco", tmp_path / "rows", sys.stdout, [Path("a.jpg"), Path("b/a.png")])


def test_coco_results_written_by_others_are_continued(tmp_path: Path) -> None:
    results = [
        {"image_id": 1, "caption": "a dog", "extra": [1, 2]},
        {"image_id": "x", "caption": "a cat"},
    ]
    (tmp_path / "rows").write_text(json.dumps(results, indent=2), encoding="utf-8")
    assert run(
        tmp_path / "rows",
        "coco",
        [row_of(Path(f"{name}.jpg"), ["a bird"]) for name in ("1", "x", "2")],
    ) == [Path("2.jpg")]
    assert json.loads((tmp_path / "rows").read_text(encoding="utf-8")) == [
        *results,
        {"image_id": 2, "caption": "a bird"},
    ]


def test_coco_results_are_json_after_every_row(tmp_path: Path) -> None:
    photos = [Path(f"{number}.jpg") for number in range(3)]
    with open_output("coco", tmp_path / "rows", sys.stdout, photos) as write:
        for number, photo in enumerate(photos):
            assert len(json.loads((tmp_path / "rows").read_text(encoding="utf-8"))) == number
            write(row_of(photo, ["a dog"]))


@pytest.mark.parametrize("format", ["tsv", "jsonl", "csv"])
def test_an_end_that_no_run_of_these_photos_left_is_not_thrown_away(
    format: str, tmp_path: Path
) -> None:
    run(
        tmp_path / "rows",
        format,
        [row_of(Path("a.jpg"), ["a dog"]), row_of(Path("b.jpg"), ["precious"])],
    )
    # Without its line break alone, a row of jsonl is still seen to be whole.
    cut = (tmp_path / "rows").read_bytes()[: -2 if format == "jsonl" else -1]
    (tmp_path / "rows").write_bytes(cut)
    with pytest.raises(
        UserError,
        match=r"ends with .*precious.*, which is not a whole row or part of one of these photos",
    ):
        open_output(format, tmp_path / "rows", sys.stdout, [Path("a.jpg"), Path("c.jpg")])
    assert (tmp_path / "rows").read_bytes() == cut


@pytest.mark.parametrize(
    ("format", "last"),
    [
        ("jsonl", '{"path": "b.jpg", "caption": "my own words", "status": "ok", "edited": true}'),
        ("csv", "b.jpg,my own words,,ok,,"),
        ("csv", "b.jpg,my own words,-0.5000,ok,,0.7123"),
    ],
)
def test_a_last_row_that_is_whole_but_for_its_line_break_stays(
    format: str, last: str, tmp_path: Path
) -> None:
    output = tmp_path / "rows"
    run(output, format, [row_of(Path("a.jpg"), ["a dog"])])
    before = output.read_bytes() + last.encode()
    output.write_bytes(before)
    rows = [row_of(Path(f"{name}.jpg"), ["a cat"]) for name in "bc"]
    assert run(output, format, rows) == [Path("c.jpg")]
    assert output.read_bytes() == before + b"\n" + ROW_FORMATS[format].encode(rows[-1])


@pytest.mark.parametrize(
    ("format", "last"),
    [
        ("tsv", "b.jpg\ta cat and"),
        ("jsonl", '{"path": "b.jpg", "caption": "a cat and'),
        ("csv", "b.jpg,a cat and"),
        ("csv", "b.jpg,a cat and,-0.5,ok,,0.71"),
    ],
)
def test_the_end_of_a_file_is_told_before_its_photo_is_captioned_again(
    format: str, last: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "rows"
    run(output, format, [row_of(Path("a.jpg"), ["a dog"])])
    output.write_bytes(output.read_bytes() + last.encode())
    rows = [row_of(Path(f"{name}.jpg"), ["a cat and a dog"]) for name in "ab"]
    assert run(output, format, rows) == [Path("b.jpg")]
    assert said(output, format) == {"a.jpg": ["a dog"], "b.jpg": ["a cat and a dog"]}
    assert last in caplog.text and "not a whole row" in caplog.text


@pytest.mark.parametrize("cut", [1, 2])
def test_of_a_cut_footer_nothing_is_told(
    cut: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "rows"
    run(output, "coco", [row_of(Path("1.jpg"), ["a dog"])])
    output.write_bytes(output.read_bytes()[:-cut])
    rows = [row_of(Path(f"{number}.jpg"), ["a dog"]) for number in (1, 2)]
    assert run(output, "coco", rows)[-1:] == [Path("2.jpg")]
    assert caplog.text == ""


def test_a_part_of_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "rows.overwrite.part").write_bytes(b"a download")
    with pytest.raises(UserError, match=r"rows\.overwrite\.part' "):
        open_output("jsonl", tmp_path / "rows", sys.stdout, [Path("a.jpg")], if_exists="overwrite")
    assert (tmp_path / "rows.overwrite.part").read_bytes() == b"a download"


@pytest.mark.parametrize("other", ["skip", "append", "prepend", "overwrite by another model"])
def test_a_run_that_was_stopped_is_finished_by_the_same_command_only_and_no_words_are_lost(
    other: str, tmp_path: Path
) -> None:
    photos = [Path("a.jpg"), Path("b.jpg")]
    run(tmp_path / "rows", "jsonl", [row_of(photo, ["MY OWN WORDS"]) for photo in photos])
    with (
        pytest.raises(KeyboardInterrupt),
        open_output(
            "jsonl", tmp_path / "rows", sys.stdout, photos, if_exists="overwrite", made_by="a model"
        ) as write,
    ):
        write(row_of(photos[0], ["a dog"]))
        raise KeyboardInterrupt
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (part,) = before.keys() - {"rows"}
    existing, _, made_by = other.partition(" by ")
    with pytest.raises(
        UserError,
        match=rf"{part}' holds the partial results of a run with --existing overwrite .* delete",
    ):
        open_output(
            "jsonl",
            tmp_path / "rows",
            sys.stdout,
            photos,
            if_exists=existing,
            made_by=made_by or "a model",
        )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert (
        list(
            open_output(
                "jsonl",
                tmp_path / "rows",
                sys.stdout,
                photos,
                if_exists="overwrite",
                made_by="a model",
            ).photos
        )
        == photos[1:]
    )
    (tmp_path / part).unlink()
    with open_output(
        "jsonl", tmp_path / "rows", sys.stdout, photos, if_exists="append", made_by="a model"
    ) as write:
        for photo in photos:
            write(row_of(photo, ["a cat"]))
    assert said(tmp_path / "rows", "jsonl") == {
        "a.jpg": ["MY OWN WORDS", "a cat"],
        "b.jpg": ["MY OWN WORDS", "a cat"],
    }


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights and modes are others there")
@pytest.mark.parametrize("existing", ["skip", "overwrite"])
@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_a_rewritten_file_keeps_its_mode_and_a_link_to_it_stays_a_link(
    format: str, existing: str, tmp_path: Path
) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow, the parquet extra, is not installed")
    (tmp_path / "disk").mkdir()
    (tmp_path / "rows").symlink_to(tmp_path / "disk" / "rows")
    run(tmp_path / "rows", format, [row_of(Path("a.jpg"), [])])
    (tmp_path / "disk" / "rows").chmod(0o600)
    run(
        tmp_path / "rows", format, [row_of(Path("a.jpg"), ["a dog"])], existing
    )  # a failure that is tried again is taken out
    assert (
        (tmp_path / "rows").is_symlink()
        and listed(tmp_path) == ["disk", "rows"]
        and listed(tmp_path / "disk") == ["rows"]
    )
    assert (tmp_path / "disk" / "rows").stat().st_mode & 0o777 == 0o600
    assert b"a dog" in (tmp_path / "disk" / "rows").read_bytes()


@pytest.mark.parametrize("existing", ["skip", "overwrite"])
def test_two_runs_cannot_write_one_output_and_a_killed_run_blocks_no_other(
    existing: str, tmp_path: Path
) -> None:
    rows = [row_of(Path(f"{number}.jpg"), ["a dog"]) for number in range(4)]
    run(tmp_path / "rows", "jsonl", rows[:1])
    (tmp_path / ".rows.lock").touch()  # of a run that was killed
    photos = [row.path for row in rows]
    with open_output("jsonl", tmp_path / "rows", sys.stdout, photos, if_exists=existing) as first:
        wanted = list(first.photos)
        first(row_of(Path(wanted[0]), ["a cat"]))  # type: ignore[arg-type]
        second = open_output("jsonl", tmp_path / "rows", sys.stdout, photos, if_exists=existing)
        with pytest.raises(UserError, match=r"another run is writing '.*rows'"), second:
            pass
        for photo in wanted[1:]:
            first(row_of(Path(photo), ["a cat"]))  # type: ignore[arg-type]
    with (
        pytest.raises(UserError, match=r"another run has changed '.*rows' in the meantime"),
        second,
    ):
        pass
    assert len(records(tmp_path / "rows", "jsonl")) == 4 and listed(tmp_path) == ["rows"]


def test_a_part_of_another_output_blocks_no_run(tmp_path: Path) -> None:
    for name in ("rows.jsonl.overwrite.part", "rows.download.part", "row.append.part"):
        (tmp_path / name).touch()
    assert run(tmp_path / "rows", "jsonl", [row_of(Path("a.jpg"), ["a dog"])], "overwrite") == [
        Path("a.jpg")
    ]


@pytest.mark.parametrize("format", ROW_FORMATS)
def test_looking_at_what_would_be_done_changes_nothing(format: str, tmp_path: Path) -> None:
    rows = [
        row_of(Path(f"{name}.jpg"), texts)
        for name, texts in (("a", ["a dog"]), ("b", []), ("c", ["a cat"]))
    ]
    run(tmp_path / "rows", format, rows)
    cut = (tmp_path / "rows").read_bytes()[:-6]
    (tmp_path / "rows").write_bytes(cut)
    assert list(
        open_output(format, tmp_path / "rows", sys.stdout, [row.path for row in rows]).photos
    ) == [Path("b.jpg"), Path("c.jpg")]
    assert (tmp_path / "rows").read_bytes() == cut and listed(tmp_path) == ["rows"]


@pytest.mark.skipif(
    sys.platform == "win32", reason="there is no limit on a file's size to set there"
)
@pytest.mark.parametrize("format", ROW_FORMATS)
def test_a_disk_that_fills_up_in_the_middle_of_a_row_leaves_whole_rows(
    format: str, tmp_path: Path
) -> None:
    import resource

    rows = [row_of(Path(f"{number}.jpg"), ["a dog and a cat"]) for number in range(19)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    try:
        with pytest.raises(OSError, match="rows") as caught:
            run(tmp_path / "rows", format, rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    found = said(tmp_path / "rows", format)
    assert 1 < len(found) < 19 and set(map(tuple, found.values())) == {("a dog and a cat",)}
    run(tmp_path / "rows", format, rows)
    assert len(records(tmp_path / "rows", format)) == 19


@pytest.mark.parametrize("format", ROW_FORMATS)
def test_what_is_written_is_read_back(format: str, tmp_path: Path) -> None:
    words = ("a dog", "é 🐕", 'say "a, b"', "")
    rows = [row_of(Path(f"{number}.jpg"), [text]) for number, text in enumerate(words)]
    run(tmp_path / "rows", format, rows)
    form = ROW_FORMATS[format]
    assert [
        (record.key, record.captions[0].text) for record in records(tmp_path / "rows", format)
    ] == [(form.key(row.path), row.captions[0].text) for row in rows]
    if format in ("jsonl", "csv"):
        assert {record.captions[0].score for record in records(tmp_path / "rows", format)} == {-0.5}


def test_a_long_file_is_resumed_quickly(tmp_path: Path) -> None:
    rows = [
        row_of(Path(f"photos/{number:06}.jpg"), ["a dog runs through the snow"])
        for number in range(20_000)
    ]
    random.Random(0).shuffle(rows)
    run(tmp_path / "rows", "jsonl", rows[:-5])
    assert run(tmp_path / "rows", "jsonl", rows) == [row.path for row in rows[-5:]]
    assert isinstance(
        open_output("jsonl", tmp_path / "rows", sys.stdout, [row.path for row in rows]),
        ResumableFile,
    )
