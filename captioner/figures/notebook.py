"""A caption as HTML, for notebooks: the sentence, the photo, and where each word looked."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from captioner.data.images import ImageError, Source, open_image
from captioner.figures.overlay import overlay

PHOTO_SIDE, WORD_SIDE = 320, 112  # pixels of the longer side


def caption_html(
    text: str, words: Sequence[str], attention: np.ndarray | None, photo: Source | None
) -> str:
    """The HTML of a caption.

    Args:
        attention: (words, rows, columns), or None.
        photo: the picture is left out if it is None or cannot be opened any more.
    """
    picture = _open(photo)
    sentence = f"<figcaption>{escape(text)}</figcaption>"
    if picture is None:
        return f"<figure>{sentence}</figure>"
    shown = _image(picture, PHOTO_SIDE, text)
    if attention is None:
        return f"<figure>{shown}{sentence}</figure>"
    small = _reduced(picture, WORD_SIDE)
    looked = "".join(
        "<figure style='display:inline-block;margin:4px;text-align:center'>"
        f"{_image(overlay(small, grid), WORD_SIDE, word)}"
        f"<figcaption>{escape(word)}</figcaption></figure>"
        for word, grid in zip(words, attention, strict=True)
    )
    return f"<figure>{shown}{sentence}</figure><div>{looked}</div>"


def _open(photo: Source | None) -> Image.Image | None:
    if photo is None:
        return None
    try:
        return open_image(photo, size=(PHOTO_SIDE, PHOTO_SIDE))
    except ImageError:  # a file that has gone, or a stream that is closed
        return None


def _reduced(picture: Image.Image, side: int) -> Image.Image:
    small = picture.copy()
    small.thumbnail((side, side))
    return small


def _image(picture: Image.Image, side: int, description: str) -> str:
    encoded = io.BytesIO()
    _reduced(picture, side).save(encoded, "JPEG", quality=85)
    data = base64.b64encode(encoded.getvalue()).decode()
    return f"<img src='data:image/jpeg;base64,{data}' alt='{escape(description)}'>"
