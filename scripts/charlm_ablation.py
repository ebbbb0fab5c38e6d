"""Trains a recipe and variants of it with one lever moved each, some at a time, and prints the table of held-out losses."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnkit.errors import UserError, run_command
from rnnkit.runs import RunFolder

RECIPE: dict[str, Any] = {
    "cell": "lstm",
    "hidden_size": 640,
    "num_layers": 2,
    "embedding_size": 128,
    "batch_size": 64,
    "sequence_length": 128,
    "learning_rate": 0.002,
    "weight_decay": 0.01,
    "average_decay": 0.999,
    "reset_chance": 0.05,
    "precision": "bfloat16",
    "dropout_token": 0.05,
    "dropout_input": 0.1,
    "dropout_hidden": 0.4,
    "dropout_output": 0.4,
    "dropout_weight": 0.4,
}

VARIANTS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "three layers": {"num_layers": 3},
    "more dropout": {"dropout_token": 0.1, "dropout_hidden": 0.5, "dropout_output": 0.5, "dropout_weight": 0.5},
    "less dropout": {"dropout_token": 0.0, "dropout_hidden": 0.25, "dropout_output": 0.25, "dropout_weight": 0.3},
    "no weight dropout": {"dropout_weight": 0.0},
    "no dropout between layers": {"dropout_hidden": 0.0},
    "no dropout on the output": {"dropout_output": 0.0},
    "no dropout of characters": {"dropout_token": 0.0},
    "no average of weights": {"average_decay": 0.0},
    "no random start": {"random_start": False},
    "no resets": {"reset_chance": 0.0},
    "more weight decay": {"weight_decay": 0.1},
    "longer chunks": {"sequence_length": 256},
    "tied weights": {"tied": True, "embedding_size": 768},
    "larger batch": {"batch_size": 128, "learning_rate": 0.003},
    "smaller batch": {"batch_size": 32},
    "higher learning rate": {"learning_rate": 0.004},
    "label smoothing": {"label_smoothing": 0.05},
}


def ablate(
    corpus: Annotated[Path, typer.Argument(help="UTF-8 text; its last tenth is held out.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for the runs, one a variant.")],
    only: Annotated[str, typer.Option("--only", help=f"Variants, separated by commas, of: {', '.join(VARIANTS)}.")] = "",
    jobs: Annotated[int, typer.Option("--jobs", help="Runs at a time.")] = 1,
    flags: Annotated[str, typer.Option("--flags", help="More flags for every run, as one string.")] = "",
) -> None:
    """Run the variants and print a Markdown table, best first."""
    names = [name.strip() for name in only.split(",") if name.strip()] or list(VARIANTS)
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise UserError(f"there is no variant '{unknown[0]}': choose from {', '.join(VARIANTS)}")
    output.mkdir(parents=True, exist_ok=True)
    waiting, running = list(names), list[subprocess.Popen[bytes]]()
    try:
        while waiting or running:
            running = [run for run in running if run.poll() is None]
            while waiting and len(running) < jobs:
                running.append(start(waiting.pop(0), corpus, output, flags))
            time.sleep(0.5)
    finally:
        for run in running:
            run.terminate()
    print(table({name: RunFolder(output / folder_name(name)).records() for name in names}))


def start(name: str, corpus: Path, output: Path, flags: str) -> subprocess.Popen[bytes]:
    """Train one variant in a process of its own; what it says goes to a log beside its folder."""
    settings = {**RECIPE, **VARIANTS[name]}
    arguments = [flag for key, value in settings.items() for flag in as_flag(key, value)]
    run = output / folder_name(name)
    with run.with_suffix(".log").open("wb") as log:
        command = [sys.executable, "-m", "charlm.cli", "train", str(corpus), "--output", str(run), *arguments, *flags.split()]
        return subprocess.Popen(command, stdout=log, stderr=log)


def as_flag(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    return [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]


def folder_name(name: str) -> str:
    return name.replace(" ", "-")


def table(records: dict[str, list[dict[str, Any]]]) -> str:
    """A Markdown table of each run's best held-out loss, where in the run it was, and its speed."""
    rows = []
    for name, run in records.items():
        scored = [record for record in run if record.get("held_out_stream") is not None]
        if not scored:
            rows.append((9.0, f"| {name} | failed: see its log | | | | |"))
            continue
        best = min(scored, key=lambda record: record["held_out_stream"])
        speeds = sorted(record["chars_per_second"] for record in run if "chars_per_second" in record) or [0.0]
        losses = [record["loss"] for record in run if "loss" in record] or [float("nan")]
        cells = (
            f"{best['held_out_stream']:.4f}",
            f"{best['held_out_window-256']:.4f}",
            f"{best['epoch']:.0f} of {scored[-1]['epoch']:.0f}",
        )
        rows.append((best["held_out_stream"], f"| {name} | {' | '.join(cells)} | {losses[-1]:.3f} | {speeds[len(speeds) // 2]:,.0f} |"))
    head = "| variant | held-out stream | held-out window-256 | best at epoch | training loss | chars/s |\n|---|---|---|---|---|---|"
    return "\n".join([head, *(row for _, row in sorted(rows))])


if __name__ == "__main__":
    run_command("charlm_ablation", lambda: typer.run(ablate))
