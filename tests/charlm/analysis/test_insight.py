"""Views into the network, against finite differences and planted answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from charlm import CharLM
from charlm.analysis import figures
from charlm.analysis.insight import (
    connectivity,
    gradient_flow,
    matching_units,
    surprise,
    text_features,
    unit_traces,
)
from rnnkit.cells import STEPS
from rnnkit.errors import UserError
from rnnkit.layers import layer_weights

TEXT = 'The rain "it falls" upon\nthe hill.'


def plain(text: str) -> str:
    return text.replace('"', "")


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_gradient_flow_is_the_slope_of_the_loss_by_the_state(
    make_model: Callable[..., CharLM], cell: str
) -> None:
    model = make_model(cell, 1, hidden_size=6)
    model.network.double()
    ids = model.vocabulary.encode(plain(TEXT))[:9]
    flow = gradient_flow(model.network, ids)
    at, weights = 4, layer_weights(model.network.layers[0])

    def loss_after(nudge: torch.Tensor) -> float:
        state = model.network.zero_state(1)[0]
        for index, symbol in enumerate(ids[:-1]):
            state = STEPS[cell](model.network.embedding(symbol[None]), state, weights)
            if index == at:
                state = state + nudge
        loss: float = -model.network.output(state[0]).log_softmax(-1)[0, ids[-1]].item()
        return loss

    zero = model.network.zero_state(1)[0]
    for part in range(len(zero)):
        slopes = []
        for unit in range(6):
            nudge = zero.clone()
            nudge[part, 0, unit] = 1e-5
            slopes.append((loss_after(nudge) - loss_after(-nudge)) / 2e-5)
        assert flow.norms[0, part, at] == pytest.approx(np.linalg.norm(slopes), rel=1e-4)


def test_clipping_scales_the_flow_down_to_the_threshold(make_model: Callable[..., CharLM]) -> None:
    model = make_model()
    ids = model.vocabulary.encode(plain(TEXT))
    free, clipped = (
        gradient_flow(model.network, ids, clip_norm=1e9),
        gradient_flow(model.network, ids, clip_norm=0.01),
    )
    np.testing.assert_allclose(free.clipped, free.norms)
    np.testing.assert_allclose(clipped.clipped, clipped.norms * 0.01 / clipped.weight_norm)


def test_a_vanilla_rnns_gradient_vanishes_under_a_singular_value_of_half(
    make_model: Callable[..., CharLM],
) -> None:
    model = make_model("rnn", 1)
    weight = layer_weights(model.network.layers[0]).hidden_hidden
    weight.data = 0.5 * torch.linalg.qr(weight.data).Q
    flow = gradient_flow(model.network, model.vocabulary.encode(plain(TEXT)))
    assert flow.singular_values[0, 0] == pytest.approx(0.5, abs=1e-5)
    norms = flow.norms[0, 0]
    assert (norms[:-1] <= 0.5 * norms[1:] + 1e-12).all()


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_traces_are_the_hidden_states_that_the_cells_step_through(
    make_model: Callable[..., CharLM], cell: str
) -> None:
    model, text = make_model(cell), plain(TEXT)
    traces = unit_traces(model, text)
    assert traces.shape == (len(text), 2, 24)
    state = model.network.zero_state(1)
    for row, symbol in zip(traces, model.vocabulary.encode(text), strict=True):
        x = model.network.embedding(symbol[None])
        for layer in range(2):
            state[layer] = STEPS[cell](
                x, state[layer], layer_weights(model.network.layers[layer])
            ).detach()
            x = state[layer, 0]
            np.testing.assert_allclose(row[layer], x[0].numpy(), atol=1e-5)


def test_features_mark_the_characters_that_they_name() -> None:
    features = text_features(TEXT)
    assert (
        "".join(c for c, inside in zip(TEXT, features["inside quotes"], strict=True) if inside)
        == '"it falls'
    )
    assert (
        features["position in line"][TEXT.index("\n") + 1] == 0
        and features["position in line"][5] == 5
    )
    assert features["position in word"][:6].tolist() == [1, 2, 3, 0, 1, 2]
    assert (
        "".join(
            c
            for c, capital in zip(TEXT, features["in a word after a capital"], strict=True)
            if capital
        )
        == "The"
    )


def test_a_planted_unit_is_found_and_named() -> None:
    text = TEXT * 4
    traces = np.random.default_rng(0).normal(size=(len(text), 2, 30))
    traces[:, 1, 17] = -3 * text_features(text)["inside quotes"] + 0.01 * traces[:, 1, 17]
    best = matching_units(traces, text)[0]
    assert (best.feature, best.layer, best.unit) == (
        "inside quotes",
        1,
        17,
    ) and best.correlation < -0.99


def test_surprise_is_minus_the_log_probability_and_the_guesses_are_ranked(
    make_model: Callable[..., CharLM],
) -> None:
    model, text = make_model(), plain(TEXT)
    found = surprise(model, text, k=4)
    assert np.isnan(found.nats[0]) and found.likeliest[0] == [""] * 4
    log_probs = model.log_probs(text)
    for t in (1, 7, len(text) - 1):
        assert found.nats[t] == pytest.approx(
            -log_probs[t - 1, model.vocabulary.symbols.index(text[t])].item(), abs=1e-5
        )
        assert found.likeliest[t][0] == model.vocabulary[int(log_probs[t - 1].argmax())]
        assert (np.diff(found.probabilities[t]) <= 0).all()


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_connectivity_is_the_slope_of_the_log_probability_by_each_embedding(
    make_model: Callable[..., CharLM], cell: str
) -> None:
    model, text, position = make_model(cell), plain(TEXT), 8
    model.network.double()
    found = connectivity(model, text, position)
    assert found.shape == (position,) and not model.network.training
    ids = model.vocabulary.encode(text)
    x = model.network.embedding(ids[:position, None]).detach()

    def log_p(x: torch.Tensor) -> float:
        state = model.network.zero_state(1)
        for row in x:
            y = row
            for layer in range(2):
                state[layer] = STEPS[cell](
                    y, state[layer], layer_weights(model.network.layers[layer])
                ).detach()
                y = state[layer, 0]
        value: float = model.network.output(y).log_softmax(-1)[0, ids[position]].item()
        return value

    for t in (0, 5, 7):
        slopes = []
        for unit in range(x.shape[2]):
            nudge = torch.zeros_like(x)
            nudge[t, 0, unit] = 1e-5
            slopes.append((log_p(x + nudge) - log_p(x - nudge)) / 2e-5)
        assert found[t] == pytest.approx(np.linalg.norm(slopes), rel=1e-3)


@pytest.mark.parametrize("position", [0, 99])
def test_a_position_outside_the_text_is_refused(
    make_model: Callable[..., CharLM], position: int
) -> None:
    with pytest.raises(UserError, match="position"):
        connectivity(make_model(), "The", position)


@pytest.mark.parametrize("text", ["Th", plain(TEXT), "The rain\n\n" * 12])
def test_every_figure_can_be_drawn(make_model: Callable[..., CharLM], text: str) -> None:
    model = make_model()
    traces = unit_traces(model, text)
    flow = gradient_flow(model.network, model.vocabulary.encode(text))
    for figure in (
        figures.draw_gradient_flow({"LSTM": flow, "again": flow}),
        figures.draw_units(text, traces, matching_units(traces, text)),
        figures.draw_surprise(text, surprise(model, text)),
        figures.draw_connectivity(text, len(text) - 1, connectivity(model, text, len(text) - 1)),
    ):
        figure.canvas.draw()
