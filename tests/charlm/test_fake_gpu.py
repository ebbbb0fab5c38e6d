"""What runs on a GPU, without one: nothing is left on the CPU, and no operation mixes devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from charlm import CharLM
from charlm.evaluation import evaluate
from charlm.inference.folded_weights import fold_weights
from charlm.inference.torch_stepper import TorchStepper
from charlm.training.config import TrainingConfig
from charlm.training.trainer import Trainer
from rnnkit.runs import RunFolder
from rnnkit.training import moving_average, weight_decay_groups
from tests.fake_gpu import CUDA, devices, fake_gpu, without_gradients

CELLS = ["rnn", "gru", "lstm"]


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_of_training_in_bf16_stays_on_the_gpu(
    cell: str, tmp_path: Path, verse: str, tiny_settings: TrainingConfig
) -> None:
    settings = dataclasses.replace(
        tiny_settings, cell=cell, reset_chance=0.1, dropout_token=0.1, dropout_hidden=0.1,
        dropout_weight=0.1, ema_decay=0.9,
    )  # fmt: skip
    run = RunFolder(tmp_path, "charlm")
    trainer = Trainer(verse, run, settings, torch.device("cpu"), Console(quiet=True))
    with fake_gpu():
        trainer.device = CUDA
        trainer.network.to(CUDA)
        trainer.average = moving_average(trainer.network, settings.ema_decay)
        trainer.optimizer = torch.optim.AdamW(weight_decay_groups(trainer.network, 0.1))
        trainer.accelerator.backward = without_gradients(trainer.network)
        trainer.state = trainer.network.zero_state(4)
        ids = torch.zeros(16, 4, dtype=torch.long, device=CUDA)
        with torch.autocast("cuda", torch.bfloat16):
            loss, norm = trainer._train_one_chunk(ids, ids)
        assert loss.device == norm.device == trainer.state.device == CUDA
        assert devices(trainer.network, trainer.optimizer) == {CUDA}
        assert {parameter.device for parameter in trainer.averaged.parameters()} == {CUDA}


@pytest.mark.parametrize("cell", CELLS)
def test_a_text_is_scored_and_continued_where_the_network_is(
    cell: str, make_model: Callable[..., CharLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TorchStepper, "_capture", lambda self: None)  # needs a real one
    network = make_model(cell).network
    weights = fold_weights(network)
    with fake_gpu():
        stepper = TorchStepper(weights, 3, CUDA)
        stepper._step()
        stepper.reset()
        assert stepper.logits.device == stepper.state.device == CUDA
        network.to(CUDA)
        logits, state = network(torch.zeros(5, 2, dtype=torch.long, device=CUDA))
        assert logits.device == state.device == CUDA
        scores = evaluate(network, torch.zeros(600, dtype=torch.long, device=CUDA))
        assert {score.characters for score in scores.values()} == {599}
