"""Opening pictures: what is accepted, how it is changed, and what is refused."""

from __future__ import annotations

import gc
import io
import os
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import captioner
from captioner.data import images
from captioner.data.images import IMAGE_FORMATS, ImageError, open_image, pixel_count

GREEN, RED = (30, 160, 60), (200, 30, 30)


def encoded(picture: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def two_halves(width: int = 64, height: int = 48) -> Image.Image:
    """Red on the left, green on the right."""
    picture = Image.new("RGB", (width, height), RED)
    picture.paste(GREEN, (width // 2, 0, width, height))
    return picture


def near(found: tuple[int, ...] | float | None, wanted: tuple[int, ...], tolerance: int) -> bool:
    assert isinstance(found, tuple)
    return all(abs(a - b) <= tolerance for a, b in zip(found, wanted, strict=True))


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own, in the folder."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(captioner.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a hundred bytes whose header claims any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(50)))
        + chunk(b"IEND", b"")
    )


# --- formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", IMAGE_FORMATS)
@pytest.mark.parametrize("ending", ["right", "wrong"])
def test_a_format_is_told_by_content_whatever_the_name_says(
    format: str, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / ("photo.txt" if ending == "wrong" else f"photo.{format.lower()}")
    path.write_bytes(encoded(two_halves(), format))
    picture = open_image(path)
    assert (picture.mode, picture.size) == ("RGB", (64, 48))
    assert near(picture.getpixel((10, 24)), RED, 12) and near(picture.getpixel((54, 24)), GREEN, 12)


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "file", "picture"])
def test_every_kind_of_source_gives_the_same_picture(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    two_halves().save(path)
    if kind == "file":
        with path.open("rb") as file:
            picture = open_image(file)
            assert not file.closed, "what the caller opened is the caller's to close"
    else:
        sources: dict[str, str | Path | bytes | Image.Image] = {
            "path": path,
            "text": str(path),
            "bytes": path.read_bytes(),
            "picture": two_halves(),
        }
        picture = open_image(sources[kind])
    assert picture.tobytes() == two_halves().tobytes()


def test_a_picture_given_is_not_changed() -> None:
    given = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert open_image(given).getpixel((0, 0)) == (255, 255, 255)
    assert given.mode == "RGBA" and given.getpixel((0, 0)) == (255, 0, 0, 0)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_an_animation_gives_its_first_frame(format: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, GREEN, (0, 0, 250))]
    picture = open_image(encoded(frames[0], format, save_all=True, append_images=frames[1:]))
    assert near(picture.getpixel((16, 16)), RED, 10)


def test_a_phones_jpeg_of_several_pictures_gives_the_first() -> None:
    data = encoded(two_halves(), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48))])
    with Image.open(io.BytesIO(data)) as pillow:
        assert pillow.format == "MPO"
    assert near(open_image(data, size=(32, 32)).getpixel((2, 10)), RED, 12)


# --- orientation ----------------------------------------------------------------------------------


UPRIGHT: dict[
    int, Callable[[np.ndarray], np.ndarray]
] = {  # stored pixels -> how EXIF says they are to be seen
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_a_photo_is_turned_as_its_exif_says(format: str, orientation: int) -> None:
    stored = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if format == "WEBP" else {}
    data = encoded(Image.fromarray(stored), format, exif=exif.tobytes(), **lossless)
    np.testing.assert_array_equal(np.asarray(open_image(data)), UPRIGHT[orientation](stored))


def test_a_photo_lying_on_its_side_is_turned_after_a_quick_decoding_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the stored top is the right-hand side
    data = encoded(two_halves(1600, 1200).rotate(90, expand=True), "JPEG", exif=exif.tobytes())
    picture = open_image(data, size=(200, 200))
    assert picture.width > picture.height >= 200
    assert near(picture.getpixel((5, 50)), RED, 12) and near(
        picture.getpixel((picture.width - 5, 50)), GREEN, 12
    )


# --- colours --------------------------------------------------------------------------------------


def test_what_is_transparent_becomes_white_and_not_the_colour_hidden_there() -> None:
    layer = Image.new("RGBA", (3, 1))
    layer.putdata([(255, 0, 0, 0), (255, 0, 0, 255), (255, 0, 0, 128)])
    for data in (
        encoded(layer, "PNG"),
        encoded(layer, "WEBP", lossless=True, exact=True),
        encoded(layer, "TIFF"),
    ):
        picture = open_image(data)
        assert picture.getpixel((0, 0)) == (255, 255, 255)
        assert picture.getpixel((1, 0)) == (255, 0, 0)
        assert near(picture.getpixel((2, 0)), (255, 127, 127), 1)


def test_grey_with_alpha_is_laid_on_white() -> None:
    layer = Image.new("LA", (2, 1))
    layer.putdata([(0, 0), (40, 255)])
    picture = open_image(encoded(layer, "PNG"))
    assert [picture.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (40, 40, 40)]


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_a_palettes_transparent_colour_becomes_white(format: str) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    opened = open_image(encoded(picture, format, transparency=0))
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 255)]


@pytest.mark.parametrize(
    ("mode", "key", "other"), [("RGB", (255, 0, 0), (0, 0, 255)), ("L", 90, 20)]
)
def test_a_png_colour_that_counts_as_transparent_becomes_white(
    mode: str, key: int | tuple[int, int, int], other: int | tuple[int, int, int]
) -> None:
    picture = Image.new(mode, (2, 1), other)
    picture.putpixel((0, 0), key)
    opened = open_image(encoded(picture, "PNG", transparency=key))
    assert opened.getpixel((0, 0)) == (255, 255, 255)
    assert opened.getpixel((1, 0)) == (other if isinstance(other, tuple) else (other,) * 3)


def test_a_palette_gives_its_colours() -> None:
    picture = open_image(encoded(two_halves().quantize(4), "PNG"))
    assert near(picture.getpixel((10, 10)), RED, 4) and near(picture.getpixel((60, 10)), GREEN, 4)


def test_grey_and_black_and_white_pictures_become_rgb() -> None:
    assert open_image(encoded(Image.new("L", (4, 4), 77), "PNG")).getpixel((0, 0)) == (77, 77, 77)
    assert open_image(encoded(Image.new("1", (4, 4), 1), "PNG")).getpixel((0, 0)) == (255, 255, 255)


def test_a_cmyk_jpeg_keeps_its_colours() -> None:
    printed = Image.new("CMYK", (32, 32), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    red = open_image(encoded(printed, "JPEG", quality=95)).getpixel((16, 16))
    assert near(red, (255, 0, 0), 12)


RAMP = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
SCALED = np.rint(RAMP / 65535 * 255).astype(np.uint8)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(format: str) -> None:
    picture = open_image(encoded(Image.fromarray(RAMP), format))
    np.testing.assert_array_equal(np.asarray(picture), np.repeat(SCALED[..., None], 3, axis=2))


def test_a_dark_sixteen_bit_photo_stays_dark() -> None:
    assert open_image(encoded(Image.fromarray(RAMP // 4), "PNG")).getextrema()[0] == (0, 64)


def test_big_endian_sixteen_bits_are_read_in_their_order() -> None:
    picture = Image.frombytes("I;16B", (8, 8), RAMP.astype(">u2").tobytes())
    np.testing.assert_array_equal(np.asarray(open_image(picture))[..., 0], SCALED)


def test_colours_of_sixteen_bits_are_scaled_and_not_clipped() -> None:
    rows = b"".join(b"\0" + struct.pack(">HHH", 65535, 32768, 257) * 4 for _ in range(4))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    assert near(open_image(data).getpixel((1, 1)), (255, 128, 1), 1)


@pytest.mark.parametrize("scale", [1.0, 4000.0])
def test_floating_point_tiffs_are_scaled_and_not_clipped(scale: float) -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    picture = np.asarray(open_image(encoded(Image.fromarray(ramp * scale), "TIFF")))[..., 0]
    np.testing.assert_array_equal(picture, np.rint(ramp * 255))


def test_a_floating_point_tiff_with_holes_is_read() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    ramp[0, 0], ramp[0, 1] = np.nan, np.inf
    picture = np.asarray(open_image(encoded(Image.fromarray(ramp), "TIFF")))
    assert picture[0, 0, 0] == picture[0, 1, 0] == 0 and picture[-1, -1, 0] == 255


def test_whole_numbers_of_thirty_two_bits_are_scaled() -> None:
    wide = Image.fromarray(np.linspace(-1_000_000, 3_000_000, 64, dtype=np.int32).reshape(8, 8))
    assert open_image(encoded(wide, "TIFF")).getextrema()[0] == (0, 255)


def test_an_even_floating_point_picture_is_read() -> None:
    assert open_image(Image.new("F", (4, 4), 12.5)).size == (4, 4)


# --- large photos ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large() -> bytes:
    """A photo of twelve megapixels, with light, edges and some grain."""
    y, x = np.mgrid[0:3000, 0:4000].astype(np.float32)
    light = np.stack([x / 4000, y / 3000, 0.5 + 0.5 * np.sin(x / 150) * np.cos(y / 200)], axis=2)
    grain = np.random.default_rng(0).normal(0, 0.02, (3000, 4000, 1))
    return encoded(
        Image.fromarray((np.clip(light + grain, 0, 1) * 255).astype(np.uint8)), "JPEG", quality=88
    )


def test_a_large_jpeg_is_decoded_small_and_looks_the_same(large: bytes) -> None:
    quick, full = open_image(large, size=(260, 260)), open_image(large)
    assert full.size == (4000, 3000) and quick.size == (500, 375)
    squashed = [
        np.asarray(picture.resize((260, 260), Image.Resampling.BICUBIC, reducing_gap=3.0), float)
        for picture in (quick, full)
    ]
    assert np.abs(squashed[0] - squashed[1]).mean() < 2


def test_decoding_small_is_quicker(large: bytes) -> None:
    def seconds(size: tuple[int, int] | None) -> float:
        started = time.thread_time()  # other tests run at the same time
        open_image(large, size=size)
        return time.thread_time() - started

    small, full = zip(*((seconds((260, 260)), seconds(None)) for _ in range(5)), strict=True)
    assert min(small) < 0.7 * min(full)


@pytest.mark.parametrize("side", [100, 259, 260, 500, 1001])
def test_decoding_small_is_never_smaller_than_asked_for(side: int, large: bytes) -> None:
    assert min(open_image(large, size=(side, side)).size) >= side


def a_picture(mode: str) -> Image.Image:
    """117 x 83 pixels of a mode: light, edges, and what is transparent at the top."""
    y, x = np.mgrid[0:83, 0:117].astype(np.float32)
    if mode in ("I;16", "I", "F"):
        kinds = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
        return Image.fromarray(
            (x * 400 + y * 7 - (0 if mode == "I;16" else 90)).astype(kinds[mode])
        )
    layer = np.stack([x * 2, y * 3, 255 - x * 2, np.where(y < 30, 0, 200)], axis=2).astype(np.uint8)
    return Image.fromarray(layer).convert(mode)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P", "1", "CMYK", "I;16", "I", "F"])
def test_a_picture_converted_tile_by_tile_is_the_same(
    mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(a_picture(mode), "TIFF" if mode in ("CMYK", "I", "F") else "PNG", exif=exif)
    whole = open_image(data)
    monkeypatch.setattr(images, "_TILE", 16)
    assert whole.size == ((117, 83) if orientation == 1 else (83, 117))
    np.testing.assert_array_equal(np.asarray(open_image(data)), np.asarray(whole))
    np.testing.assert_array_equal(
        np.asarray(open_image(open_image(data))), np.asarray(whole), "turned once only"
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16", "I", "F"])
def test_a_very_large_picture_comes_shrunk_and_looks_the_same(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(a_picture(mode), "TIFF" if mode in ("I", "F") else "PNG")
    whole = open_image(data)
    monkeypatch.setattr(images, "_TILE", 50)
    monkeypatch.setattr(images, "LARGE_PIXELS", 5000)
    shrunk = open_image(data, size=(13, 10))
    assert shrunk.size == (59, 42) and open_image(data).size == (117, 83)
    squashed = [
        np.asarray(picture.resize((13, 10), Image.Resampling.BICUBIC, reducing_gap=3.0), float)
        for picture in (shrunk, whole)
    ]
    assert np.abs(squashed[0] - squashed[1]).mean() < 2


def test_no_colour_hidden_in_transparency_comes_through_where_a_very_large_picture_is_shrunk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = Image.new("RGBA", (60, 60), (255, 0, 0, 0))
    layer.paste((0, 0, 255, 255), (31, 0, 60, 60))
    monkeypatch.setattr(images, "_TILE", 16)
    monkeypatch.setattr(images, "LARGE_PIXELS", 100)
    red, green, blue = np.asarray(open_image(encoded(layer, "PNG"), size=(10, 10))).reshape(-1, 3).T
    assert (
        len(red) == 30 * 30 and set(blue) == {255} and (red == green).all()
    )  # only white, blue and between them


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of memory is read where Linux tells it"
)
@pytest.mark.parametrize("mode", ["I;16", "RGBA"])
def test_a_very_large_picture_takes_little_more_memory_than_its_pixels(
    mode: str, tmp_path: Path
) -> None:
    Image.new(mode, (5000, 5000)).save(tmp_path / "large.png", compress_level=1)
    code = (
        "from pathlib import Path\nfrom captioner.data.images import open_image\ndef peak(): return"
        " int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\nbefore ="
        " peak()\nopen_image('large.png', size=(260, 260))\nprint(peak() - before)"
    )
    done = run_python(code, tmp_path)
    assert int(done.stdout) < 200_000  # kB; the pixels are 50 and 100 MB


# --- refusals -------------------------------------------------------------------------------------


def refusal(path: Path | str) -> str:
    with pytest.raises(ImageError) as caught:
        open_image(path)
    message = str(caught.value)
    assert message == f"{path}: {caught.value.reason}" and "\n" not in message
    return caught.value.reason


@pytest.mark.parametrize("format", IMAGE_FORMATS)
def test_a_file_cut_in_half_is_refused_with_its_name(format: str, tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, format)
    path = tmp_path / f"photo.{format.lower()}"
    path.write_bytes(data[: len(data) // 2])
    reason = refusal(path)
    assert reason.startswith("damaged or cut short") or "not a picture" in reason


@pytest.mark.parametrize("missing", [1, 2, 3, 100])
def test_a_jpeg_that_lacks_its_last_bytes_is_refused(missing: int, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(two_halves(), "JPEG")[:-missing])
    assert "damaged or cut short" in refusal(path)


def test_a_png_that_lacks_some_of_its_rows_is_refused(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(noise, "PNG")[:-200])
    assert "damaged or cut short" in refusal(path)


def test_a_damaged_middle_of_a_png_is_refused(tmp_path: Path) -> None:
    data = bytearray(encoded(two_halves(200, 200), "PNG"))
    data[len(data) // 2] ^= 0xFF
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    assert "damaged" in refusal(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.touch()
    assert refusal(path) == "the file is empty"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.jpg", b"no picture at all"),
        ("short.jpg", b"\xff"),
        ("vector.svg", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"),
        ("document.pdf", b"%PDF-1.7\n"),
        ("print.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    ],
)
def test_a_file_that_is_not_a_picture_is_refused_and_the_formats_are_named(
    name: str, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    reason = refusal(path)
    assert "not a picture of a known format" in reason and all(
        format in reason for format in (*IMAGE_FORMATS, "HEIC")
    )


@pytest.mark.parametrize("format", ["PPM", "TGA", "PCX", "ICO", "JPEG2000", "PSD"])
def test_a_format_that_is_not_on_the_list_is_refused_though_pillow_reads_it(
    format: str, tmp_path: Path
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"8BPS\0\1" + bytes(40) if format == "PSD" else encoded(two_halves(), format))
    assert "not a picture of a known format" in refusal(path)


def test_a_folder_and_a_missing_file_are_refused_for_what_they_are(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "a folder, not a picture"
    assert refusal(tmp_path / "nowhere.jpg") == "no such file"
    assert "too long" in refusal(tmp_path / ("a" * 300 + ".jpg"))


def test_an_impossible_path_is_refused() -> None:
    assert refusal("a\0b.jpg")


def test_a_name_with_a_line_break_gives_one_line(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        open_image(tmp_path / "two\nlines.jpg")
    assert "\n" not in str(caught.value) and "two lines.jpg: no such file" in str(caught.value)


@pytest.mark.parametrize("size", [(20000, 20000), (10001, 10000), (2_000_000, 60)])
@pytest.mark.filterwarnings(
    "ignore::PIL.Image.DecompressionBombWarning"
)  # what captioner.data.images does, which pytest undoes
def test_too_many_pixels_are_refused_before_any_is_decoded(
    size: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_claiming(*size))
    started = time.perf_counter()
    reason = refusal(path)
    assert "more than the limit of 100 megapixels" in reason
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("size", [(1, 90_000_000), (65_536, 1)])
def test_a_side_that_is_too_long_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=r"more than the limit of 65535 pixels on a side"):
        open_image(png_claiming(*size))


def test_a_format_that_takes_too_much_memory_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encoded(two_halves(), "WEBP")
    monkeypatch.setattr(images, "MAX_MEMORY", 64 * 48 * 12)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match=r"64 x 48 in WEBP would take .* more than the limit of"):
        open_image(data)
    monkeypatch.undo()
    assert open_image(data).size == (64, 48)


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_an_array_is_the_picture_of_its_numbers(mode: str, kind: type) -> None:
    picture = two_halves().convert(mode)
    array = np.asarray(picture)
    given = array if kind is np.uint8 else (array / 255).astype(kind)
    assert open_image(given).tobytes() == picture.convert("RGB").tobytes()
    assert open_image(given[:, ::-1], size=(10, 10)).size == picture.size


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (np.zeros((2, 4, 4, 3), np.uint8), r"an array \(2, 4, 4, 3\) of uint8 is not a picture"),
        (np.zeros((4, 4, 3)) - 1, "of float64 is not a picture: give .* in floats from 0 to 1"),
        (np.zeros((0, 4, 3), np.uint8), "is not a picture"),
        (np.array([["a"]]), "is not a picture"),
        (5, "int is not a kind of picture: give a path"),
    ],
)
def test_what_is_no_picture_is_named_by_its_kind(source: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        open_image(source)


def test_exactly_the_limit_is_not_too_many() -> None:
    assert open_image(two_halves(100, 50), max_pixels=5000).size == (100, 50)
    with pytest.raises(ImageError, match=r"100 x 50 is more than the limit of 0.004999 megapixels"):
        open_image(two_halves(100, 50), max_pixels=4999)


def test_the_limit_named_is_the_one_that_holds() -> None:
    with pytest.raises(ImageError, match=r"limit of 178.957 megapixels"):
        open_image(png_claiming(20000, 10000), max_pixels=10**9)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pixels_are_counted_without_decoding_and_a_file_can_be_read_afterwards() -> None:
    assert pixel_count(png_claiming(9990, 9990)) == 9990 * 9990
    with pytest.raises(ImageError, match="20000 x 5001 is more than the limit of 100 megapixels"):
        pixel_count(png_claiming(20000, 5001))
    file = io.BytesIO(encoded(two_halves(), "PNG"))
    assert pixel_count(file) == 64 * 48 and open_image(file).tobytes() == two_halves().tobytes()


def test_a_picture_opened_elsewhere_is_not_decoded_before_its_size_is_checked() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        opened = Image.open(io.BytesIO(png_claiming(11000, 11000)))
    with opened, pytest.raises(ImageError, match="more than the limit"):
        open_image(opened)


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_a_heic_photo_without_its_decoder_names_the_extra(
    brand: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(struct.pack(">I", 24) + b"ftyp" + brand + bytes(40))
    assert (
        refusal(path) == "a HEIC photo: install its decoder with `pip install show-and-spell[heic]`"
    )


def test_a_heic_photo_is_read_where_its_decoder_is_installed() -> None:
    heif = pytest.importorskip(
        "pillow_heif", reason="pillow-heif, the heic extra, is not installed"
    )
    heif.register_heif_opener()
    assert near(open_image(encoded(two_halves(), "HEIF", quality=95)).getpixel((5, 5)), RED, 15)


# --- manners --------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["picture", "half", "text", "empty", "bomb"])
def test_no_file_stays_open(content: str, tmp_path: Path) -> None:
    data = {
        "picture": encoded(two_halves(), "JPEG"),
        "half": encoded(two_halves(), "JPEG")[:300],
        "text": b"no picture",
        "empty": b"",
        "bomb": png_claiming(12000, 12000),
    }[content]
    path = tmp_path / "photo"
    path.write_bytes(data)
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always", ResourceWarning)
        try:
            open_image(path)
        except ImageError:
            assert content != "picture"
        gc.collect()
    assert [
        str(warning.message) for warning in noticed if warning.category is ResourceWarning
    ] == []


def test_a_picture_of_ninety_megapixels_gives_no_warning(tmp_path: Path) -> None:
    (tmp_path / "wide.png").write_bytes(png_claiming(9500, 9500))
    code = (
        "from captioner.data.images import open_image\ntry: open_image('wide.png')\nexcept"
        " Exception as error: print(error)"
    )
    done = run_python(code, tmp_path)
    assert "wide.png: damaged or cut short" in done.stdout and done.stderr == ""


def test_threads_open_pictures_at_once() -> None:
    data, failures = encoded(two_halves(400, 300), "JPEG"), []

    def work() -> None:
        for _ in range(10):
            if open_image(data, size=(75, 75)).size != (100, 75) or open_image(data).size != (
                400,
                300,
            ):
                failures.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
