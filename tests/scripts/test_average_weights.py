"""The script that makes one captioner of several runs."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import captioner
from captioner import Captioner
from captioner.checkpoint import KIND, VERSION
from rnnkit.checkpoint import load_checkpoint, save_checkpoint
from rnnkit.errors import UserError
from tests.captioner.conftest import untrained

__all__ = ["untrained"]  # a fixture
SCRIPT = Path(captioner.__file__).parents[1] / "scripts" / "average_weights.py"


@pytest.fixture(scope="module")
def average() -> Callable[..., None]:
    function: Callable[..., None] = runpy.run_path(str(SCRIPT))["average"]
    return function


def test_each_weight_is_the_mean_of_the_runs_weights(
    average: Callable[..., None], untrained: Path, tmp_path: Path
) -> None:
    tensors, config = load_checkpoint(untrained, kind=KIND, version=VERSION)
    runs = [untrained]
    for factor in (2, 6):
        runs.append(tmp_path / f"times{factor}")
        grown = {name: factor * tensor for name, tensor in tensors.items()}
        learned = {
            "decoder": {**config["decoder"], "dropout": factor / 10},
            "scores": {"beam_3": 1},
        }
        save_checkpoint(runs[-1], grown, {**config, **learned})
    average(runs[1:] + runs[:1], tmp_path / "mean")
    means, kept = load_checkpoint(tmp_path / "mean", kind=KIND, version=VERSION)
    for name, tensor in tensors.items():
        torch.testing.assert_close(means[name], 3 * tensor)  # of 1, 2 and 6
    assert "scores" not in kept
    assert kept["mean_of"] == ["times2", "times6", untrained.name]
    assert Captioner.load(tmp_path / "mean", backend="torch").vocabulary.words


def test_runs_with_different_words_are_refused(
    average: Callable[..., None], untrained: Path, tmp_path: Path
) -> None:
    tensors, config = load_checkpoint(untrained, kind=KIND, version=VERSION)
    words = [*config["vocabulary"][:-1], "unheard"]
    save_checkpoint(tmp_path / "other", tensors, {**config, "vocabulary": words})
    with pytest.raises(UserError, match="other' has another vocabulary than"):
        average([untrained, tmp_path / "other"], tmp_path / "mean")
    assert json.loads((untrained / "config.json").read_text())["vocabulary"] == config["vocabulary"]
