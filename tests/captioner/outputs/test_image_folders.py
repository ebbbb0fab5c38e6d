"""A metadata.jsonl in each folder: whole rows of file_name and text, whatever stops a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from captioner.outputs.base import Readable, open_output
from captioner.types import Caption, CaptionResult
from rnnkit.errors import UserError


def write(photos: list[Path], texts: str, if_exists: str = "skip", stop_after: int = 99) -> None:
    """Write rows for photos that need them; from the photo `stop_after` on, the run is killed."""
    with open_output("metadata", None, sys.stdout, photos, if_exists=if_exists) as output:
        for number, photo in enumerate(list(output.photos)):
            if number == stop_after:
                raise KeyboardInterrupt
            assert isinstance(photo, Path)
            captions = tuple(Caption(f"{text} {photo.stem}", -1.0, ()) for text in texts.split())
            output(CaptionResult(photo, captions))


def rows(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "metadata.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Photos of two folders in turns, as a recursive search finds them, and one that is nowhere."""
    names = [tmp_path / name for name in ("a.jpg", "b/c.jpg", "b/d.png", "e.jpg")]
    for name in names:
        name.parent.mkdir(exist_ok=True)
        name.write_bytes(b"")
    return [*names, tmp_path / "gone" / "f.jpg"]


def test_each_folder_has_the_rows_of_its_photos_and_a_stopped_run_goes_on(
    photos: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(photos, "one", stop_after=3)
    assert rows(tmp_path) == [
        {"file_name": "a.jpg", "text": "one a"},
        {"file_name": "e.jpg", "text": "one e"},
    ]
    assert rows(tmp_path / "b") == [{"file_name": "c.jpg", "text": "one c"}]
    write(photos, "two")
    assert [row["text"] for row in rows(tmp_path / "b")] == ["one c", "two d"]
    output = open_output("metadata", None, sys.stdout, photos)
    assert isinstance(output, Readable) and list(output.photos) == [photos[4]]
    found = {photo: [c.text for c in captions] for photo, captions in output.existing(photos)}
    assert found[photos[2]] == ["two d"] and found[photos[4]] == []
    assert sorted(path.name for path in tmp_path.rglob(".*")) == []


def test_captions_are_added_in_every_folder_and_what_people_wrote_into_a_row_stays(
    photos: list[Path], tmp_path: Path
) -> None:
    write(photos, "one")
    mine = rows(tmp_path)[0] | {"label": 3}
    theirs = {"file_name": "other.jpg", "text": "not asked for", "label": 4}
    (tmp_path / "metadata.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in (mine, theirs)), encoding="utf-8"
    )
    with pytest.raises(KeyboardInterrupt):
        write(photos, "two", "append", stop_after=1)
    write(photos, "two", "append")
    assert rows(tmp_path)[:2] == [
        theirs,
        {"file_name": "a.jpg", "text": "one a", "label": 3, "captions": ["one a", "two a"]},
    ]
    assert [row["captions"] for row in rows(tmp_path / "b")] == [
        ["one c", "two c"],
        ["one d", "two d"],
    ]
    assert not list(tmp_path.rglob("*.part"))


def test_a_metadata_file_without_captions_is_refused_and_kept(
    photos: list[Path], tmp_path: Path
) -> None:
    labels = b'{"file_name": "a.jpg", "label": 1}\n'
    (tmp_path / "metadata.jsonl").write_bytes(labels)
    with pytest.raises(UserError, match=r"is not a metadata file of captions .*'text' is missing"):
        write(photos, "one", "overwrite")
    assert (tmp_path / "metadata.jsonl").read_bytes() == labels
