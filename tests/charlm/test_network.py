"""The network: shapes, carried state, dropout, tied weights."""

from __future__ import annotations

import pytest
import torch

from charlm.network import (
    Architecture,
    DropoutRates,
    Network,
    drop_characters,
)
from rnnkit.errors import UserError
from rnnkit.layers import LAYERS, drop_units, layer_weights

CELLS = list(LAYERS)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("weight_dropout", [0.0, 0.5])
def test_every_weight_gets_a_gradient_and_the_logits_have_their_shape(
    cell: str, weight_dropout: float
) -> None:
    network = Network(
        Architecture(11, cell, 16, 3, 6), DropoutRates(0.1, 0.1, 0.2, 0.2, weight_dropout)
    )
    logits, state = network(torch.randint(11, (9, 4)))
    assert logits.shape == (9, 4, 11) and state.shape == (3, 2 if cell == "lstm" else 1, 4, 16)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("cell", CELLS)
def test_two_chunks_with_the_state_carried_over_give_the_logits_of_one(cell: str) -> None:
    network = Network(Architecture(11, cell, 16, 2, 6)).eval()
    ids = torch.randint(11, (20, 3))
    whole, last = network(ids)
    first, state = network(ids[:7])
    second, end = network(ids[7:], state)
    torch.testing.assert_close(torch.cat((first, second)), whole)
    torch.testing.assert_close(end, last)


@pytest.mark.parametrize("cell", CELLS)
def test_a_tiny_weight_dropout_gives_the_result_of_the_fused_layer(cell: str) -> None:
    network = Network(Architecture(11, cell, 16, 2, 6), DropoutRates(weight=1e-12))
    ids = torch.randint(11, (8, 3))
    dropped = network.train()(ids)[0]
    torch.testing.assert_close(dropped, network.eval()(ids)[0])


def test_dropout_acts_while_training_and_not_after() -> None:
    network = Network(Architecture(11, "lstm", 16, 2, 6), DropoutRates(0.2, 0.2, 0.2, 0.2, 0.2))
    ids = torch.randint(11, (8, 3))
    assert not torch.equal(network.train()(ids)[0], network(ids)[0])
    assert torch.equal(network.eval()(ids)[0], network(ids)[0])


def test_units_are_dropped_for_all_time_steps_or_none_and_scaled_up() -> None:
    dropped = drop_units(torch.ones(50, 4, 1000), 0.3)
    assert torch.equal(dropped[0].expand_as(dropped), dropped)
    assert sorted(set(dropped.flatten().tolist())) == pytest.approx([0, 1 / 0.7])
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)


def test_characters_are_dropped_whole_and_each_by_its_own_chance() -> None:
    dropped = drop_characters(torch.ones(200, 10, 4), 0.25)
    assert set(dropped.sum(dim=2).flatten().tolist()) == {0.0, 4.0}
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.05)


def test_the_forget_gates_bias_starts_at_1_in_all_layers() -> None:
    network = Network(Architecture(11, "lstm", 16, 2, 6))
    for layer in network.layers:
        weights = layer_weights(layer)
        total = weights.input_bias + weights.hidden_bias
        assert torch.equal(total[16:32], torch.ones(16)) and not torch.equal(
            total[:16], torch.ones(16)
        )


def test_tied_weights_are_one_matrix() -> None:
    network = Network(Architecture(11, "gru", 16, 2, 16, tied=True))
    assert network.output.weight is network.embedding.weight


@pytest.mark.parametrize(
    "fields",
    [
        {"cell": "transformer"},
        {"hidden_size": 0},
        {"num_layers": 10**9},
        {"hidden_size": 1.5},
        {"tied": True, "embedding_size": 8},
    ],
)
def test_an_invalid_architecture_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UserError):
        Architecture(vocabulary_size=11, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("chance", [-0.1, 1.0])
def test_a_dropout_rate_out_of_range_is_refused(chance: float) -> None:
    with pytest.raises(UserError, match="dropout_hidden"):
        DropoutRates(hidden=chance)
