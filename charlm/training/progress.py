"""What a training run shows on the console: a progress bar, scores and samples."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Meter:
    """A progress bar with epoch, loss and speed; use it as a context manager.

    Args:
        step: where the run starts, or resumes.
        shown: False in all processes but the main one.
    """

    def __init__(self, console: Console, *, step: int, total_steps: int, shown: bool) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not shown,
        )
        self.task = self.progress.add_task("training", total=total_steps, completed=step)

    def __enter__(self) -> Meter:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def update(
        self, step: int, total_steps: int, *, epoch: float, loss: float, speed: float
    ) -> None:
        """Move the bar. loss: nats per character; speed: characters a second."""
        self.progress.update(
            self.task,
            completed=step,
            total=total_steps,
            description=f"epoch {epoch:.1f}, loss {loss:.3f}, {speed:,.0f} chars/s",
        )

    def print_scores(
        self, scores: Mapping[str, float], *, epoch: float, minutes: float, kept: bool, sample: str
    ) -> None:
        """Print the held-out scores in nats per character, whether these weights were kept, and a
        sample.
        """
        shown = [f"{name.replace('_', ' ')} {value:.4f}" for name, value in scores.items()]
        self.console.print(
            f"epoch {epoch:.1f}, {minutes:.1f} min: {', '.join(shown) or 'nothing held out'}"
            f"{' (kept)' if kept else ''}\n  {sample!r}",
            markup=False,
            highlight=False,
        )
