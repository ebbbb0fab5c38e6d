"""What a training run reports: records in metrics.jsonl, the progress bar, scores and samples."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from charlm.training.config import learning_rate
from rnnkit.checkpoint import WEIGHTS
from rnnkit.errors import UserError

if TYPE_CHECKING:
    from charlm.training.trainer import Trainer


class Meter:
    """Writes what the trainer has not yet reported, and moves the progress bar."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]:.1f}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.3f}, {task.fields[speed]:,.0f} chars/s, left"),
            TimeRemainingColumn(),
            console=trainer.console,
            disable=not trainer.accelerator.is_main_process,
        )
        self.task = self.progress.add_task(
            "",
            total=trainer.total_steps,
            completed=trainer.step,
            epoch=0.0,
            loss=math.nan,
            speed=0.0,
        )
        self.started = time.monotonic() - trainer.elapsed
        self.characters, self.since = 0, time.monotonic()

    def elapsed(self) -> float:
        """Seconds of training so far, those before a resume included."""
        self.trainer.elapsed = time.monotonic() - self.started
        return self.trainer.elapsed

    def report(self) -> None:
        """Write one record. Raises: UserError if the loss is not finite."""
        trainer = self.trainer
        loss, norm = torch.stack(trainer.unreported).mean(dim=0).tolist()
        trainer.unreported = []
        if not math.isfinite(loss):
            kept = (
                f" ('{trainer.run.path}' keeps the best)"
                if (trainer.run.path / WEIGHTS).exists()
                else ""
            )
            raise UserError(
                f"the loss is {loss} at step {trainer.step:,}: lower --learning-rate or"
                f" --clip-norm{kept}"
            )
        speed = self.characters / (time.monotonic() - self.since)
        epoch = trainer.step / trainer.steps_per_epoch
        if trainer.accelerator.is_main_process:
            rate = learning_rate(trainer.settings, trainer.step - 1, trainer.total_steps)
            means = {
                "loss": loss,
                "gradient_norm": norm,
                "learning_rate": rate,
                "chars_per_second": speed,
            }
            trainer.run.log({"step": trainer.step, "epoch": epoch, **means})
        self.progress.update(
            self.task,
            completed=trainer.step,
            total=trainer.total_steps,
            epoch=epoch,
            loss=loss,
            speed=speed,
        )
        self.characters, self.since = 0, time.monotonic()

    def tell_scores(self, scores: dict[str, Any], best: bool, sample: str) -> None:
        """Print the held-out scores in nats per character, whether these weights were kept, and a
        sample.
        """
        told = (
            ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in scores.items())
            or "nothing held out"
        )
        epoch = self.trainer.step / self.trainer.steps_per_epoch
        minutes = self.elapsed() / 60
        self.trainer.console.print(
            f"epoch {epoch:.1f}, {minutes:.1f} min: {told}{' (kept)' if best else ''}\n "
            f" {sample!r}",
            markup=False,
            highlight=False,
        )
        self.since = time.monotonic()
