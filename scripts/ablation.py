"""Trains a recipe and variants of it that each change one setting, and prints a table of their
scores on held-out data.

    python scripts/ablation.py charlm CORPUS --output RUNS
    python scripts/ablation.py captioner --annotations dataset.json --images photos/ --output RUNS

A variant that is done is not trained again; one that was interrupted is resumed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnkit.command_line import run_app
from rnnkit.errors import UserError
from rnnkit.runs import RunFolder

Settings = dict[str, Any]

# What the bundled character model was trained with in its first step; less dropout followed.
CHARLM: Settings = {
    "cell": "lstm",
    "hidden_size": 640,
    "num_layers": 2,
    "embedding_size": 128,
    "batch_size": 64,
    "sequence_length": 128,
    "learning_rate": 0.004,
    "weight_decay": 0.01,
    "ema_decay": 0.999,
    "reset_chance": 0.05,
    "mixed_precision": "bf16",
    "dropout_token": 0.05,
    "dropout_input": 0.1,
    "dropout_hidden": 0.4,
    "dropout_output": 0.4,
    "dropout_weight": 0.4,
}

CHARLM_VARIANTS: dict[str, Settings] = {
    "recipe": {},
    "three layers": {"num_layers": 3},
    "more dropout": {
        "dropout_token": 0.1,
        "dropout_hidden": 0.5,
        "dropout_output": 0.5,
        "dropout_weight": 0.5,
    },
    "less dropout": {
        "dropout_token": 0.0,
        "dropout_hidden": 0.25,
        "dropout_output": 0.25,
        "dropout_weight": 0.3,
    },
    "no weight dropout": {"dropout_weight": 0.0},
    "no dropout between layers": {"dropout_hidden": 0.0},
    "no dropout on the output": {"dropout_output": 0.0},
    "no dropout of characters": {"dropout_token": 0.0},
    "no average of weights": {"ema_decay": 0.0},
    "no random start": {"random_start": False},
    "no resets": {"reset_chance": 0.0},
    "more weight decay": {"weight_decay": 0.1},
    "longer chunks": {"sequence_length": 256},
    "tied weights": {"tied": True, "embedding_size": 768},
    "larger batch": {"batch_size": 128, "learning_rate": 0.006},
    "smaller batch": {"batch_size": 32},
    "lower learning rate": {"learning_rate": 0.002},
    "label smoothing": {"label_smoothing": 0.05},
}

# What the bundled captioner was trained with; all other settings are the defaults.
CAPTIONER: Settings = {"fine_tune_stages": 3, "crops": 4}

CAPTIONER_VARIANTS: dict[str, Settings] = {
    "recipe": {},
    # An epoch that never comes, so that the recipe's cached features can be used.
    "encoder frozen": {"fine_tune_from": 1000},
    "no crops": {"crops": 0},
    "no mirror": {"mirror": False},
    "no label smoothing": {"label_smoothing": 0.0},
    "no average of weights": {"ema_decay": 0.0},
    "scheduled sampling": {"sampling_rate": 0.25},
    "sentinel": {"adaptive": True},
    "attention penalty": {"attention_penalty": 1.0},
    "no attention": {"attention": "none"},
    "untied": {"tied": False},
    "narrower": {"hidden_size": 256, "embedding_size": 256},
    "wider": {"hidden_size": 768, "embedding_size": 768},
    "more dropout": {"dropout": 0.6},
    "less dropout": {"dropout": 0.3},
    "stochastic depth": {"stochastic_depth": 0.1},
    "two stages": {"fine_tune_stages": 2},
    "colours": {"colours": True},
}

app = typer.Typer(add_completion=False, no_args_is_help=True)
Output = Annotated[Path, typer.Option(help="Folder for the runs, one for each variant.")]
Only = Annotated[str, typer.Option(help="Variants, separated by commas; all if not given.")]
Jobs = Annotated[int, typer.Option(min=1, help="Runs at the same time.")]
Flags = Annotated[
    str, typer.Option(help="More flags for every run, as one string; they override the recipe.")
]


@app.command()
def charlm(
    corpus: Annotated[Path, typer.Argument(help="UTF-8 text; its last part is held out.")],
    output: Output,
    only: Only = "",
    jobs: Jobs = 1,
    flags: Flags = "",
) -> None:
    """Ablate the character model's recipe; prints a Markdown table, best first."""
    command = ["charlm.cli", "train", str(corpus)]
    records = run_variants(
        command, CHARLM, CHARLM_VARIANTS, output, only=only, jobs=jobs, flags=flags
    )
    print(charlm_table(records))


@app.command()
def captioner(
    annotations: Annotated[Path, typer.Option(help="Captions, as for `captioner train`.")],
    images: Annotated[Path, typer.Option(help="Folder of the photos.")],
    output: Output,
    only: Only = "",
    jobs: Jobs = 1,
    flags: Flags = "",
) -> None:
    """Ablate the captioner's recipe; prints a Markdown table, best first."""
    command = ["captioner.cli", "train", "--annotations", str(annotations), "--images", str(images)]
    records = run_variants(
        command, CAPTIONER, CAPTIONER_VARIANTS, output, only=only, jobs=jobs, flags=flags
    )
    print(captioner_table(records))


def run_variants(
    command: Sequence[str],
    recipe: Settings,
    variants: dict[str, Settings],
    output: Path,
    *,
    only: str,
    jobs: int,
    flags: str,
) -> dict[str, list[dict[str, Any]]]:
    """Train each variant, except those that are already done in the output folder.

    Args:
        command: a module and its arguments, to which --output and the settings are added as flags.
        only: names of variants, separated by commas; empty means all.
        jobs: runs at the same time.
        flags: more flags for every run, as one string; they override the recipe.

    Returns: each variant's records (`metrics.jsonl`).
    Raises: UserError for an unknown variant.
    """
    names = [name.strip() for name in only.split(",") if name.strip()] or list(variants)
    unknown = [name for name in names if name not in variants]
    if unknown:
        raise UserError(f"there is no variant '{unknown[0]}': choose from {', '.join(variants)}")
    output.mkdir(parents=True, exist_ok=True)
    waiting = [name for name in names if not _folder(output, name).with_suffix(".done").exists()]
    running: dict[Path, subprocess.Popen[bytes]] = {}
    try:
        while waiting or running:
            for run, process in list(running.items()):
                if process.poll() is not None:
                    del running[run]
                    if process.returncode == 0:
                        run.with_suffix(".done").touch()
            while waiting and len(running) < jobs:
                name = waiting.pop(0)
                run = _folder(output, name)
                running[run] = _start(command, {**recipe, **variants[name]}, run, flags)
            time.sleep(0.5)
    finally:
        for process in running.values():
            process.terminate()
    return {
        name: RunFolder(_folder(output, name), command[0].removesuffix(".cli")).records()
        for name in names
    }


def _start(
    command: Sequence[str], settings: Settings, run: Path, flags: str
) -> subprocess.Popen[bytes]:
    """Train one variant, or resume it; its output goes to a log beside its folder."""
    arguments = [*command, "--output", str(run)]
    arguments += [flag for key, value in settings.items() for flag in _as_flag(key, value)]
    arguments += flags.split()
    if run.exists():
        arguments.append("--resume")
    with run.with_suffix(".log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-m", *arguments], stdout=log, stderr=log)


def _as_flag(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", str(value)]


def _folder(output: Path, name: str) -> Path:
    return output / name.replace(" ", "-")


def charlm_table(records: dict[str, list[dict[str, Any]]]) -> str:
    """A Markdown table of each run's best held-out loss, the epoch that reached it, and speed."""
    rows = []
    for name, run in records.items():
        scored = [record for record in run if record.get("held_out_stream") is not None]
        if not scored:
            rows.append((9.0, f"| {name} | failed: see its log | | | | |"))
            continue
        best = min(scored, key=lambda record: record["held_out_stream"])
        speeds = sorted(
            record["chars_per_second"] for record in run if "chars_per_second" in record
        ) or [0.0]
        losses = [record["loss"] for record in run if "loss" in record] or [float("nan")]
        cells = (
            f"{best['held_out_stream']:.4f}",
            f"{best['held_out_window-256']:.4f}",
            f"{best['epoch']:.0f} of {scored[-1]['epoch']:.0f}",
        )
        speed = f"{speeds[len(speeds) // 2]:,.0f}"
        row = f"| {name} | {' | '.join(cells)} | {losses[-1]:.3f} | {speed} |"
        rows.append((best["held_out_stream"], row))
    head = (
        "| variant | held-out stream | held-out window-256 | best at epoch | training loss |"
        " chars/s |\n|---|---|---|---|---|---|"
    )
    return "\n".join([head, *(row for _, row in sorted(rows))])


def captioner_table(records: dict[str, list[dict[str, Any]]]) -> str:
    """A Markdown table of each run's validation scores at its best epoch, by CIDEr-D."""
    rows = []
    for name, run in records.items():
        scored = [record for record in run if record.get("cider_d") is not None]
        if not scored:
            rows.append((9.0, f"| {name} | failed: see its log | | | |"))
            continue
        best = max(scored, key=lambda record: record["cider_d"])
        scores = f"{100 * best['cider_d']:.1f} | {100 * best['bleu_4']:.1f}"
        epoch = f"{best['epoch']} of {scored[-1]['epoch']}"
        rows.append((-best["cider_d"], f"| {name} | {scores} | {epoch} | {best['loss']:.3f} |"))
    head = "| variant | CIDEr-D | BLEU-4 | best at epoch | training loss |\n|---|---|---|---|---|"
    return "\n".join([head, *(row for _, row in sorted(rows))])


if __name__ == "__main__":
    run_app("ablation", app)
