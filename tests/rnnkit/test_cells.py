"""The written-out cells are torch's, and the lecture's example comes out."""

from __future__ import annotations

import doctest
from itertools import pairwise

import pytest
import torch

import rnnkit.cells
from rnnkit.cells import STEPS, Weights, rnn_step
from rnnkit.layers import LAYERS


@pytest.mark.parametrize("cell", LAYERS)
def test_a_cell_stepped_through_a_sequence_is_torchs_layer_forward_and_backward(cell: str) -> None:
    torch.manual_seed(1)
    layer = LAYERS[cell](5, 7).double()
    x = torch.randn(11, 3, 5, dtype=torch.float64, requires_grad=True)
    parts = 2 if cell == "lstm" else 1
    start = torch.randn(parts, 3, 7, dtype=torch.float64, requires_grad=True)
    mix = torch.randn(11, 3, 7, dtype=torch.float64)

    expected, _ = layer(x, (start[:1], start[1:]) if parts == 2 else start)
    state, steps = start, []
    for row in x:
        state = STEPS[cell](row, state, Weights(*layer.parameters()))
        steps.append(state[0])
    found = torch.stack(steps)

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    wanted = [x, start, *layer.parameters()]
    for mine, torchs in zip(
        torch.autograd.grad((found * mix).sum(), wanted),
        torch.autograd.grad((expected * mix).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(mine, torchs, rtol=0, atol=1e-6)


def test_the_worked_hello_example_of_the_docstring_comes_out() -> None:
    result = doctest.testmod(rnnkit.cells)
    assert result.attempted > 5 and result.failed == 0


def test_a_vanilla_rnn_trained_on_hello_spells_it_back_from_h() -> None:
    torch.manual_seed(0)
    letters = "helo"
    one_hot, ids = torch.eye(4), [letters.index(c) for c in "hello"]
    weights = Weights(
        *(torch.nn.Parameter(0.5 * torch.randn(shape)) for shape in ((3, 4), (3, 3), (3,), (3,)))
    )
    output = torch.nn.Parameter(torch.randn(4, 3))
    optimizer = torch.optim.Adam([*weights, output], lr=0.05)
    for _ in range(300):
        state, loss = torch.zeros(1, 1, 3), torch.zeros(())
        for index, following in pairwise(ids):
            state = rnn_step(one_hot[index][None], state, weights)
            loss = loss + torch.nn.functional.cross_entropy(
                state[0] @ output.T, torch.tensor([following])
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    spelt, state = "h", torch.zeros(1, 1, 3)
    for _ in range(4):
        state = rnn_step(one_hot[letters.index(spelt[-1])][None], state, weights)
        spelt += letters[int((state[0] @ output.T).argmax())]
    assert spelt == "hello"
