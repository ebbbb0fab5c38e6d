"""The fast one-character step computes what the network does, in each backend."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from charlm import CharLM
from charlm.inference.base import prepare
from charlm.inference.folded_weights import fold_weights
from charlm.inference.torch_stepper import TorchStepper
from rnnkit.errors import UserError
from tests.charlm.conftest import next_log_probs

CELLS = ["rnn", "gru", "lstm"]


@pytest.mark.parametrize("backend", ["openvino", "torch"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_log_probabilities_are_the_networks_to_1e_4(
    make_model: Callable[..., CharLM],
    verse: str,
    cell: str,
    num_layers: int,
    tied: bool,
    backend: str,
) -> None:
    model = make_model(cell, num_layers, tied=tied)
    stepper = (
        model.stepper(1, "float32")
        if backend == "openvino"
        else TorchStepper(fold_weights(model.network), 1, torch.device("cpu"))
    )
    found = next_log_probs(stepper, model.vocabulary.encode(verse[:300]))
    torch.testing.assert_close(found, model.log_probs(verse[:300]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_eight_bit_weights_move_the_loss_by_less_than_5_thousandths(
    make_model: Callable[..., CharLM], verse: str, cell: str
) -> None:
    model = make_model(cell, 2, hidden_size=96)
    ids = model.vocabulary.encode(verse[:500])
    exact, rounded = (
        next_log_probs(model.stepper(1, precision), ids)[:-1] for precision in ("float32", "int8")
    )
    losses = [-log_probs.gather(1, ids[1:, None]).mean() for log_probs in (exact, rounded)]
    assert not torch.equal(exact, rounded)
    assert abs(losses[0] - losses[1]) < 0.005


@pytest.mark.parametrize("backend", ["openvino", "torch"])
@pytest.mark.parametrize("texts", [3, 50])
@pytest.mark.parametrize("cell", CELLS)
def test_texts_in_a_batch_do_not_affect_each_other(
    make_model: Callable[..., CharLM], verse: str, cell: str, texts: int, backend: str
) -> None:
    model = make_model(cell, 2)
    ids = torch.stack(
        [model.vocabulary.encode(verse[start : start + 40]) for start in range(0, 3 * texts, 3)]
    )
    stepper = (
        model.stepper(texts, "float32")
        if backend == "openvino"
        else TorchStepper(fold_weights(model.network), texts, torch.device("cpu"))
    )
    rows = np.stack([stepper(column.numpy()).copy() for column in ids.T])  # (T, texts, V)
    for row, text in enumerate(ids):
        alone = model.log_probs(model.vocabulary.decode(text))
        torch.testing.assert_close(
            torch.from_numpy(rows[:, row]).log_softmax(-1), alone, rtol=0, atol=1e-4
        )


def test_gates_far_from_zero_saturate(make_model: Callable[..., CharLM], verse: str) -> None:
    model = make_model("lstm", 2)
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            if "bias" in name:
                weight.mul_(10_000)  # e to that power is more than 32 bits can hold
    found = next_log_probs(model.stepper(1, "float32"), model.vocabulary.encode(verse[:50]))
    torch.testing.assert_close(found, model.log_probs(verse[:50]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_reset_goes_back_to_the_zero_state(
    make_model: Callable[..., CharLM], precision: str
) -> None:
    stepper = make_model().stepper(1, precision)  # type: ignore[arg-type]
    first = stepper(np.array([3])).copy()
    assert not np.array_equal(stepper(np.array([3])), first)
    stepper.reset()
    np.testing.assert_array_equal(stepper(np.array([3])), first)


@pytest.mark.gpu
@pytest.mark.parametrize("cell", CELLS)
def test_the_step_on_a_gpu_is_the_network_to_1e_3(
    make_model: Callable[..., CharLM], verse: str, cell: str
) -> None:
    model = make_model(cell, 3)
    expected = model.log_probs(verse[:200])
    stepper = prepare(model.network.cuda(), 1)()
    torch.testing.assert_close(
        next_log_probs(stepper, model.vocabulary.encode(verse[:200])), expected, rtol=0, atol=1e-3
    )


def test_pytorch_replaces_an_openvino_that_cannot_run(
    make_model: Callable[..., CharLM], verse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        sys.modules, "charlm.inference.openvino_stepper", None
    )  # importing it then fails
    model = make_model()
    found = next_log_probs(model.stepper(), model.vocabulary.encode(verse[:50]))
    torch.testing.assert_close(found, model.log_probs(verse[:50]), rtol=0, atol=1e-4)
    with pytest.raises(UserError, match="use float32"):
        model.stepper(1, "int8")
