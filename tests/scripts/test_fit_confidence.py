"""The script that fits the confidence of a checkpoint that was trained without it."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import captioner
from captioner import Captioner
from rnnkit.errors import UserError
from tests.captioner.conftest import shapes, untrained

__all__ = ["shapes", "untrained"]  # fixtures
SCRIPT = Path(captioner.__file__).parents[1] / "scripts" / "fit_confidence.py"


@pytest.fixture(scope="module")
def fit() -> Callable[..., None]:
    function: Callable[..., None] = runpy.run_path(str(SCRIPT))["fit"]
    return function


def test_it_stores_what_it_fitted_beside_the_same_weights_and_says_how_true_it_is(
    fit: Callable[..., None],
    untrained: Path,
    shapes: Callable[[int, int], tuple[Path, Path]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    annotations, images = shapes(0, 16)
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(untrained, checkpoint)
    options: dict[str, Any] = {
        "checkpoint": checkpoint, "annotations": [annotations], "images": [images],
        "split": "val", "beam_size": 1, "device": "cpu", "backend": "torch",
    }  # fmt: skip
    with pytest.raises(UserError, match="--measure needs to know how sure"):
        fit(**options, only_measure=True)
    before = Captioner.load(checkpoint, device="cpu", backend="torch").caption(images / "0.png")
    fit(**options, only_measure=False)
    printed = capsys.readouterr().out
    assert "16 photos" in printed and "expected calibration error" in printed
    assert "| captions kept |" in printed and f"stored in {checkpoint}" in printed
    assert (checkpoint / "model.safetensors").read_bytes() == (
        untrained / "model.safetensors"
    ).read_bytes()
    assert json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["confidence"]
    after = Captioner.load(checkpoint, device="cpu", backend="torch").caption(images / "0.png")
    assert (after.text, after.score) == (before.text, before.score)
    assert before.confidence is None and after.confidence is not None
    fit(**options, only_measure=True)
    assert "16 photos" in capsys.readouterr().out
