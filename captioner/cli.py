"""The command line: captioner caption | train | evaluate | explain."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnkit.errors import UserError, run_command
from rnnkit.settings import settings_from, with_flags

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Write sentences about photos; train and judge the network that does.")

from captioner.training import TrainingConfig, train  # noqa: E402


@app.callback()
def _about() -> None:
    """Write sentences about photos; train and judge the network that does."""


@app.command("train")
@with_flags(TrainingConfig)
def train_command(
    *,
    annotations: Annotated[list[Path], typer.Option(help="Captions: Karpathy's or COCO's JSON, Flickr8k's token file, a CSV. Repeatable.")],
    images: Annotated[list[Path], typer.Option(help="Folder of the photos, one for each --annotations.")],
    output: Annotated[Path, typer.Option(help="Run folder: checkpoint, metrics.jsonl, metrics.png.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --output.")] = False,
    config: Annotated[Path | None, typer.Option(help="JSON file with settings; flags win over it.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    cache: Annotated[Path | None, typer.Option(help="Where computed features are kept.")] = None,
    **flags: Any,
) -> None:
    """Train a captioner on your photos."""
    from captioner.datasets import read_dataset

    if len(annotations) != len(images):
        raise UserError(f"{len(annotations)} --annotations but {len(images)} --images: give one folder of photos for each file of captions")
    settings = settings_from(TrainingConfig, config, flags)
    datasets = [read_dataset(file, folder) for file, folder in zip(annotations, images, strict=True)]
    train(datasets, output, settings, device=device, resume=resume, cache=cache)


def main() -> None:
    """Entry point of the `captioner` command."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("captioner").setLevel(logging.INFO)
    run_command("captioner", lambda: app(prog_name="captioner"))


if __name__ == "__main__":
    main()
