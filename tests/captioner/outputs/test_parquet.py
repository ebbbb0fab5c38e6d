"""Parquet files of rows: what other programs read, and runs that are stopped and started again."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from captioner.outputs.base import open_output
from captioner.types import Caption, CaptionResult
from rnnkit.errors import UserError

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow, the parquet extra, is not installed")
Run = Callable[..., tuple[int, str, str]]


def table(path: Path) -> list[dict[str, object]]:
    from pyarrow.parquet import read_table

    rows: list[dict[str, object]] = read_table(path).to_pylist()
    return rows


def test_a_parquet_file_has_the_rows_of_jsonl_as_columns(
    caption: Run, photos: Path, tmp_path: Path
) -> None:
    for format in ("jsonl", "parquet"):
        assert (
            caption(photos, "--format", format, "--output", tmp_path / format, "--num-captions", 2)[
                0
            ]
            == 1
        )
    rows = [
        json.loads(line) for line in (tmp_path / "jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [
        {key: value for key, value in row.items() if value is not None}
        for row in table(tmp_path / "parquet")
    ] == rows
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jsonl", "parquet", "photos"]


def run(
    output: Path, rows: list[CaptionResult], existing: str = "skip", stop_after: int | None = None
) -> list[Path]:
    by_path = {row.path: row for row in rows}
    with open_output("parquet", output, sys.stdout, list(by_path), if_exists=existing) as write:
        asked = [photo for photo in write.photos if isinstance(photo, Path)]
        for number, photo in enumerate(asked):
            if number == stop_after:
                raise KeyboardInterrupt
            write(by_path[photo])
    return asked


def row(name: str, text: str | None) -> CaptionResult:
    return (
        CaptionResult(Path(name), error="damaged")
        if text is None
        else CaptionResult(Path(name), (Caption(text, -1.0, ()),))
    )


def test_a_stopped_run_leaves_no_parquet_file_and_is_resumed(tmp_path: Path) -> None:
    rows = [row(f"{number}\udce9.jpg", "a dog") for number in range(5)]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "rows", rows, stop_after=3)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.skip.part"]
    part = (tmp_path / "rows.skip.part").read_bytes()
    (tmp_path / "rows.skip.part").write_bytes(part[:-7])  # as a kill can leave it
    assert run(tmp_path / "rows", rows) == [each.path for each in rows[2:]]
    assert [record["path"] for record in table(tmp_path / "rows")] == [
        f"{number}\\udce9.jpg" for number in range(5)
    ]
    assert run(tmp_path / "rows", rows) == []
    # Killed after the rename, before the part was removed.
    (tmp_path / "rows.skip.part").write_bytes(part)
    run(tmp_path / "rows", rows)
    assert len(table(tmp_path / "rows")) == 5 and not (tmp_path / "rows.skip.part").exists()


def test_rows_are_added_replaced_and_tried_again(tmp_path: Path) -> None:
    run(tmp_path / "rows", [row("a.jpg", "a dog"), row("b.jpg", None)])
    assert run(
        tmp_path / "rows", [row("a.jpg", "a cat"), row("b.jpg", "a cat"), row("c.jpg", "a cat")]
    ) == [Path("b.jpg"), Path("c.jpg")]
    assert {record["path"]: record["caption"] for record in table(tmp_path / "rows")} == {
        "a.jpg": "a dog",
        "b.jpg": "a cat",
        "c.jpg": "a cat",
    }
    run(tmp_path / "rows", [row("a.jpg", "a cat")], "append")
    last = table(tmp_path / "rows")[-1]
    both: list[dict[str, object]] = last["captions"]  # type: ignore[assignment]
    assert last["caption"] == "a dog" and [each["caption"] for each in both] == ["a dog", "a cat"]
    run(tmp_path / "rows", [row("a.jpg", "a bird")], "overwrite")
    assert (
        len(table(tmp_path / "rows")) == 3 and table(tmp_path / "rows")[-1]["caption"] == "a bird"
    )


def test_a_file_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    from pyarrow import table as make_table
    from pyarrow.parquet import write_table

    write_table(make_table({"precious": [1, 2]}), tmp_path / "other")
    (tmp_path / "text").write_bytes(b"precious")
    for name in ("other", "text"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(UserError, match="is not a parquet file of captions"):
            open_output("parquet", tmp_path / name, sys.stdout, [Path("a.jpg")])
        assert (tmp_path / name).read_bytes() == before


def test_without_pyarrow_the_extra_is_named(
    caption: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "captioner.outputs.parquet", raising=False)
    code, _, err = caption(photos, "--format", "parquet", "--output", tmp_path / "rows")
    assert (code, err) == (
        2,
        'captioner: parquet needs pyarrow: pip install "show-and-spell[parquet]"\n',
    )


@pytest.mark.skipif(sys.platform == "win32", reason="no limits to files there")
def test_a_parquet_file_that_may_not_grow_is_named_and_its_rows_are_kept(tmp_path: Path) -> None:
    import resource

    rows = [row(f"{number}.jpg", f"{number} dogs") for number in range(5)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            run(tmp_path / "rows", rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG and error.value.filename == str(tmp_path / "rows")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.skip.part"]
    assert run(tmp_path / "rows", rows) == []
    assert len(table(tmp_path / "rows")) == 5
