"""A text in the making, and the three cells to compare."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from charlm import CharLM
from charlm.analysis.comparison_cells import load_cells
from charlm.sampling import Choice
from rnnkit.errors import UserError


@pytest.fixture(scope="module")
def model(trained: Path) -> CharLM:
    return CharLM.load(trained)


@pytest.mark.parametrize("prompt", ["", "T", "The rain"])
def test_several_goes_write_what_sample_writes_in_one(model: CharLM, prompt: str) -> None:
    whole = "".join(model.sample(prompt, length=120, temperature=0.9, top_k=8, seed=4))
    writer, choice = model.writer(prompt, seed=4), Choice(0.9, 8)
    goes = ["".join(writer.write(length, choice=choice)) for length in (1, 0, 50, 69)]
    assert "".join(goes) == whole
    assert writer.text == prompt + whole


def test_a_go_that_is_left_in_the_middle_goes_on_behind_its_last_character(model: CharLM) -> None:
    whole = "".join(model.sample("The", length=60, seed=2))
    writer = model.writer("The", seed=2)
    first = "".join(islice(writer.write(60), 17))
    assert first + "".join(writer.write(43)) == whole


def test_settings_may_change_between_goes(model: CharLM) -> None:
    writer = model.writer("The", seed=2)
    list(writer.write(10, choice=Choice(2.0)))
    expected = "".join(model.sample(writer.text, length=30, temperature=0))
    assert "".join(writer.write(30, choice=Choice(0))) == expected


def test_a_stop_string_ends_a_go_is_not_given_out_and_the_next_goes_on_behind_it(
    model: CharLM,
) -> None:
    whole = "".join(model.sample("The", length=200, temperature=0.5, seed=1))
    stop = whole[40:43]
    writer = model.writer("The", seed=1)
    first = "".join(writer.write(200, choice=Choice(0.5), stop=stop))
    assert first == whole[: whole.index(stop)] and writer.stopped
    rest = "".join(writer.write(100, choice=Choice(0.5)))
    assert first + stop + rest == whole[: len(first + stop) + 100] and not writer.stopped


def test_the_likeliest_are_those_of_log_probs_and_the_look_changes_nothing(model: CharLM) -> None:
    writer = model.writer("The rain", seed=1, precision="float32")
    found = writer.likeliest(5)
    log_probs = model.log_probs("The rain")[-1]
    values, indices = log_probs.topk(5)
    assert [symbol for symbol, _ in found] == [
        model.vocabulary[index] for index in indices.tolist()
    ]
    np.testing.assert_allclose([p for _, p in found], values.exp().numpy(), atol=1e-4)
    assert sum(p for _, p in writer.likeliest(1000)) == pytest.approx(1)
    assert "".join(writer.write(20)) == "".join(
        model.sample("The rain", length=20, seed=1, precision="float32")
    )


def test_wrong_settings_are_refused_at_the_call(model: CharLM) -> None:
    writer = model.writer("The")
    for wrong in ({"length": -1}, {"length": 3, "stop": [""]}):
        with pytest.raises(UserError):
            writer.write(**wrong)
    with pytest.raises(UserError, match="never seen"):
        model.writer("ζ")
    assert model.writer("Thζe", unknown="skip").text == "The"


def test_trained_cells_are_loaded_and_without_them_untrained_ones_of_one_size_are_made(
    make_model: Callable[..., CharLM], tmp_path: Path
) -> None:
    vocabulary = make_model().vocabulary
    cells, trained = load_cells(vocabulary, folder=tmp_path)
    assert not trained and list(cells) == ["rnn", "gru", "lstm"]
    assert {lm.network.architecture.hidden_size for lm in cells.values()} == {128}
    again, _ = load_cells(vocabulary, folder=tmp_path)
    assert all(
        (again[cell].log_probs("The") == cells[cell].log_probs("The")).all() for cell in cells
    )
    for cell in cells:
        make_model(cell=cell).save(tmp_path / cell)
    stored, trained = load_cells(vocabulary, folder=tmp_path)
    assert trained and [lm.network.architecture.cell for lm in stored.values()] == [
        "rnn",
        "gru",
        "lstm",
    ]
