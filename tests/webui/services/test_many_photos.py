"""Many photos: what a request may bring, and what becomes of it."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path
from typing import cast

import pytest

from captioner import Caption, Decoding
from captioner.data.images import ImageError
from rnnkit.errors import UserError
from webui import uploads
from webui.services.caption_files import write_all, write_sidecars
from webui.services.many_photos import caption_entries, gather, scores_of
from webui.uploads import temporary_folder
from webui.workers import CaptionWorker


@pytest.fixture
def sent() -> dict[str, str]:
    """A ZIP of four photos of 1000 bytes, as a client names it."""
    path = temporary_folder() / "four.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(4):
            archive.writestr(f"{number}.jpg", bytes(1000))
    return {"path": str(path), "orig_name": "four.zip"}


def data_urls(names: list[str]) -> list[dict[str, str]]:
    return [{"url": "data:image/png;base64,QUJD", "orig_name": name} for name in names]


def written(folder: Path) -> int:
    """Bytes in all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("limit", "value"), [("MAX_PHOTOS", 10), ("MAX_UNPACKED", 11_999)])
def test_a_zip_sent_many_times_is_unpacked_no_further_than_one_that_holds_as_much(
    limit: str, value: int, sent: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, limit, value)
    entries = gather([sent] * 5, tmp_path)
    assert written(tmp_path) == 8000
    assert [entry.path is not None for entry in entries] == [True] * 8 + [False] * 3
    assert all(
        "four.zip" in entry.error and "at a time: split it" in entry.error for entry in entries[8:]
    )


def test_photos_and_the_members_of_zips_are_counted_together(
    sent: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_PHOTOS", 5)
    photo = "data:image/png;base64,QUJD"
    assert [bool(entry.error) for entry in gather([photo, sent], tmp_path)] == [False] * 5
    assert [bool(entry.error) for entry in gather([photo, photo, sent], tmp_path)] == [
        False,
        False,
        True,
    ]


def test_more_files_than_the_limit_are_refused_before_any_is_unpacked(
    sent: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="501 photos are more than the limit of 500"):
        gather([sent] * 501, tmp_path)
    assert written(tmp_path) == 0


def test_a_zip_of_nothing_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = temporary_folder() / "empty.zip"
    zipfile.ZipFile(path, "w").close()
    with pytest.raises(UserError, match="no photos in what was sent"):
        gather([{"path": str(path)}], tmp_path)


@pytest.mark.parametrize("name", ["half \ud800.jpg", "x" * 70_000 + ".jpg"])
def test_a_photo_with_an_impossible_name_has_a_row_with_its_reason(
    name: str, tmp_path: Path
) -> None:
    (entry,) = gather([{"path": "nowhere.jpg", "orig_name": name}], tmp_path)
    assert len(entry.name.encode()) <= 150
    assert "was not uploaded to this page" in entry.error


def test_nothing_is_unpacked_onto_a_disk_that_is_nearly_full(
    sent: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "FREE_DISK", 2**60)
    (entry,) = gather([sent], tmp_path)
    assert "disk is nearly full" in entry.error and written(tmp_path) == 0


def test_photos_of_one_name_are_numbered_around_the_names_that_are_there(tmp_path: Path) -> None:
    entries = gather(
        data_urls(["a.jpg", "a.jpg", "a (2).jpg", "a.jpg", "a (2).jpg", "b"]), tmp_path
    )
    assert [entry.name for entry in entries] == [
        "a.jpg",
        "a (3).jpg",
        "a (2).jpg",
        "a (4).jpg",
        "a (2) (2).jpg",
        "b",
    ]


@pytest.mark.parametrize("name", ["image.jpg", "山" * 300 + ".jpg", "x." + "y" * 300])
def test_five_hundred_photos_of_one_name_have_sidecars_that_a_file_system_takes(
    name: str, tmp_path: Path
) -> None:
    names = {entry.name for entry in gather(data_urls([name] * 500), tmp_path)}
    assert len(names) == 500
    with zipfile.ZipFile(
        write_sidecars([[name, "a dog", ""] for name in names], tmp_path)
    ) as archive:
        sidecars = archive.namelist()
    assert len(set(sidecars)) == 500 and max(len(name.encode()) for name in sidecars) <= 255


def test_photos_that_differ_in_their_ending_only_have_a_sidecar_each(tmp_path: Path) -> None:
    rows = [[f"dog.{ending}", "a dog", ""] for ending in ("jpg", "png", "gif")]
    with zipfile.ZipFile(write_sidecars(rows, tmp_path)) as archive:
        assert archive.namelist() == ["dog.txt", "dog (2).txt", "dog (3).txt"]


class Wordless:
    """Stands in for a worker whose captioner finds no words."""

    def caption(self, photo: Path, decoding: Decoding, *, run: object) -> list[Caption]:
        if photo.read_bytes() != b"ABC":
            raise ImageError("bad.jpg", "no picture at all")
        return [Caption("", -1.5, ())]


def test_a_photo_whose_caption_is_empty_is_done_and_has_its_score(tmp_path: Path) -> None:
    entries = gather(data_urls(["a.jpg", "b.jpg"]), tmp_path)
    assert not any(entry.done for entry in entries)
    list(caption_entries(cast(CaptionWorker, Wordless()), entries, Decoding()))
    assert all(entry.done and entry.cells[1:] == ["", ""] for entry in entries)
    assert scores_of(entries) == {"a.jpg": -1.5, "b.jpg": -1.5}


def test_why_a_photo_could_not_be_used_is_a_sentence_wherever_it_was_found_out(
    tmp_path: Path,
) -> None:
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = temporary_folder() / "two.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bad.jpg", b"bad")
        archive.writestr(link, "/etc/passwd")
    entries = gather([{"path": str(path)}, {"url": "http://example.com/a.jpg"}], tmp_path)
    list(caption_entries(cast(CaptionWorker, Wordless()), entries, Decoding()))
    assert [entry.error for entry in entries] == [
        "No picture at all.",
        "A link, not a photo.",
        "Addresses are not fetched: send the file itself.",
    ]


def test_a_run_that_is_stopped_leaves_the_other_photos_alone(tmp_path: Path) -> None:
    entries = gather(data_urls([f"{number}.jpg" for number in range(400)]), tmp_path)
    for _ in caption_entries(cast(CaptionWorker, Wordless()), entries, Decoding()):
        break
    assert [entry.done for entry in entries] == [True] + [False] * 399


def test_the_files_hold_what_the_captioners_own_formats_would() -> None:
    rows = [["a/dog.jpg", 'a "dog", running', ""], ["b.jpg", "", "Damaged."], ["c.jpg", "new", ""]]
    table, lines, _ = (Path(path) for path in write_all(rows, {"a/dog.jpg": -0.41234}))
    assert table.read_text(encoding="utf-8") == (
        "path,caption,score,status,error,confidence\n"
        'a/dog.jpg,"a ""dog"", running",-0.4123,ok,,\n'
        "b.jpg,,,error,Damaged.,\n"
        "c.jpg,new,,ok,,\n"
    )
    assert [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()] == [
        {"path": "a/dog.jpg", "caption": 'a "dog", running', "score": -0.4123, "status": "ok"},
        {"path": "b.jpg", "status": "error", "error": "Damaged."},
        {"path": "c.jpg", "caption": "new", "status": "ok"},
    ]


def test_the_table_to_download_has_no_formulas() -> None:
    rows = [("=1.jpg", "+a dog", ""), ("a.jpg", "a cat", ""), ("@b.jpg", "", "-damaged")]
    table = Path(write_all(rows, {"a.jpg": -0.5})[0]).read_text(encoding="utf-8")
    assert table.splitlines()[1:] == [
        "'=1.jpg,'+a dog,,ok,,",
        "a.jpg,a cat,-0.5000,ok,,",
        "'@b.jpg,,,error,'-damaged,",
    ]
