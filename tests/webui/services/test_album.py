"""An album: edits and their undo, what the captioner brings meanwhile, captions that come along."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator

import pytest
from PIL import Image

from captioner import Caption
from captioner.data.images import ImageError
from rnnkit.errors import UserError
from webui.services import album as album_module
from webui.services.album import Album, PhotoRow, Wording, checked_caption
from webui.services.album_pictures import SIDES, picture
from webui.services.album_run import AlbumRun
from webui.services.albums import Albums
from webui.uploads import temporary_folder

MODEL = Wording("a dog", "model", -0.5, 0.8)


@pytest.fixture
def album() -> Iterator[Album]:
    """Three photos that the model has captioned."""
    made = Album()
    made.restore(PhotoRow(0, f"{name}.jpg", wording=MODEL, own=MODEL) for name in "abc")
    yield made
    made.close()


def texts(album: Album) -> list[str]:
    return [row.wording.text if row.wording else "" for row in album.rows]


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (600, 400), "green").save(file, "JPEG")
    return file.getvalue()


def sent(name: str, content: bytes) -> dict[str, str]:
    """A file as a client names it after it was uploaded."""
    path = temporary_folder() / f"{abs(hash((name, content)))}"
    path.write_bytes(content)
    return {"path": str(path), "orig_name": name}


def test_letters_typed_into_one_field_are_undone_together_and_redone(album: Album) -> None:
    for text in ("m", "mi", "mine"):
        album.edit({1: text}, "first field")
    album.edit({2: "yours"}, "second field")
    album.undo()
    assert texts(album) == ["mine", "a dog", "a dog"]
    album.undo()
    assert texts(album) == ["a dog"] * 3 and album.rows[0].wording == MODEL
    album.undo()  # there is nothing left
    album.redo()
    assert texts(album) == ["mine", "a dog", "a dog"] and album.rows[0].edited
    album.edit({3: "new"}, "third field")
    album.redo()  # what was taken back before an edit is gone
    assert texts(album) == ["mine", "a dog", "new"]


def test_a_caption_typed_back_as_it_was_is_the_models_again_with_its_score(album: Album) -> None:
    album.edit({1: "a dog runs"}, "field")
    assert album.to_write()[0].edited and math.isnan(album.to_write()[0].score)
    assert album.to_write()[0].confidence is None
    album.edit({1: "a dog"}, "field")
    assert album.rows[0].status == "ok" and album.to_write()[0].score == -0.5
    assert album.changes(0)["undo"] is False


def test_an_edit_made_while_the_captioner_works_stays_and_its_undo_shows_the_models(
    album: Album,
) -> None:
    row = PhotoRow(0, "new.jpg")
    album.restore([row])
    album.edit({row.id: "mine"}, "field")
    album.finish(row, None, Caption("a cat", -0.1, ()), "run")
    assert texts(album)[-1] == "mine" and row.own is not None
    album.undo()
    assert texts(album)[-1] == "a cat" and row.status == "ok"


def test_captioning_again_is_undone_as_a_whole(album: Album) -> None:
    album.edit({1: "mine"}, "field")
    for row in album.rows:
        album.finish(row, row.wording, Caption("a horse", -0.1, ()), "run")
    assert texts(album) == ["a horse"] * 3
    album.undo()
    assert texts(album) == ["mine", "a dog", "a dog"]


def test_a_photo_that_cannot_be_captioned_after_all_says_why(album: Album) -> None:
    row = PhotoRow(0, "new.jpg")
    album.restore([row])
    album.finish(row, None, ImageError("new.jpg", "damaged"), "run")
    assert (row.status, row.error) == ("failed", "Damaged.")
    album.edit({row.id: "a caption of nothing"}, "field")
    assert row.wording is None


def test_only_what_has_changed_is_sent(album: Album) -> None:
    before = album.version
    album.edit({2: "mine"}, "field")
    changes = album.changes(before)
    assert [row["name"] for row in changes["rows"]] == ["b.jpg"]  # type: ignore[attr-defined]
    assert changes["order"] is None
    album.remove([1])
    assert album.changes(before)["order"] == [2, 3]


def test_the_changes_that_can_be_undone_are_bounded(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(album_module, "MAX_HISTORY", 100)
    for number in range(50):
        album.edit({1: f"caption number {number}"}, f"step {number}")
    undone = 0
    while album.changes(0)["undo"]:
        album.undo()
        undone += 1
    assert 1 <= undone <= 5


def test_captions_come_in_with_their_photos_in_a_zip_and_among_the_files() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("x/one.jpg", jpeg())
        file.writestr("x/one.txt", "\ufeff one of mine \n")
        file.writestr("readme.txt", "no caption")
    album = Album()
    added = album.add([sent("two.caption", b"two of mine"), sent("all.zip", archive.getvalue())])
    assert added.notes == ["2 caption files match no photo: readme.txt, two.caption."]
    assert added.repeated == []
    added = album.add([sent("two.jpg", jpeg()), sent("bad.jpg", b"bad")])
    assert added.notes == ["readme.txt matches no photo."]
    assert added.repeated == [2]  # the same photo as in the ZIP
    rows = {row.name: row for row in album.rows}
    assert {name: row.status for name, row in rows.items()} == {
        "x/one.jpg": "given",
        "two.jpg": "given",
        "bad.jpg": "failed",
    }
    assert [row.caption for row in album.to_write()] == ["one of mine", "two of mine", ""]
    row = rows["two.jpg"]
    assert row.path is not None and row.path.is_relative_to(album.folder)
    run = AlbumRun(album, [row.id for row in album.rows], replace=False, seen=lambda: 0)
    assert run.as_json()["total"] == 0  # captions that came along are not replaced unasked
    small = picture(album, row, "small")
    assert small is not None and max(Image.open(small).size) == SIDES["small"]
    album.remove([row.id])
    assert not small.exists()
    album.close()
    assert not album.folder.exists()


def test_photos_added_again_join_the_captions_that_were_brought_back(album: Album) -> None:
    album.edit({2: "mine"}, "field")
    added = album.add([sent("b.jpg", jpeg()), sent("c.jpg", jpeg())])
    assert added.repeated == []  # they have captions, which must not be skipped with them
    assert len(album.rows) == 3 and album.rows[1].path is not None
    assert texts(album) == ["a dog", "mine", "a dog"]


def test_no_more_photos_are_taken_than_the_limit(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(album_module, "MAX_PHOTOS", 4)
    with pytest.raises(UserError, match="5 photos are more than the limit of 4"):
        album.add([sent(f"{number}.jpg", jpeg()) for number in range(2)])
    assert album.add([sent("one.jpg", jpeg())]) == ([], [])
    with pytest.raises(UserError, match="there are 4 photos already"):
        album.add([sent("two.jpg", jpeg())])


@pytest.mark.parametrize("text", ["x" * 2001, "half \ud800", 5, None])
def test_a_caption_that_no_file_could_hold_is_refused(text: object) -> None:
    with pytest.raises(UserError):
        checked_caption(text)


def test_albums_expire_and_whoever_has_the_most_gives_one_up() -> None:
    albums = Albums(capacity=3)
    first, _ = albums.new("1.1.1.1")
    second, visit = albums.new("2.2.2.2")
    third, _ = albums.new("1.1.1.1")
    albums.find(first)
    albums.new("3.3.3.3")
    assert albums.find(third) is None and albums.find(first) and albums.find(second)
    assert len({first, second, third}) == 3 and len(first) >= 32
    visit.seen -= 100
    albums.expire(50)
    assert albums.find(second) is None and not visit.album.folder.exists()
    assert len(list(albums)) == 2
    for each in albums:
        each.album.close()
