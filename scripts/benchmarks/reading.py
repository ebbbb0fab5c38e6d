"""How fast a model of `sequences` reads: one text warm, and many in batches.

    python scripts/benchmarks/reading.py MODEL TEXTS [--threads 2]

TEXTS has a text a line. Prints the median time of a single text, texts a second in batches, and how
long the console command takes to answer, beside what Python takes to import torch and do nothing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import typer

from rnnkit.command_line import run_app
from sequences.data import read_lines
from sequences.load import load_model
from sequences.tagger import Tagger
from sequences.translator import Translator


def benchmark(
    model: str,
    texts_file: Annotated[Path, typer.Argument(metavar="TEXTS")],
    threads: int = 2,
    repeats: int = 3,
) -> None:
    """Measure a model on the texts of a file."""
    torch.set_num_threads(threads)
    loaded = load_model(model)
    texts = [line for line in read_lines(texts_file) if line.strip()]
    run: Callable[[list[str]], object]
    if isinstance(loaded, Translator):
        run = loaded.translate_batch
    elif isinstance(loaded, Tagger):
        run = loaded.tag_batch
    else:
        run = loaded.classify_batch
    run(texts[:64])
    singles = [_seconds(partial(run, [text])) for text in texts[:100]]
    print(f"one text: {1000 * median(singles):.1f} ms (median of {len(singles)})")
    batches = [_seconds(partial(run, texts)) for _ in range(repeats)]
    print(f"{len(texts):,} texts in batches: {len(texts) / median(batches):,.0f} a second")
    console = "from rnnkit.entry_points import sequences; sequences()"
    commands = {
        "import torch alone": ["import torch"],
        "the command, one text": [console, loaded.task, texts[0], "--model", model],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats):  # in turn, so that both see the same load
        for name, (code, *arguments) in commands.items():
            run_python = [sys.executable, "-c", code, *arguments]
            start = partial(subprocess.run, run_python, check=True, capture_output=True)
            times[name].append(_seconds(start))
    for name, seconds in times.items():
        print(f"{name}: {median(seconds):.2f} s from start to end")


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def main() -> None:
    """Run from the command line."""
    run_app("reading.py", benchmark)


if __name__ == "__main__":
    main()
