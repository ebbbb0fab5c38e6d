"""The figures can be read: letters stand out, and every kind of line is explained."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.mathtext import MathTextParser

from charlm.analysis.figures import draw_gradient_flow, draw_surprise
from charlm.analysis.insight import GradientFlow, Surprise


def test_letters_on_dark_green_are_white_and_others_black() -> None:
    text = "ab"
    probabilities = np.array([[0.95, 0.05], [0.4, 0.3]])
    surprise = Surprise(np.array([np.nan, 0.1]), [["x", "y"], ["z", "w"]], probabilities)
    _, below = draw_surprise(text, surprise).axes[:2]
    assert {letter.get_text(): letter.get_color() for letter in below.texts} == {
        "x": "white",
        "y": "black",
        "z": "black",
        "w": "black",
    }


@pytest.mark.parametrize(("weight_norm", "dashed"), [(3.0, 1), (0.5, 0)])
def test_the_dashed_lines_of_clipped_gradients_are_explained(
    weight_norm: float, dashed: int
) -> None:
    norms = np.ones((1, 1, 4))
    flow = GradientFlow(norms, norms / 3, np.ones((1, 1)), weight_norm, 1.0)
    (axes,) = draw_gradient_flow({"RNN": flow}).axes
    legend = axes.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts.count("dashed: clipped to a norm of 1") == dashed


def test_the_gradient_flow_needs_no_fonts_for_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        MathTextParser, "parse", lambda _, text, *settings, **more: asked.append(text)
    )
    for smallest in (1e-6, 0.5):  # over decades, and within one
        norms = np.geomspace(smallest, 1, 4).reshape(1, 1, 4)
        flow = GradientFlow(norms, norms, np.ones((1, 1)), 0.5, 1.0)
        draw_gradient_flow({"RNN": flow}).savefig(io.BytesIO())
    assert asked == []
