"""The model's folder, its probabilities, and the model that comes with the package."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from charlm import CharLM
from rnnkit.errors import UserError
from tests.charlm.conftest import next_log_probs


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_saved_model_loads_as_it_was(
    tmp_path: Path, make_model: Callable[..., CharLM], cell: str, tied: bool
) -> None:
    model = make_model(cell, tied=tied)
    model.info = {"note": "kept"}
    model.save(tmp_path / "half")
    model.save(tmp_path / "full", dtype=None)
    text = "The rain it falls"
    full, half = CharLM.load(tmp_path / "full"), CharLM.load(tmp_path / "half")
    assert torch.equal(full.log_probs(text), model.log_probs(text))
    torch.testing.assert_close(half.log_probs(text), model.log_probs(text), rtol=0, atol=0.05)
    assert (tmp_path / "half" / "model.safetensors").stat().st_size < 0.7 * (
        tmp_path / "full" / "model.safetensors"
    ).stat().st_size
    assert full.vocabulary == model.vocabulary and full.info["note"] == "kept"


def test_log_probs_of_a_row_are_about_what_follows_its_text(
    make_model: Callable[..., CharLM],
) -> None:
    model = make_model()
    whole = model.log_probs("The hill")
    assert whole.shape == (8, len(model.vocabulary))
    torch.testing.assert_close(whole.exp().sum(1), torch.ones(8))
    for t in range(8):
        torch.testing.assert_close(whole[t], model.log_probs("The hill"[: t + 1])[-1])
    assert model.log_probs("").shape == (0, len(model.vocabulary))


def test_the_vocabulary_is_its_symbols_in_the_order_of_their_ids(
    make_model: Callable[..., CharLM],
) -> None:
    model = make_model()
    assert [model.vocabulary[i] for i in model.vocabulary.encode("hill").tolist()] == list("hill")
    assert "".join(model.vocabulary) == "".join(
        model.vocabulary.symbols
    ) and model.vocabulary.index("h") == model.vocabulary.symbols.index("h")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"kind": "captioner"}, "not a charlm checkpoint"),
        ({"version": 99}, "update show-and-spell"),
        ({"vocabulary": ["a", "b"]}, "do not fit its config"),
        ({"vocabulary": None}, "damaged"),
        ({"architecture": {"hidden_size": "large"}}, "whole number"),
        ({"architecture": {"colour": "blue"}}, "damaged"),
        (
            {"architecture": {"hidden_size": -5}},
            "damaged .*hidden_size must be a whole number from 1 to 1000000, not -5",
        ),
        (
            {"architecture": {"hidden_size": 900_000}},
            "do not fit its config: hidden_size is 900000, their largest size",
        ),
        (
            {"architecture": {"num_layers": 1_000_000}},
            "num_layers must be a whole number from 1 to 100, not 1000000",
        ),
        ({"architecture": {"tied": "no"}}, "tied must be true or false, not 'no'"),
    ],
)
def test_a_damaged_config_is_an_error_that_says_so(
    tmp_path: Path, make_model: Callable[..., CharLM], damage: dict[str, object], message: str
) -> None:
    make_model().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | damage))
    with pytest.raises(UserError, match=message):
        CharLM.load(tmp_path)


def test_the_bundled_model_writes_verse_with_speakers() -> None:
    text = "".join(CharLM.load().sample("ROMEO:\n", length=1500, temperature=0.8, seed=1))
    assert text.count("\n") > 20 and text.count(":\n") >= 2


def test_the_bundled_models_eight_bit_step_loses_less_than_5_thousandths() -> None:
    model = CharLM.load()
    text = "".join(
        model.sample(
            "KING RICHARD II:\n", length=1500, temperature=1.0, seed=2, precision="float32"
        )
    )
    ids = model.vocabulary.encode(text)
    exact, rounded = (
        next_log_probs(model.stepper(1, precision), ids)[:-1] for precision in ("float32", "int8")
    )
    torch.testing.assert_close(exact, model.log_probs(text)[:-1], rtol=0, atol=1e-4)
    losses = [-log_probs.gather(1, ids[1:, None]).mean().item() for log_probs in (exact, rounded)]
    assert losses[1] - losses[0] < 0.005
