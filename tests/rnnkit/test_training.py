"""The parts that every training loop shares."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from rnnkit.schedules import warmup_cosine
from rnnkit.training import moving_average, weight_decay_groups


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine() -> None:
    rates = [warmup_cosine(step, 110, peak=1.0, warmup_steps=10, final=0.2) for step in range(111)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[10] == pytest.approx(1.0) and rates[60] == pytest.approx(0.6)
    assert rates[110] == pytest.approx(0.2)
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))


def test_the_cosine_is_torchs() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.5)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40, eta_min=0.1)
    for step in range(40):
        expected = optimizer.param_groups[0]["lr"]
        assert warmup_cosine(step, 40, peak=0.5, warmup_steps=0, final=0.1) == pytest.approx(
            expected
        )
        optimizer.step()
        oracle.step()


def test_matrices_decay_and_biases_do_not_and_frozen_parameters_are_left_out() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    module[1].requires_grad_(False)
    matrices, vectors = weight_decay_groups(module, 0.1, part="decoder")
    assert matrices["params"] == [module[0].weight] and matrices["weight_decay"] == 0.1
    assert vectors["params"] == [module[0].bias] and vectors["weight_decay"] == 0.0
    assert matrices["part"] == vectors["part"] == "decoder"
    assert weight_decay_groups(module[1], 0.1) == []


def test_the_average_is_the_one_computed_by_hand() -> None:
    torch.manual_seed(0)
    module, decay = nn.Linear(3, 2), 0.6
    average = moving_average(module, decay)
    expected = module.weight.detach().clone()
    for update in range(30):
        with torch.no_grad():
            module.weight.add_(torch.randn_like(module.weight))
        average.update_parameters(module)
        rate = 0.0 if update == 0 else min(decay, (1 + update) / (10 + update))
        expected = rate * expected + (1 - rate) * module.weight.detach()
    torch.testing.assert_close(average.module.weight, expected)
    assert not average.module.weight.requires_grad and not average.module.training


def test_without_decay_the_average_is_the_weights_themselves() -> None:
    module = nn.Linear(3, 2)
    average = moving_average(module, 0.0)
    for _ in range(3):
        with torch.no_grad():
            module.weight.mul_(math.pi)
        average.update_parameters(module)
    torch.testing.assert_close(average.module.weight, module.weight, rtol=0, atol=0)
