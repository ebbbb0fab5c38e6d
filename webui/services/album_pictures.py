"""The photos of an album as small JPEGs, whatever format they came in."""

from __future__ import annotations

import threading
from pathlib import Path

from captioner.data.images import open_image
from webui.services.album import Album, PhotoRow
from webui.workers import decoding_turn

SIDES = {"small": 192, "large": 1280}  # pixels on the longer side


def picture(album: Album, row: PhotoRow, size: str) -> Path | None:
    """The JPEG of a photo, drawn once; None if the row has no photo.

    Args:
        size: a key of SIDES.

    Raises: ImageError if the photo cannot be opened.
    """
    if row.path is None:
        return None
    target, side = album.folder / f"{row.id}-{size}.jpg", SIDES[size]
    if not target.exists():
        with decoding_turn(row.path):
            image = open_image(row.path, size=(side, side))
        image.thumbnail((side, side))
        part = target.with_suffix(f".{threading.get_ident()}")  # two may draw it at once
        image.save(part, "JPEG", quality=82)
        part.replace(target)
    return target
