"""Opens every picture: any file, upload or bytes in, an upright RGB picture or a reason out."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from rnnkit.errors import UserError

Source = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif"}
)
MAX_PIXELS = 100_000_000
MAX_SIDE = 65_535  # pixels; Pillow keeps pointers to every row, which add up where rows are short
MAX_MEMORY = 800_000_000  # bytes that decoding may take
# What decoding a pixel takes at its peak, measured on 16 megapixels: Pillow's four bytes, and what
# some decoders keep beside them.
_BYTES_A_PIXEL = {"WEBP": 13, "AVIF": 7, "HEIF": 6}
LARGE_PIXELS = 16_000_000
_TILE = 1024  # pixels on a side
_PILLOWS_LIMIT = 178_956_970  # Pillow itself refuses to open pictures larger than this.
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

# Our own cap is checked before anything is decoded; Pillow's warning at 89 megapixels would only
# alarm.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# A photo whose EXIF is damaged is captioned as it is stored.
warnings.filterwarnings("ignore", message="Corrupt EXIF data", module=r"PIL\.")


class ImageError(UserError):
    """A picture that cannot be used: its name and the reason, in one line."""

    def __init__(self, name: str, reason: str) -> None:
        # A file's name may hold line breaks.
        super().__init__(" ".join(f"{name}: {reason}".splitlines()))
        self.name, self.reason = name, reason


def open_image(
    source: Source,
    *,
    size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    name: str | None = None,
) -> Image.Image:
    """Open a picture safely.

    The format is recognised by content, never by name. EXIF orientation is applied, transparency is
    composited on white, deeper than 8 bits is scaled to 8, an animation gives its first frame.

    Args:
        source: a path, encoded bytes, a binary file, a Pillow picture, or an array (height, width)
            or (height, width, channels): grey, RGB or RGBA in uint8, or in floats from 0 to 1.
        size: the (width, height) in pixels that is needed; a JPEG is then decoded at the smallest
            of the scales 1, 1/2, 1/4, 1/8 that is no smaller, which makes large photos cheap. Other
            pictures of more than 16 megapixels are shrunk to no less than three times that size.
        max_pixels: larger pictures are refused before they are decoded; at most 178 million. So are
            those of more than 65,535 pixels on a side, or that would take too much memory.
        name: how to call the picture in errors; a path is its own name.

    Returns: a Pillow picture of mode RGB.
    Raises: ImageError naming the picture and the reason.
    """
    # A square, so that a photo that EXIF turns comes out large enough either way.
    side = max(size) if size is not None else None
    with _checked(source, max_pixels, name) as image:
        if image is source:
            image = image.copy()
        else:
            if side is not None:
                image.draft(None, (side, side))
            image.seek(0)
            image.load()
        if image.width * image.height > _TILE**2:
            return _rgb_by_tiles(image, side if image.width * image.height > LARGE_PIXELS else None)
        return _rgb(ImageOps.exif_transpose(image))


def pixel_count(source: Source) -> int:
    """Pixels of a picture as its header says, before anything is decoded.

    Raises: ImageError naming the picture and the reason, as `open_image` does.
    """
    with _checked(source, MAX_PIXELS, None) as image:
        return image.width * image.height


@contextmanager
def _checked(source: Source, max_pixels: int, name: str | None) -> Iterator[Image.Image]:
    """The picture, not yet decoded and not too large; whatever goes wrong in the block becomes an
    ImageError.
    """
    max_pixels = min(max_pixels, _PILLOWS_LIMIT)
    name = name or (os.fspath(source) if isinstance(source, str | os.PathLike) else "picture")
    try:
        with _opened(source, name) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError(
                    name,
                    f"{width} x {height} is more than the limit of {max_pixels / 1e6:g} megapixels",
                )
            if max(width, height) > MAX_SIDE:
                raise ImageError(
                    name,
                    f"{width} x {height} is more than the limit of {MAX_SIDE} pixels on a side",
                )
            if (memory := width * height * _BYTES_A_PIXEL.get(image.format or "", 4)) > MAX_MEMORY:
                raise ImageError(
                    name,
                    f"{width} x {height} in {image.format} would take {memory / 1e6:.0f} MB to"
                    f" decode, more than the limit of {MAX_MEMORY / 1e6:.0f} MB",
                )
            yield image
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(name, f"more than the limit of {max_pixels / 1e6:g} megapixels") from None
    except MemoryError:
        raise ImageError(name, "there is not enough memory to decode it") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged data
        # Pillow's own words help; Python's about its code do not.
        words = " ".join(str(error).split()) if isinstance(error, OSError | SyntaxError) else ""
        raise ImageError(name, f"damaged or cut short{f' ({words})' if words else ''}") from None


@contextmanager
def _opened(source: Source, name: str) -> Iterator[Image.Image]:
    """The picture, not yet decoded. Afterwards a file is closed if it was opened here."""
    if isinstance(source, Image.Image):
        yield source
        return
    if isinstance(source, np.ndarray):
        yield _from_array(source, name)
        return
    if not isinstance(source, bytes | str | os.PathLike) and not hasattr(source, "seek"):
        raise ImageError(
            name,
            f"{type(source).__name__} is not a kind of picture: give a path, bytes, a binary file,"
            " a Pillow picture or an array",
        )
    with ExitStack() as stack:
        try:
            if isinstance(source, bytes):
                file: BinaryIO = io.BytesIO(source)
            elif isinstance(source, str | os.PathLike):
                file = stack.enter_context(Path(source).open("rb"))
            else:
                file = source
                file.seek(0)
            head = file.read(32)
            file.seek(0)
        except OSError as error:
            known = {
                FileNotFoundError: "no such file",
                IsADirectoryError: "a folder, not a picture",
            }
            raise ImageError(name, known.get(type(error), error.strerror or str(error))) from None
        if not head:
            raise ImageError(name, "the file is empty")
        formats: tuple[str, ...] = IMAGE_FORMATS
        if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
            _register_heic(name)
            formats = ("HEIF",)
        try:
            image = stack.enter_context(Image.open(file, formats=formats))
        except UnidentifiedImageError:
            raise ImageError(
                name, f"not a picture of a known format ({', '.join(IMAGE_FORMATS)}, HEIC)"
            ) from None
        yield image


def _from_array(array: np.ndarray, name: str) -> Image.Image:
    """Raises: ImageError for an array that is not a picture."""
    pixels = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if pixels.dtype.kind == "f" and pixels.size and pixels.min() >= 0 and pixels.max() <= 1:
        pixels = np.rint(pixels * 255).astype(np.uint8)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    shaped = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if not shaped or not pixels.size or pixels.dtype != np.uint8:
        raise ImageError(
            name,
            f"an array {array.shape} of {array.dtype} is not a picture: give (height, width) or"
            " (height, width, 3 or 4) in uint8, or in floats from 0 to 1",
        )
    return Image.fromarray(np.ascontiguousarray(pixels))


def _register_heic(name: str) -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise ImageError(
            name, "a HEIC photo: install its decoder with `pip install show-and-spell[heic]`"
        ) from None
    register_heif_opener()


def _rgb_by_tiles(image: Image.Image, side: int | None) -> Image.Image:
    """The upright picture in RGB, shrunk if a side is given, with little more memory than the
    decoded one and the result.

    Converting it all at once would take many times as much. A tile is composited on white before it
    is shrunk, so that no colour hidden by transparency shows, and is shrunk by a whole factor, as
    Pillow's `resize` does with reducing_gap=3.
    """
    factor = max(1, min(image.size) // (3 * side)) if side is not None else 1
    step = max(1, _TILE // factor) * factor
    limits = _range(image) if _is_deep(image) else None
    result = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    for left, top, tile in _tiles(image, step):
        result.paste(_rgb(tile, limits).reduce(factor), (left // factor, top // factor))
    result.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
    ImageOps.exif_transpose(result, in_place=True)
    return result


def _tiles(image: Image.Image, step: int) -> Iterator[tuple[int, int, Image.Image]]:
    for top in range(0, image.height, step):
        for left in range(0, image.width, step):
            yield (
                left,
                top,
                image.crop(
                    (left, top, min(left + step, image.width), min(top + step, image.height))
                ),
            )


def _rgb(image: Image.Image, limits: tuple[float, float] | None = None) -> Image.Image:
    """The picture in RGB on white.

    Args:
        limits: the values of a deep picture that become black and white; None for its own.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if _is_deep(image):
        return _eight_bits(image, *(limits or _range(image))).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("F", "I") or image.mode.startswith("I;16")


def _range(image: Image.Image) -> tuple[float, float]:
    """The values of a deep picture that become black and white."""
    if image.mode.startswith("I;16"):
        return 0.0, 65535.0
    ends = [
        (float(grey.min()), float(grey.max()))
        for grey in (_grey(tile) for _, _, tile in _tiles(image, _TILE))
    ]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    usual = 65535.0 if image.mode == "I" else 1.0
    return (0.0, usual) if low >= 0 and high <= usual else (low, high)


def _grey(image: Image.Image) -> np.ndarray:
    return np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0, neginf=0)


def _eight_bits(image: Image.Image, low: float, high: float) -> Image.Image:
    """Deep grey scaled to 8 bits; Pillow's own conversion clips at 255."""
    grey = _grey(image)
    scaled = (grey - low) / (high - low) if high > low else np.zeros_like(grey)
    return Image.fromarray(np.rint(scaled * 255).astype(np.uint8))
