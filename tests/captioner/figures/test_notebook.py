"""A caption shows itself in a notebook."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioner import Caption


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.new("RGB", (600, 400), (200, 40, 40)).save(path)
    return path


def pictures(html: str) -> list[Image.Image]:
    encoded = re.findall(r"src='data:image/jpeg;base64,([^']+)'", html)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in encoded]


def test_a_caption_alone_shows_its_sentence_and_nothing_in_it_is_markup() -> None:
    html = Caption("a <b> & a dog", -1.0, ("a",))._repr_html_()
    assert "a &lt;b&gt; &amp; a dog" in html and pictures(html) == []


def test_a_caption_of_a_photo_shows_it_too(photo: Path) -> None:
    (shown,) = pictures(Caption("a dog", -1.0, ("a", "dog"), photo=photo)._repr_html_())
    assert shown.size == (320, 213)


def test_with_attention_each_word_shows_where_it_looked(photo: Path) -> None:
    grids = np.zeros((2, 4, 4), np.float32)
    grids[0, 0, 0] = grids[1, 3, 3] = 1
    caption = Caption("a dog", -1.0, ("a", "dog"), grids, photo=photo)
    _, first, second = pictures(caption._repr_html_())

    def brightness(picture: Image.Image, x: float, y: float) -> int:
        return picture.getpixel((int(x * picture.width), int(y * picture.height)))[0]  # type: ignore[index]

    assert brightness(first, 0.05, 0.05) > 2 * brightness(first, 0.95, 0.95)
    assert brightness(second, 0.95, 0.95) > 2 * brightness(second, 0.05, 0.05)


def test_a_photo_that_has_gone_leaves_the_sentence(photo: Path) -> None:
    caption = Caption("a dog", -1.0, ("a", "dog"), photo=photo)
    photo.unlink()
    html = caption._repr_html_()
    assert "a dog" in html and pictures(html) == []
