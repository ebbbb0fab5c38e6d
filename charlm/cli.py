"""The command line: charlm train, sample, evaluate, inspect."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from charlm.settings import SETTINGS, TrainingSettings  # the settings are the flags
from rnnkit.errors import ALL_DONE, INTERRUPTED, run_command
from rnnkit.settings import settings_from, with_flags

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

ModelOption = Annotated[
    Path | None, typer.Option("--model", help="Folder of a checkpoint or run; without it, the model that comes with the package.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]


@app.command()
@with_flags(TrainingSettings)
def train(
    corpus: Annotated[list[Path], typer.Argument(help="UTF-8 text; several files are read as one text.", metavar="CORPUS...")],
    output: Annotated[Path, typer.Option("--output", help="Folder of the run, which is also the checkpoint.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --output, with its settings.")] = False,
    config: Annotated[Path | None, typer.Option("--config", help="JSON file of settings; flags win over it.")] = None,
    device: DeviceOption = "auto",
    **flags: Any,
) -> None:
    """Train a model on a text."""
    from rich.console import Console

    from charlm.corpus import read_text
    from charlm.training import train as run_training
    from rnnkit.devices import resolve_device

    if resume and config is None and (output / SETTINGS).exists():
        config = output / SETTINGS
    settings = settings_from(TrainingSettings, config, flags)
    text = "".join(read_text(path) for path in corpus)
    finished = run_training(text, output, settings, device=resolve_device(device), resume=resume, console=Console(stderr=True))
    sys.exit(ALL_DONE if finished else INTERRUPTED)


@app.command()
def evaluate(
    file: Annotated[Path, typer.Argument(help="UTF-8 text to score.")],
    model: ModelOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: DeviceOption = "auto",
) -> None:
    """Nats and bits per character of a text, under the two protocols stream and window-256."""
    from charlm import evaluation
    from charlm.corpus import read_text
    from charlm.model import CharLM

    lm = CharLM.load(model, device=device)
    scores = evaluation.evaluate(lm.network, lm.vocabulary.encode(read_text(file), unknown="replace").to(lm.device))
    if as_json:
        print(json.dumps({name: score.as_json() for name, score in scores.items()}, indent=1))
        return
    for name, score in scores.items():
        print(f"{name:<10}  {score.nats_per_char:.4f} nats/char  {score.bits_per_char:.4f} bits/char  {score.characters:,} characters")


def main() -> None:
    """The console command."""
    run_command("charlm", app)


if __name__ == "__main__":
    main()
