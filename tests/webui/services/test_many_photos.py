"""Many photos: what a request may bring, and what becomes of it."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path
from typing import cast

import pytest

from captioner import Caption, Decoding
from captioner.data.images import ImageError
from rnnkit.errors import UserError
from webui import uploads
from webui.services.caption_files import CaptionRow, sidecar_zip
from webui.services.many_photos import caption_entries, gather
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
    content = sidecar_zip([CaptionRow(name, "a dog") for name in names])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sidecars = archive.namelist()
    assert len(set(sidecars)) == 500 and max(len(name.encode()) for name in sidecars) <= 255


def test_photos_that_came_as_text_leave_no_file_open(tmp_path: Path) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    entries = gather(data_urls([f"{number}.jpg" for number in range(20)]), tmp_path)
    assert len(entries) == 20 and len(list(Path("/dev/fd").iterdir())) == before


class Wordless:
    """Stands in for a worker whose captioner finds no words."""

    def caption(self, photo: Path, decoding: Decoding, *, run: object) -> list[Caption]:
        if photo.read_bytes() != b"ABC":
            raise ImageError("bad.jpg", "no picture at all")
        return [Caption("", -1.5, ())]


def test_a_photo_whose_caption_is_empty_is_done_and_has_its_score(tmp_path: Path) -> None:
    entries = gather(data_urls(["a.jpg", "b.jpg"]), tmp_path)
    assert all(entry.caption is None for entry in entries)
    list(caption_entries(cast(CaptionWorker, Wordless()), entries, Decoding()))
    assert all(entry.caption == "" and not entry.error for entry in entries)
    assert [entry.score for entry in entries] == [-1.5, -1.5]


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
    assert [entry.caption for entry in entries] == [""] + [None] * 399
