"""Uploads: whose files, how large, and what a ZIP may hold."""

from __future__ import annotations

import base64
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from rnnkit.errors import UserError
from webui import uploads
from webui.uploads import Budget, Upload, receive, temporary_folder, unpack


@pytest.fixture
def own(request: pytest.FixtureRequest) -> Path:
    """A file that a visitor uploaded."""
    path = temporary_folder() / f"{abs(hash(request.node.name))}.jpg"
    path.write_bytes(b"bytes of a photo")
    return path


def names_and_reasons(path: Path, folder: Path) -> dict[str, str | bytes]:
    members = unpack(Upload(path.name, path), folder, Budget())
    return {
        name: where if isinstance(where, str) else where.read_bytes() for name, where in members
    }


def test_an_upload_is_found_under_its_own_name(own: Path) -> None:
    upload = receive({"path": str(own), "orig_name": "dog\n.jpg"})
    assert (upload.name, upload.source, upload.size) == ("dog .jpg", own, 16)


@pytest.mark.parametrize("letter", ["a", "é", "山", "\U0001f436"])
def test_a_long_name_keeps_its_end_and_leaves_room_for_a_number(letter: str, own: Path) -> None:
    name = receive({"path": str(own), "orig_name": letter * 300 + ".jpg"}).name
    assert name.endswith(letter + ".jpg") and 140 < len(name.encode()) <= 150


@pytest.mark.parametrize(
    "value", [None, "", {}, {"path": None}, {"path": 3}, [], 7, {"url": ["x"]}]
)
def test_what_is_not_a_file_is_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"there is no file|was not uploaded"):
        receive(value)


def test_no_path_leads_out_of_the_folder_of_uploads(own: Path, tmp_path: Path) -> None:
    link = temporary_folder() / "link.jpg"
    link.symlink_to("/etc/passwd")
    for path in (
        "/etc/passwd",
        f"{own.parent}/../{tmp_path.name}",
        str(link),
        str(own.parent),
        "x\0y",
        "~",
        "x" * 5000,
        __file__,
    ):
        with pytest.raises(UserError, match="was not uploaded to this page"):
            receive({"path": path})
    link.unlink()


@pytest.mark.parametrize("url", ["http://example.com/a.jpg", "https://example.com/a.jpg"])
def test_addresses_are_refused(url: str) -> None:
    for value in ({"path": url}, {"url": url}, url):
        with pytest.raises(UserError, match="addresses are not fetched"):
            receive(value)


def test_a_data_url_is_decoded_within_the_limit() -> None:
    assert receive("data:image/png;base64," + base64.b64encode(b"abc").decode()).source == b"abc"
    with pytest.raises(UserError, match="larger than the limit"):
        receive("data:image/png;base64," + "A" * 4000, limit=1000)
    for damaged in ("data:image/png;base64,a", "data:,abc", "data:image/png;base64,***"):
        with pytest.raises(UserError, match="data URL"):
            receive(damaged)


def test_a_file_over_the_limit_is_refused_with_both_sizes(own: Path) -> None:
    with own.open("wb") as file:
        file.truncate(21 * 2**20)
    with pytest.raises(UserError, match="has 21 MB, more than the limit of 20 MB"):
        receive({"path": str(own)})


def test_a_zips_members_are_written_under_names_of_our_own_and_bad_ones_named_with_their_reason(
    tmp_path: Path,
) -> None:
    path, folder = tmp_path / "a.zip", tmp_path / "out"
    folder.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("deep/photo.jpg", b"one")
        for outside in ("../up.jpg", "/root.jpg", "a/../../b.jpg", "..\\windows.jpg", "C:\\c.jpg"):
            archive.writestr(outside, b"out")
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("__MACOSX/._photo.jpg", b"clutter")
        archive.writestr(".DS_Store", b"clutter")
        archive.writestr(".", b"clutter")
        archive.writestr("deep/", b"")
    members = names_and_reasons(path, folder)
    assert members.pop("deep/photo.jpg") == b"one"
    assert "link" in str(members.pop("link.jpg"))
    assert len(members) == 5 and all("outside" in str(reason) for reason in members.values()), (
        members
    )
    assert [file.name for file in folder.iterdir()] == ["0.jpg"]


def test_a_member_without_a_name_is_a_row_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Xa.jpg", b"one")
        archive.writestr("good.jpg", b"good")
    path.write_bytes(path.read_bytes().replace(b"Xa.jpg", b"\0a.jpg"))
    assert names_and_reasons(path, tmp_path) == {
        "file": "it has no name in the ZIP",
        "good.jpg": b"good",
    }


def test_a_bomb_in_a_zip_stays_in_it(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tight.jpg", bytes(15 * 2**20))
        archive.writestr("large.jpg", bytes(21 * 2**20))
        archive.writestr("good.jpg", b"good")
    members = names_and_reasons(path, tmp_path)
    assert "suspiciously" in str(members["tight.jpg"]) and "21 MB is more than the limit" in str(
        members["large.jpg"]
    )
    assert members["good.jpg"] == b"good"


def test_sizes_that_lie_are_found_out_while_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_PHOTO", 1000)
    path = tmp_path / "lie.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("lie.jpg", bytes(5000))
    data = path.read_bytes().replace(struct.pack("<II", 5000, 5000), struct.pack("<II", 5000, 10))
    path.write_bytes(data)
    (reason,) = names_and_reasons(path, tmp_path).values()
    assert isinstance(reason, str) or len(reason) <= 1000


def test_too_many_members_or_bytes_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(30):
            archive.writestr(f"{number}.jpg", b"x" * 100)
    monkeypatch.setattr(uploads, "MAX_PHOTOS", 29)
    with pytest.raises(
        UserError, match=r"many\.zip holds 30 files, more than the 29 left of 29 at a time"
    ):
        names_and_reasons(path, tmp_path)
    monkeypatch.setattr(uploads, "MAX_PHOTOS", 30)
    monkeypatch.setattr(uploads, "MAX_UNPACKED", 2999)
    with pytest.raises(UserError, match="when unpacked"):
        names_and_reasons(path, tmp_path)


@pytest.mark.parametrize("says", ["the truth", "one file"])
def test_a_huge_index_is_refused_before_it_is_parsed(
    says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "names.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(6000):
            archive.writestr(f"__MACOSX/{number:0150}", b"")
    if says == "one file":
        data = bytearray(path.read_bytes())
        struct.pack_into("<HH", data, len(data) - 14, 1, 1)
        path.write_bytes(data)
    monkeypatch.setattr(zipfile, "ZipInfo", None)  # made for each entry of an index
    with pytest.raises(UserError, match=r"names\.zip holds far more files than the limit of 500"):
        names_and_reasons(path, tmp_path)


def test_five_hundred_photos_with_long_names_and_a_macs_clutter_are_not_too_much(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mac.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(500):
            archive.writestr(f"{'holiday/' * 25}{number}.jpg", b"x")
            archive.writestr(f"__MACOSX/{'holiday/' * 25}._{number}.jpg", b"clutter")
    assert len(names_and_reasons(path, tmp_path)) == 500


def test_a_damaged_zip_is_refused_in_a_sentence_and_a_damaged_member_is_a_row(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cut.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", b"abcdefgh" * 50)
        archive.writestr("b.jpg", b"fine")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"abcdefgh" * 50, b"abcdefgX" * 50))
    members = names_and_reasons(path, tmp_path)
    assert "damaged in the ZIP" in str(members["a.jpg"]) and members["b.jpg"] == b"fine"
    path.write_bytes(whole[:60])
    with pytest.raises(UserError, match="cannot be read as a ZIP"):
        names_and_reasons(path, tmp_path)
