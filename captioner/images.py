"""The one door for every picture: any file, upload or bytes in, an upright RGB picture out, or one line that says why not."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from rnnkit.errors import UserError

Source = str | os.PathLike[str] | bytes | BinaryIO | Image.Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif"})
MAX_PIXELS = 100_000_000
_PILLOWS_LIMIT = 178_956_970  # Pillow itself refuses to open pictures larger than this.
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

# Our own cap is checked before anything is decoded; Pillow's warning at 89 megapixels would only alarm.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# A photo whose EXIF is damaged is captioned as it lies.
warnings.filterwarnings("ignore", message="Corrupt EXIF data", module=r"PIL\.")


class ImageError(UserError):
    """A picture that cannot be used: its name and the reason, in one line."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(" ".join(f"{name}: {reason}".splitlines()))  # a file's name may hold line breaks
        self.name, self.reason = name, reason


def open_image(
    source: Source, *, size: tuple[int, int] | None = None, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Image.Image:
    """Open a picture safely.

    The format is told by content, never by name. EXIF orientation is applied, transparency is composited on white,
    deeper than 8 bits is scaled to 8, an animation gives its first frame.

    Args:
        source: a path, encoded bytes, a binary file or a Pillow picture.
        size: the (width, height) in pixels that is needed; a JPEG is then decoded at the smallest of the scales
            1, 1/2, 1/4, 1/8 that is no smaller, which makes large photos cheap.
        max_pixels: larger pictures are refused before they are decoded; at most 178 million.
        name: how to call the picture in errors; a path is its own name.

    Returns: a Pillow picture of mode RGB.
    Raises: ImageError naming the picture and the reason.
    """
    max_pixels = min(max_pixels, _PILLOWS_LIMIT)
    name = name or (os.fspath(source) if isinstance(source, str | os.PathLike) else "picture")
    try:
        with _opened(source, name) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageError(name, f"{width} x {height} is more than the limit of {max_pixels / 1e6:g} megapixels")
            if image is source:
                return _rgb(ImageOps.exif_transpose(image.copy()))
            if size is not None:
                # Asked for square, so that a photo lying on its side by EXIF comes out large enough either way.
                image.draft(None, (max(size), max(size)))
            image.seek(0)
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(name, f"more than the limit of {max_pixels / 1e6:g} megapixels") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged data
        raise ImageError(name, f"damaged or cut short ({' '.join(str(error).split()) or type(error).__name__})") from None


@contextmanager
def _opened(source: Source, name: str) -> Iterator[Image.Image]:
    """The picture, not yet decoded; a file that was opened here is closed afterwards. What the caller opened stays the caller's."""
    if isinstance(source, Image.Image):
        yield source
        return
    with ExitStack() as stack:
        try:
            if isinstance(source, bytes):
                file: BinaryIO = io.BytesIO(source)
            elif isinstance(source, str | os.PathLike):
                file = stack.enter_context(Path(source).open("rb"))
            else:
                file = source
            head = file.read(32)
            file.seek(0)
        except OSError as error:
            known = {FileNotFoundError: "no such file", IsADirectoryError: "a folder, not a picture"}
            raise ImageError(name, known.get(type(error), error.strerror or str(error))) from None
        if not head:
            raise ImageError(name, "the file is empty")
        formats: tuple[str, ...] = FORMATS
        if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
            _register_heic(name)
            formats = ("HEIF",)
        try:
            image = stack.enter_context(Image.open(file, formats=formats))
        except UnidentifiedImageError:
            raise ImageError(name, f"not a picture of a known format ({', '.join(FORMATS)}, HEIC)") from None
        yield image


def _register_heic(name: str) -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise ImageError(name, "a HEIC photo: install its decoder with `pip install show-and-spell[heic]`") from None
    register_heif_opener()


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or floating point, to 8 bits by scaling: Pillow's own conversion clips at 255."""
    grey = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0, neginf=0)
    low, high = float(grey.min()), float(grey.max())
    if image.mode.startswith("I;16") or (image.mode == "I" and low >= 0 and high <= 65535):
        low, high = 0.0, 65535.0
    elif image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    scaled = (grey - low) / (high - low) if high > low else np.zeros_like(grey)
    return Image.fromarray(np.rint(scaled * 255).astype(np.uint8))
