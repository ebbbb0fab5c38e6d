"""What the gradient view says of a text, without a browser."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from charlm import CharLM
from charlm.analysis.comparison_cells import untrained_cells
from charlm.analysis.insight import gradient_flow
from charlm.vocabulary import CharacterVocabulary
from rnnkit.errors import UserError
from webui.lazy_model import LazyModel
from webui.tabs import inside
from webui.tabs.inside import WORDS, _gradient
from webui.workers import Models, TextWorker

LATIN, CYRILLIC = "The hill is green, the wind is still.\n", "Мой дядя самых честных правил,\n"


@pytest.fixture
def models() -> Callable[..., Models]:
    """The page's models: one over some text's characters, and cells that pass for trained over the
    Latin ones.
    """

    def make(
        text: str, cells: Callable[[], tuple[dict[str, CharLM], bool]] | None = None
    ) -> Models:
        made = Models()
        made.charlm = LazyModel(
            lambda: TextWorker(untrained_cells(CharacterVocabulary.of(text))["gru"])
        )
        made.cells = LazyModel(
            cells or (lambda: (untrained_cells(CharacterVocabulary.of(LATIN)), True))
        )
        return made

    return make


def points(drawn: str) -> list[int]:
    """How many points each curve has."""
    return [
        len(curve.split()) for curve in re.findall(r'<polyline class="\w+" points="([^"]*)"', drawn)
    ]


def test_a_curve_is_the_norm_over_all_that_a_step_kept_and_so_counts_the_lstms_cell_state(
    models: Callable[..., Models], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, list[tuple[str, Any]]] = {}

    def keep(panels: dict[str, list[tuple[str, Any]]], *_: Any, **__: Any) -> str:
        drawn.update(panels)
        return ""

    monkeypatch.setattr(inside, "log_panels", keep)
    _gradient(models(LATIN), LATIN, 0.01)
    for cell, lm in untrained_cells(CharacterVocabulary.of(LATIN)).items():
        flow = gradient_flow(lm.network, lm.vocabulary.encode(LATIN), clip_norm=0.01)
        for (_, curve), norms in zip(drawn[cell.upper()], (flow.norms, flow.clipped), strict=True):
            assert curve[::-1] == pytest.approx(
                np.linalg.norm(norms.reshape(-1, len(LATIN) - 1), axis=0)
            )
            assert ((curve[::-1] > 1.01 * norms[0, 0]).any()) == (cell == "lstm")
    assert "h and c together" in WORDS["gradient"][1]


def test_a_text_whose_script_the_trained_cells_do_not_know_is_shown_whole_by_untrained_ones(
    models: Callable[..., Models],
) -> None:
    assert "trained on the same text" in _gradient(models(LATIN), LATIN, 1.0)
    drawn = _gradient(models(CYRILLIC), CYRILLIC, math.inf)
    assert "do not know this text's characters" in drawn and "random weights" in drawn
    assert points(drawn) == [len(CYRILLIC) - 1] * 3


@pytest.mark.parametrize("text", ["жд", "hi", "h!", "hж", "!ж"])
def test_the_shortest_text_of_any_script_is_drawn(models: Callable[..., Models], text: str) -> None:
    assert points(_gradient(models(text), text, math.inf)) == [1, 1, 1]


def test_a_damaged_cell_is_reported_and_no_untrained_one_is_drawn_in_its_place(
    models: Callable[..., Models],
) -> None:
    def damaged() -> tuple[dict[str, CharLM], bool]:
        raise UserError("'cells/lstm/model.safetensors' is damaged: copy it again")

    drawn = _gradient(models(LATIN, damaged), LATIN, 1.0)
    assert "cannot be shown" in drawn and "is damaged" in drawn
    assert "<svg" not in drawn
