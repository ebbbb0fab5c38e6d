"""Attention drawn over the photo."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from captioner.figures.attention import draw_attention
from captioner.figures.overlay import overlay
from captioner.types import Caption


def looking(*words: str, grid: int = 7) -> Caption:
    """A caption whose every word looks at another region."""
    attention = np.zeros((len(words), grid, grid), dtype=np.float32)
    for index in range(len(words)):
        attention[index, index % grid, (index * 3) % grid] = 1.0
    return Caption(" ".join(words), -0.5, words, attention)


def test_a_photo_is_bright_where_the_network_looked_and_dark_elsewhere() -> None:
    weights = np.zeros((7, 7), dtype=np.float32)
    weights[0, 6] = 0.9  # the corner at the top right
    light = np.asarray(
        overlay(Image.new("RGB", (280, 140), (200, 200, 200)), weights), dtype=float
    )[..., 0]
    assert light.shape == (140, 280)
    assert light[8, 268] > 180 and light[130, 10] == pytest.approx(50, abs=3)


def test_even_attention_leaves_the_photo_as_it_is() -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8))
    found = np.asarray(overlay(photo, np.full((7, 7), 1 / 49, dtype=np.float32)), dtype=int)
    assert np.abs(found - np.asarray(photo, dtype=int)).max() <= 1


def test_no_attention_at_all_is_dark_and_no_error() -> None:
    dark = overlay(Image.new("RGB", (20, 20), (200, 200, 200)), np.zeros((7, 7), dtype=np.float32))
    assert dark.getpixel((10, 10)) == (50, 50, 50)


def drawn(
    caption: Caption, path: Path, photo: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Draws the figure and returns the titles of its panels."""
    titles: list[str] = []
    save = Figure.savefig

    def noting(figure: Figure, *arguments: object, **options: object) -> None:
        titles.extend(axes.get_title() for axes in figure.axes if axes.get_images())
        save(figure, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", noting)
    draw_attention(photo, caption, path)
    return titles


@pytest.mark.parametrize(
    "words", [(), ("dog",), ("a", "dog", "runs", "in", "the", "white", "snow")]
)
def test_the_figure_has_the_photo_and_a_panel_for_each_word(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = Image.new("RGB", (1200, 900), (180, 180, 180))
    assert drawn(looking(*words), tmp_path / "where.png", photo, monkeypatch) == ["", *words]
    assert photo.size == (1200, 900), "the caller's photo was changed"
    with Image.open(tmp_path / "where.png") as figure:
        assert figure.format == "PNG" and figure.width > 400


def test_a_tall_photo_gives_a_tall_figure(tmp_path: Path) -> None:
    heights = []
    for size in ((800, 400), (400, 800)):
        draw_attention(Image.new("RGB", size), looking("a", "dog"), tmp_path / "where.png")
        with Image.open(tmp_path / "where.png") as figure:
            heights.append(figure.height)
    assert heights[1] > 2 * heights[0]


def test_signs_that_mean_something_to_the_drawing_library_are_drawn_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("$", "^", "\\frac", "$", "_", "café", "%")
    assert drawn(
        looking(*words), tmp_path / "where.png", Image.new("RGB", (64, 64)), monkeypatch
    ) == ["", *words]


@pytest.mark.parametrize("ending", ["pdf", "svg"])
def test_other_formats_are_told_by_the_name(ending: str, tmp_path: Path) -> None:
    draw_attention(Image.new("RGB", (64, 64)), looking("a"), tmp_path / f"where.{ending}")
    assert {"pdf": b"%PDF", "svg": b"<?xml"}[ending] == (tmp_path / f"where.{ending}").read_bytes()[
        : 4 + (ending == "svg")
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="no limits to files there")
def test_a_figure_that_may_not_grow_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "where.png"
    draw_attention(Image.new("RGB", (64, 64)), looking("a"), path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"where\.png"):
            draw_attention(Image.new("RGB", (64, 64)), looking("a", "dog"), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
