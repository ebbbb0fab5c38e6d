"""Captions inside photos: others can read them, and nothing else in the file changes."""

from __future__ import annotations

import errno
import io
import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from captioner.outputs.photo_metadata import MetadataOutput
from captioner.outputs.xmp_exif import EmbedError, read_description, with_description
from captioner.types import Caption, CaptionResult
from rnnkit.errors import UserError

Run = Callable[..., tuple[int, str, str]]
NOTE = b"\x01\x02maker's own offsets\xff" * 9


def picture(kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((60, 40)).convert("RGB").save(stream, kind, **options)
    return stream.getvalue()


def camera_jpeg(order: str = "<") -> bytes:
    """A JPEG with EXIF as a camera writes it: a description, an orientation, and a maker's note
    that is not to move.
    """
    text = b"OLYMPUS DIGITAL CAMERA\0"
    entries = [
        (270, 2, len(text), 100),
        (274, 3, 1, 6 if order == "<" else 6 << 16),
        (37500, 7, len(NOTE), 130),
    ]
    exif = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    exif += b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries) + struct.pack(
        f"{order}I", 0
    )
    return picture("JPEG", exif=b"Exif\0\0" + exif.ljust(100, b"\0") + text.ljust(30, b"\0") + NOTE)


def other_segments(jpeg: bytes) -> list[bytes]:
    """Everything in a JPEG but EXIF and XMP; the compressed picture comes last."""
    place, found = 2, []
    while jpeg[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
        if jpeg[place + 1] != 0xE1:
            found.append(jpeg[place:end])
        place = end
    return [*found, jpeg[place:]]


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    place, found = 8, []
    while place < len(png):
        length = int.from_bytes(png[place : place + 4], "big")
        name, body = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        assert png[place + 8 + length :][:4] == struct.pack(">I", zlib.crc32(name + body))
        found.append((name, body))
        place += 12 + length
    return found


def as_pillow_reads(data: bytes) -> tuple[str, str]:
    """EXIF's and XMP's description by another program."""
    with Image.open(io.BytesIO(data)) as image:
        exif = image.getexif()[270]
        (about,) = [image.getxmp()["xmpmeta"]["RDF"]["Description"]]
    items = about["description"]["Alt"]["li"]
    item = items[0] if isinstance(items, list) else items
    return exif, item["text"]


@given(
    texts=st.lists(
        st.text(st.sampled_from("ab <&>'\"é🐕\n"), min_size=1, max_size=300)
        .map(str.strip)
        .filter(bool),
        min_size=1,
        max_size=3,
    )
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "camera <", "camera >"])
def test_the_last_text_written_is_the_one_read_and_the_picture_is_bit_for_bit_the_same(
    kind: str, texts: list[str]
) -> None:
    before = camera_jpeg(kind[-1]) if kind.startswith("camera") else picture(kind)
    data = before
    for text in texts:
        data = with_description(data, text)
        assert read_description(data) == text
    if kind == "PNG":
        assert [chunk for chunk in chunks(data) if chunk[0] not in (b"eXIf", b"iTXt")] == chunks(
            before
        )
        assert (
            [name for name, _ in chunks(data)].count(b"eXIf")
            == [name for name, _ in chunks(data)].count(b"iTXt")
            == 1
        )
    else:
        assert other_segments(data) == other_segments(before)
    with Image.open(io.BytesIO(before)) as old, Image.open(io.BytesIO(data)) as new:
        assert new.tobytes() == old.tobytes() and new.getexif().get(274) == old.getexif().get(274)


@pytest.mark.parametrize(
    "text", ["a dog & <a cat>", "a", "abcd", "a dog that runs through the snow with another dog"]
)
@pytest.mark.parametrize(
    "data", [picture("JPEG"), picture("PNG"), camera_jpeg("<"), camera_jpeg(">")]
)
def test_another_program_reads_it_in_exif_and_in_xmp(data: bytes, text: str) -> None:
    assert as_pillow_reads(with_description(data, text)) == (text, text)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_characters_that_xml_cannot_hold_are_left_out_and_the_rest_is_valid(kind: str) -> None:
    text = "a \x00\x0b\ufffe\uffff\ud800\udfffdog\t\U0001f415\ue000"
    data = with_description(picture(kind), text)
    assert read_description(data) == "a dog\t\U0001f415\ue000"
    assert as_pillow_reads(data)[1] == "a dog\t\U0001f415\ue000"


def test_a_picture_without_any_segment_is_described_too() -> None:
    assert read_description(with_description(b"\xff\xd8\xff\xda\x00\x02", "a dog")) == "a dog"


@pytest.mark.parametrize("order", "<>")
def test_what_a_maker_hid_in_exif_stays_where_it_was(order: str) -> None:
    before = camera_jpeg(order)
    assert read_description(before) == "OLYMPUS DIGITAL CAMERA"
    for text in ("short", "much longer than what the camera had to say about it"):
        after = with_description(before, text)
        assert after.index(NOTE) - after.index(b"Exif\0\0") == before.index(NOTE) - before.index(
            b"Exif\0\0"
        )
        with Image.open(io.BytesIO(after)) as image:
            assert image.getexif()[37500] == NOTE and image.getexif()[274] == 6


def test_writing_again_and_again_does_not_let_a_photo_grow() -> None:
    data = with_description(picture("JPEG"), "x" * 80)
    for number in range(100):
        data = with_description(data, f"{number}".rjust(80, "x"))
    assert len(data) < len(picture("JPEG")) + 1000


XMP = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/>
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:own="http://example.org/own/">
<own:thing>kept</own:thing>
<dc:description><rdf:Alt>
<rdf:li xml:lang="x-default">my words</rdf:li><rdf:li xml:lang="de">meine Worte</rdf:li>
</rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def with_xmp(kind: str, xmp: str, *, packed: bool = False) -> bytes:
    if kind == "JPEG":
        body = b"http://ns.adobe.com/xap/1.0/\0" + xmp.encode()
        return (
            picture("JPEG")[:2]
            + b"\xff\xe1"
            + struct.pack(">H", len(body) + 2)
            + body
            + picture("JPEG")[2:]
        )
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp, zip=packed)
    return picture("PNG", pnginfo=info)


@pytest.mark.parametrize(("kind", "packed"), [("JPEG", False), ("PNG", False), ("PNG", True)])
def test_everything_else_that_xmp_says_is_kept(kind: str, packed: bool) -> None:
    data = with_xmp(kind, XMP, packed=packed)
    assert read_description(data) == "my words"
    after = with_description(data, "a dog")
    assert read_description(after) == "a dog"
    for said in (b'Rating="4"', b"kept</own:thing>", b"meine Worte", b"http://example.org/own/"):
        assert said in after
    assert b"my words" not in after


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (picture("GIF"), "JPEG and PNG only"),
        (picture("WEBP"), "JPEG and PNG only"),
        (b"", "JPEG and PNG only"),
        (picture("JPEG")[:40], "damaged or cut short"),
        (picture("PNG")[:40], "damaged or cut short"),
        (b"\xff\xd8", "damaged or cut short"),
        (b"\xff\xd8\xff\xe0\0\0" * 9, "damaged or cut short"),
        (with_xmp("JPEG", "<x:xmpmeta>"), "its XMP is damaged"),
        (with_xmp("JPEG", '<!DOCTYPE a [<!ENTITY b "c">]>' + XMP), "its XMP is damaged"),
        (with_xmp("JPEG", "<a/>"), "its XMP is damaged"),
        (picture("JPEG", exif=b"Exif\0\0II*\0\xff\xff\0\0"), "its EXIF is damaged"),
        (picture("JPEG", exif=b"Exif\0\0no exif"), "its EXIF is damaged"),
        (
            picture("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0".ljust(65500, b"\0")),
            "there is no room",
        ),
    ],
)
def test_a_photo_into_which_nothing_can_be_written_says_why(data: bytes, said: str) -> None:
    with pytest.raises(EmbedError, match=said):
        with_description(data, "a dog runs through the snow")


@given(data=st.data(), cut=st.booleans())
@pytest.mark.parametrize("whole", [camera_jpeg(), with_xmp("PNG", XMP, packed=True)])
def test_damage_anywhere_is_an_embed_error_or_none(
    whole: bytes, data: st.DataObject, cut: bool
) -> None:
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = (
        whole[:place]
        if cut
        else whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :]
    )
    try:
        assert read_description(with_description(damaged, "a dog")) == "a dog"
        read_description(damaged)
    except EmbedError:
        pass


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def album(photos: Path) -> Path:
    """A JPEG and, one folder deeper, a PNG."""
    for extra in ("bad.jpg", "2.webp", "3.jpeg", "4.gif"):
        (photos / extra).unlink()
    (photos / "deeper").mkdir()
    (photos / "1.PNG").rename(photos / "deeper" / "1.PNG")
    return photos


def test_copies_say_their_captions_and_the_photos_are_as_they_were(
    caption: Run, album: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in album.rglob("*.*")}
    (album / "0.jpg").chmod(0o640)
    said = dict(line.split("\t") for line in caption(album, "--recursive")[1].splitlines())
    assert caption(album, "--recursive", "--embed", "--output", tmp_path / "a" / "copies")[:2] == (
        0,
        "",
    )
    for path, data in before.items():
        assert path.read_bytes() == data
        copy = tmp_path / "a" / "copies" / path.relative_to(album)
        assert read_description(copy.read_bytes()) == said[str(path)]
    assert (tmp_path / "a" / "copies" / "0.jpg").stat().st_mode & 0o777 == 0o640
    assert (
        "captioned 0, skipped 2"
        in caption(album, "--recursive", "--embed", "--output", tmp_path / "a" / "copies")[2]
    )


def test_photos_are_changed_in_place_only_when_asked_and_skipped_when_they_say_something(
    caption: Run, album: Path
) -> None:
    photo = album / "0.jpg"
    photo.chmod(0o604)
    assert caption(album, "--embed", "--in-place")[0] == 0
    text = read_description(photo.read_bytes())
    assert text and photo.stat().st_mode & 0o777 == 0o604
    photo.write_bytes(with_description(photo.read_bytes(), "my own words"))
    before = photo.read_bytes()
    assert caption(album, "--embed", "--in-place")[0] == 0
    assert photo.read_bytes() == before
    for _ in range(2):
        caption(album, "--embed", "--in-place", "--existing", "append")
        assert read_description(photo.read_bytes()) == f"my own words\n{text}"
    caption(album, "--embed", "--in-place", "--existing", "overwrite")
    assert read_description(photo.read_bytes()) == text
    assert not list(album.glob(".*"))


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_photo_behind_a_link_is_changed_and_the_link_stays(
    caption: Run, album: Path, tmp_path: Path
) -> None:
    (tmp_path / "link.jpg").symlink_to(album / "0.jpg")
    caption(tmp_path / "link.jpg", "--embed", "--in-place")
    assert (tmp_path / "link.jpg").is_symlink() and read_description((album / "0.jpg").read_bytes())


def test_a_format_that_cannot_say_anything_is_a_failure_with_its_reason(
    caption: Run, photos: Path, tmp_path: Path
) -> None:
    code, _, err = caption(photos, "--embed", "--output", tmp_path / "copies")
    assert code == 1
    assert (
        "2.webp: a caption can be written into JPEG and PNG only" in err
        and "captioned 3, skipped 0, failed 3" in err
    )
    assert sorted(path.name for path in (tmp_path / "copies").iterdir()) == [
        "0.jpg",
        "1.PNG",
        "3.jpeg",
    ]


def test_a_folder_that_cannot_be_written_fails_its_photos_only_and_a_full_disk_the_run(
    caption: Run, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, reason = Path.replace, errno.EACCES

    def refusing(self: Path, target: Path) -> Path:
        if target.parent.name == "deeper":
            raise OSError(reason, os.strerror(reason))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refusing)
    code, _, err = caption(album, "--recursive", "--embed", "--in-place", "--batch-size", 1)
    assert code == 1
    assert (
        f"{album / 'deeper' / '1.PNG'}: cannot be rewritten (Permission denied)\n" in err
        and "captioned 1, skipped 0, failed 1 " in err
    )
    assert read_description((album / "0.jpg").read_bytes())
    assert len(list((album / "deeper").iterdir())) == 1
    reason = errno.ENOSPC
    code, _, err = caption(album, "--recursive", "--embed", "--in-place", "--existing", "overwrite")
    assert code == 1 and "the disk is full" in err


def test_a_photo_that_vanishes_before_its_caption_is_there_is_a_failure_with_its_reason(
    album: Path, tmp_path: Path
) -> None:
    row = CaptionResult(tmp_path / "gone.jpg", (Caption("a dog", -1.0, ()),))
    with MetadataOutput([row.path], "skip", tmp_path / "copies") as write:
        assert write(row) == "cannot be rewritten (no such file)"


def test_copies_that_would_fall_together_or_on_the_photos_are_named_first(
    caption: Run, album: Path, tmp_path: Path
) -> None:
    (album / "deeper" / "0.jpg").write_bytes((album / "0.jpg").read_bytes())
    code, _, err = caption(
        album / "0.jpg", album / "deeper" / "0.jpg", "--embed", "--output", tmp_path / "copies"
    )
    assert code == 2
    assert "would both be copied to" in err and not (tmp_path / "copies").exists()
    code, _, err = caption(album, "--embed", "--output", album)
    assert code == 2
    assert "which is one of the photos: choose another --output, or use --in-place" in err
    assert os.listdir(album / "deeper")  # noqa: PTH208 - any will do


@pytest.mark.parametrize(
    ("outside", "folder"), [("../b.jpg", "../out"), ("../q/b.jpg", "copies"), ("../b.jpg", ".")]
)
def test_copies_lie_in_their_folder_and_leave_photos_alone_wherever_those_are(
    outside: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    for place in (here / "deeper" / "a.jpg", here / outside):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(picture("JPEG"))
    monkeypatch.chdir(here)
    photos = [Path(outside)] if folder == "." else [Path("deeper/a.jpg"), Path(outside)]
    with MetadataOutput(photos, "skip", Path(folder), [Path()]) as write:
        for photo in photos:
            assert write(CaptionResult(photo, (Caption("a dog", -1.0, ()),))) is None
            assert photo.read_bytes() == picture("JPEG")
    assert read_description((Path(folder) / "b.jpg").read_bytes()) == "a dog"


@pytest.mark.parametrize(
    ("photos", "folder", "reason"),
    [
        (["deeper/a.jpg", "a.jpg"], ".", "'a.jpg', which is one of the photos"),
        (["deeper/a.jpg", "link.jpg"], "copies", "a.jpg', which is one of the photos"),
        (["deeper/a.jpg"], "linked", "because of a link in 'linked'"),
    ],
)
def test_a_copy_that_would_be_another_photo_or_leave_its_folder_is_refused(
    photos: list[str], folder: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "deeper/a.jpg", "copies/a.jpg"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(picture("JPEG"))
    Path("link.jpg").symlink_to("copies/a.jpg")
    Path("linked").mkdir()
    Path("linked/deeper").symlink_to(tmp_path, target_is_directory=True)
    roots = [Path()] if folder == "linked" else []
    with pytest.raises(UserError, match=reason):
        MetadataOutput([Path(name) for name in photos], "overwrite", Path(folder), roots)


def test_copies_inside_the_photos_folder_are_not_taken_for_photos(
    caption: Run, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(album)
    Path("copies/deeper").mkdir(parents=True)
    Path("copies/deeper/1.PNG").write_bytes(b"from the run before")
    for paths in (["."], ["**/*.jpg", "**/*.PNG"]):
        _, out, _ = caption(
            *paths,
            "--recursive",
            "--embed",
            "--output",
            "copies",
            "--dry-run",
            "--existing",
            "skip",
        )
        assert sorted(line.split("\t")[1] for line in out.splitlines()) == ["0.jpg", "deeper/1.PNG"]
