"""Fused layers, in both directions and dilated, against the equations and torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnkit.errors import UserError
from rnnkit.layers import (
    LAYERS,
    Stack,
    parse_dilations,
    reverse,
    run_dilated,
    run_layer,
    run_written_out,
)

LENGTHS = torch.tensor([7, 4, 1])


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("dilation", [1, 2, 3, 10])
def test_a_dilated_layer_is_the_written_out_cell_forward_and_backward(
    cell: str, dilation: int
) -> None:
    torch.manual_seed(1)
    layer = LAYERS[cell](5, 6).double()
    x, mix = some(8, 3, 5).requires_grad_(), some(8, 3, 6, seed=1)
    fused, written = run_dilated(layer, x, dilation), run_written_out(layer, x, dilation)
    torch.testing.assert_close(fused, written, rtol=0, atol=1e-10)
    wanted = [x, *layer.parameters()]
    for mine, theirs in zip(
        torch.autograd.grad((fused * mix).sum(), wanted),
        torch.autograd.grad((written * mix).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("cell", LAYERS)
def test_a_bidirectional_stack_is_torchs_own_on_sentences_of_different_lengths(cell: str) -> None:
    stack = Stack(cell, 5, 6, 2, bidirectional=True).double().eval()
    oracle = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell](
        5, 6, num_layers=2, bidirectional=True
    ).double()
    layers = [layer for pair in zip(stack.forwards, stack.backwards, strict=True) for layer in pair]
    own = [parameter for layer in layers for parameter in layer.parameters()]
    with torch.no_grad():
        for theirs, mine in zip(oracle.parameters(), own, strict=True):
            theirs.copy_(mine)
    x = some(7, 3, 5)
    expected, _ = pad_packed_sequence(oracle(pack_padded_sequence(x, LENGTHS))[0])
    found = stack(x, LENGTHS)
    for column, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(
            found[:length, column], expected[:length, column], rtol=0, atol=1e-10
        )


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_comes_after_a_sentence_changes_nothing(cell: str, bidirectional: bool) -> None:
    stack = Stack(cell, 5, 6, 3, bidirectional=bidirectional, dilations=(1, 2, 4)).double().eval()
    x = some(7, 3, 5)
    batch = stack(x, LENGTHS)
    for column, length in enumerate(LENGTHS.tolist()):
        alone = stack(x[:length, column : column + 1])
        torch.testing.assert_close(batch[:length, column], alone[:, 0], rtol=0, atol=1e-10)


def test_layer_k_of_a_dilated_stack_reaches_back_as_far_as_its_dilations_say() -> None:
    stack = Stack("rnn", 1, 4, 1, dilations=(4,)).double().eval()
    x = some(12, 1, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(stack(x)[11].sum(), x)
    assert gradient.flatten().nonzero().flatten().tolist() == [3, 7, 11]


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 7])
def test_a_dilated_layer_read_in_chunks_carries_its_states_over(cell: str, chunk: int) -> None:
    layer = LAYERS[cell](5, 6).double()
    x = some(16, 3, 5)
    state, outputs = x.new_zeros(2 if cell == "lstm" else 1, 3, 3 * 6), []
    for start in range(0, 16, chunk):
        y, state = run_layer(layer, x[start : start + chunk], state, dilation=3)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs), run_dilated(layer, x, 3), rtol=0, atol=1e-12)


@pytest.mark.parametrize("text", ["", "1,", "0", "1,x", "2000", "-1"])
def test_what_are_no_dilations_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="separated by commas"):
        parse_dilations(text)


def test_reversing_twice_gives_the_sentence_back() -> None:
    x = some(7, 3, 2)
    once = reverse(x, LENGTHS)
    assert torch.equal(once[:4, 1], x[:4, 1].flip(0)) and torch.equal(once[4:, 1], x[4:, 1])
    assert torch.equal(reverse(once, LENGTHS), x)


@pytest.mark.parametrize(("cell", "dilations"), [("mlp", (1,)), ("gru", (0,)), ("gru", ())])
def test_a_stack_that_cannot_be_is_refused(cell: str, dilations: tuple[int, ...]) -> None:
    with pytest.raises(UserError):
        Stack(cell, 2, 2, dilations=dilations)
