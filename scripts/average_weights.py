"""The mean of several runs' weights as one captioner, which is often better than each of them
(Wortsman et al. 2022, "Model soups").

    python scripts/average_weights.py runs/one runs/two runs/three --output runs/mean

It works for runs that began at the same weights and have not gone far apart. The config is the
first run's, without its scores and confidence, which are no longer true.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from captioner.checkpoint import KIND, VERSION
from rnnkit.checkpoint import load_checkpoint, save_checkpoint
from rnnkit.command_line import run_app
from rnnkit.errors import UserError

SAME = ("encoder", "decoder", "vocabulary")
NO_LONGER_TRUE = ("scores", "confidence", "epoch", "weights_hash")


def average(
    runs: Annotated[list[Path], typer.Argument(help="Run folders or checkpoints.")],
    output: Annotated[Path, typer.Option(help="Folder of the new checkpoint.")],
) -> None:
    """Store the mean of the weights of several captioners."""
    loaded = [load_checkpoint(run, kind=KIND, version=VERSION) for run in runs]
    tensors, config = loaded[0]
    for run, (_, other) in zip(runs, loaded, strict=True):
        for part in SAME:
            if _network(other[part]) != _network(config[part]):
                raise UserError(f"'{run}' has another {part} than '{runs[0]}': no mean is possible")
    means = {
        name: torch.stack([each[name].double() for each, _ in loaded]).mean(0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in tensors.items()
    }
    kept = {name: value for name, value in config.items() if name not in NO_LONGER_TRUE}
    save_checkpoint(output, means, {**kept, "mean_of": [run.name for run in runs]})


def _network(part: Any) -> Any:
    """A part of the config without the dropout, which only training knows."""
    return part if isinstance(part, list) else {**part, "dropout": None}


if __name__ == "__main__":
    run_app("average_weights", average)
