"""What a long run prints on stderr: progress, failures as they happen, and a summary."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from captioner.types import CaptionResult


@dataclass
class Summary:
    """What became of all photos."""

    captioned: int = 0
    skipped: int = 0
    failed: Counter[str] = field(default_factory=Counter)  # by reason
    started: float = field(default_factory=time.monotonic)
    unsure: int = 0  # of those captioned

    def count(self, path: Path, error: str | None, *, unsure: bool = False) -> None:
        """Count a photo: captioned, or failed for this reason, which is printed at once."""
        if error is None:
            self.captioned += 1
            self.unsure += unsure
        else:
            print_status(f"{path}: {error}")
            # Without the details of this photo, which are in parentheses.
            self.failed[error.partition(" (")[0]] += 1

    def __bool__(self) -> bool:
        """Whether any photo was captioned or failed."""
        return bool(self.captioned or self.failed)

    def __str__(self) -> str:
        seconds = time.monotonic() - self.started
        done = self.captioned + self.failed.total()
        reasons = "; ".join(f"{count} {reason}" for reason, count in self.failed.most_common())
        failed = f"failed {self.failed.total()}" + (f" ({reasons})" if reasons else "")
        unsure = f" ({self.unsure} of them unsure)" if self.unsure else ""
        rate = f"; {done / seconds:.1f} photos/s, {duration(seconds)}" if self.captioned else ""
        return f"captioned {self.captioned}{unsure}, skipped {self.skipped}, {failed}{rate}"


def with_progress(
    batches: Iterator[list[CaptionResult]], total: int | None, *, doing: str = "captioning"
) -> Generator[list[CaptionResult], None, None]:
    """The same batches, with a bar on a terminal and a line every half minute elsewhere.

    Args:
        total: the number of photos, if it is known.
        doing: what the bar is of.
    """
    console = Console(stderr=True)
    if not console.is_terminal or total == 1:

        def say(done: int, rate: float) -> None:
            if total is None:
                print_status(f"{done} photos, {rate:.1f} a second")
            else:
                print_status(
                    f"{done} of {total} photos, {rate:.1f} a second,"
                    f" {duration((total - done) / rate)} left"
                )

        yield from _report(batches, say, every=30)
        return
    columns = (
        TextColumn(doing),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total, rate="")
        yield from _report(
            batches,
            lambda done, rate: progress.update(task, completed=done, rate=f"{rate:.0f} photos/s"),
            every=0.2,
        )


def print_status(message: str) -> None:
    """Print one line on stderr."""
    print(f"captioner: {' '.join(message.splitlines())}", file=sys.stderr)


def duration(seconds: float) -> str:
    """3 h 20 min, 5 min 10 s or 7.3 s."""
    if seconds < 59.95:  # which would be 60.0
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _report(
    batches: Iterator[list[CaptionResult]],
    report: Callable[[int, float], object],
    *,
    every: float,
) -> Iterator[list[CaptionResult]]:
    """Pass the batches on; call report(photos done, photos a second) every `every` seconds."""
    started = reported = time.monotonic()
    done = 0
    for rows in batches:
        yield rows
        done += len(rows)
        now = time.monotonic()
        if now - reported >= every:
            reported = now
            report(done, done / (now - started))
