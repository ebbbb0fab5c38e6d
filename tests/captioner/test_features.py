"""`captioner features`: the numbers are the encoder's, their names are the photos', and the file is
whole or not there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from captioner import Captioner
from captioner.outputs.feature_file import check_feature_file, open_feature_file
from rnnkit.errors import UserError

Run = Callable[..., tuple[int, str, str]]


def read(path: Path) -> tuple[np.ndarray, list[str]]:
    """Features and names of a file."""
    if path.suffix == ".npy":
        about = json.loads(path.with_suffix(".names.json").read_text(encoding="utf-8"))
        return np.load(path), about["names"]
    with safe_open(path, framework="numpy") as file:
        return file.get_tensor("features"), json.loads(file.metadata()["names"])


def test_features_are_the_encoders_and_a_photo_that_cannot_be_read_is_named_and_left_out(
    captioner_command: Run, untrained: Path, photos: Path, tmp_path: Path
) -> None:
    fixed = ("--model", untrained, "--backend", "torch", "--device", "cpu", "--batch-size", 2)
    whole, means = tmp_path / "all.safetensors", tmp_path / "means.npy"
    code, out, said = captioner_command("features", photos, "--output", whole, *fixed)
    assert (
        code == 1
        and out == ""
        and "bad.jpg" in said
        and "photos with features in" in said
        and ": 5; failed: 1;" in said
    )
    features, names = read(whole)
    good = sorted(path for path in photos.iterdir() if path.name != "bad.jpg")
    assert names == [str(path) for path in good]
    captioner = Captioner.load(untrained, device="cpu", backend="torch")
    expected = captioner.encode(np.stack([captioner.prepare(path) for path in good]))
    np.testing.assert_allclose(features, expected, atol=1e-4)
    assert (
        captioner_command("features", *good, "--output", means, "--mean", "--half", *fixed)[0] == 0
    )
    half, same_names = read(means)
    assert half.dtype == np.float16 and same_names == names
    np.testing.assert_allclose(half, expected.mean(dim=1), atol=1e-2)


@pytest.mark.parametrize("suffix", [".safetensors", ".npy"])
@pytest.mark.parametrize("kept", [3, 12])
def test_a_file_says_how_many_photos_it_has_however_many_were_expected(
    suffix: str, kept: int, tmp_path: Path
) -> None:
    names = [f"photo {number} \udcff é.jpg" for number in range(12)]
    rows = np.arange(24, dtype=np.float32).reshape(12, 1, 2)
    path = tmp_path / f"features{suffix}"
    with open_feature_file(path, names, "cnn") as file:
        for number in range(kept):
            file.add(names[number : number + 1], rows[number : number + 1])
    features, found = read(path)
    assert features.tolist() == rows[:kept].tolist() and found == names[:kept]


def test_a_run_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "features.npy"
    path.write_bytes(b"old")
    with (
        pytest.raises(UserError, match="none of the photos"),
        open_feature_file(path, ["a"], "cnn"),
    ):
        pass
    with pytest.raises(KeyboardInterrupt), open_feature_file(path, ["a"], "cnn") as file:
        file.add(["a"], np.zeros((1, 2), np.float32))
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(UserError, match=r"must end in \.safetensors or \.npy"):
        check_feature_file(tmp_path / "features.txt")
