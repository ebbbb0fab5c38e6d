"""How fast charlm trains, beside a bare loop of torch.nn.LSTM and AdamW of the same shape."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from torch import nn
from torch.nn import functional as F

from charlm.training.config import TrainingConfig
from charlm.training.trainer import Trainer
from rnnkit.command_line import run_app
from rnnkit.devices import resolve_device
from rnnkit.runs import RunFolder


class BareModel(nn.Module):
    """An embedding, torch.nn.LSTM and an output layer."""

    def __init__(self, vocabulary_size: int, settings: TrainingConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, settings.embedding_size)
        self.lstm = nn.LSTM(settings.embedding_size, settings.hidden_size, settings.num_layers)
        self.output = nn.Linear(settings.hidden_size, vocabulary_size)

    def forward(
        self, ids: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        y, state = self.lstm(self.embedding(ids), state)
        return self.output(y), state


def benchmark(
    repetitions: Annotated[
        int, typer.Option("--repetitions", help="Alternating repetitions; medians are printed.")
    ] = 5,
    steps: Annotated[int, typer.Option("--steps", help="Training steps in a repetition.")] = 10,
    hidden_size: Annotated[int, typer.Option("--hidden-size")] = 512,
    device: Annotated[str, typer.Option("--device")] = "cpu",
    threads: Annotated[int, typer.Option("--threads")] = 2,
) -> None:
    """Print chars/s of both and their ratio."""
    torch.set_num_threads(threads)
    settings = TrainingConfig(hidden_size=hidden_size, held_out=0.0)
    length = settings.sequence_length * (steps + 1)
    text = "".join(chr(32 + index * index % 65) for index in range(settings.batch_size * length))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            text,
            RunFolder(Path(folder), "charlm"),
            settings,
            resolve_device(device),
            Console(quiet=True),
        )
        inputs = (
            trainer.ids[: settings.batch_size * length]
            .view(settings.batch_size, length)
            .T.contiguous()
        )
        chunks = [
            inputs[start : start + settings.sequence_length + 1]
            for start in range(0, length - settings.sequence_length, settings.sequence_length)
        ]
        bare = BareLoop(len(trainer.vocabulary), settings, trainer.device)
        ours, theirs = [], []
        for repetition in range(repetitions + 1):
            ours.append(
                timed(lambda inputs, targets: trainer._train_one_chunk(inputs, targets)[0], chunks)
            )
            theirs.append(timed(bare.train_one_chunk, chunks))
            if repetition == 0:  # warming up
                ours, theirs = [], []
    characters = len(chunks) * settings.sequence_length * settings.batch_size
    mine, bares = (characters / statistics.median(times) for times in (ours, theirs))
    print(
        f"charlm {mine:,.0f} chars/s, bare loop {bares:,.0f} chars/s, ratio {mine / bares:.2f};"
        " goal: 0.9"
    )


class BareLoop:
    """The least that a training step costs."""

    def __init__(
        self, vocabulary_size: int, settings: TrainingConfig, device: torch.device
    ) -> None:
        self.model = BareModel(vocabulary_size, settings).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=settings.learning_rate)
        zeros = torch.zeros(
            settings.num_layers, settings.batch_size, settings.hidden_size, device=device
        )
        self.state = (zeros, zeros)

    def train_one_chunk(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits, (h, c) = self.model(inputs, self.state)
        self.state = (h.detach(), c.detach())
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def timed(
    step: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], chunks: list[torch.Tensor]
) -> float:
    """Seconds for a training step on each chunk."""
    start = time.perf_counter()
    losses = [step(chunk[:-1], chunk[1:]) for chunk in chunks]
    losses[-1].item()  # waits for the device
    return time.perf_counter() - start


if __name__ == "__main__":
    run_app("benchmark_charlm_training", benchmark)
