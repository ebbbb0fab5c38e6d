"""The same work on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from captioner import Captioner
from captioner.data.annotations import read_dataset
from captioner.training.config import TrainingConfig
from captioner.training.trainer import train

Shapes = Callable[[int, int], tuple[Path, Path]]

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

SMALL = TrainingConfig(
    encoder="efficientnet-lite0",
    embedding_size=32,
    hidden_size=32,
    attention_size=16,
    min_count=1,
    dropout=0.1,
    epochs=10,
    batch_size=8,
    captions_per_photo=3,
    learning_rate=0.01,
    warmup_steps=4,
    max_length=8,
    fine_tune_stages=1,
    self_critical_epochs=1,
)


def test_a_captioner_trained_on_a_gpu_writes_the_same_captions_there_and_on_a_cpu(
    shapes: Shapes, tmp_path: Path
) -> None:
    annotations, images = shapes(32, 8)
    best = train(
        [read_dataset(annotations, images)],
        tmp_path / "run",
        SMALL,
        device="cuda",
        cache=tmp_path / "cache",
    )
    assert best["cider_d"] > 2
    photos = [images / f"{number}.png" for number in range(32, 40)]
    there, here = (
        Captioner.load(tmp_path / "run", device=device, backend="torch")
        for device in ("cuda", "cpu")
    )
    assert next(there.decoder.parameters()).is_cuda and not next(here.decoder.parameters()).is_cuda
    pairs = list(zip(there.caption(photos), here.caption(photos), strict=True))
    same = [(one, two) for one, two in pairs if one.text == two.text]
    assert len(same) >= 7 and all(abs(one.score - two.score) < 0.1 for one, two in same)


def test_sampling_on_a_gpu_is_repeated_by_its_seed(shapes: Shapes, tmp_path: Path) -> None:
    annotations, images = shapes(8, 4)
    config = TrainingConfig(**(vars(SMALL) | {"epochs": 1, "self_critical_epochs": 0}))
    train(
        [read_dataset(annotations, images)],
        tmp_path / "run",
        config,
        device="cuda",
        cache=tmp_path / "cache",
    )
    captioner = Captioner.load(tmp_path / "run", device="cuda")
    drawn = [
        [
            caption.text
            for caption in captioner.candidates(images / "0.png", 8, sample=True, seed=seed)
        ]
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.cuda.is_available()
