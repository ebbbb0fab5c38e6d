"""The script that gives a trained captioner another CNN and more words."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import captioner
from captioner import Captioner
from captioner.data.images import open_image
from rnnkit.errors import UserError
from tests.captioner.conftest import shapes, untrained

__all__ = ["shapes", "untrained"]  # fixtures
SCRIPT = Path(captioner.__file__).parents[1] / "scripts" / "change_encoder.py"


@pytest.fixture(scope="module")
def change() -> Callable[..., None]:
    function: Callable[..., None] = runpy.run_path(str(SCRIPT))["change"]
    return function


@pytest.fixture
def options(
    untrained: Path, shapes: Callable[[int, int], tuple[Path, Path]], tmp_path: Path
) -> dict[str, Any]:
    """For the same CNN at the same size, and captions with a word that is new."""
    annotations, images = shapes(40, 0)
    data = json.loads(annotations.read_text(encoding="utf-8"))
    for record in data["images"]:
        record["sentences"] = [{"raw": "word1 word2 unheard"}]
    annotations.write_text(json.dumps(data), encoding="utf-8")
    return {
        "model": untrained, "encoder": "efficientnet-lite0", "encoder_weights": None,
        "annotations": [annotations], "images": [images], "output": tmp_path / "start",
        "image_size": 0, "colours": True, "min_count": 1, "count": 40,
    }  # fmt: skip


def test_the_decoder_sees_in_the_new_regions_what_it_saw_in_the_old(
    change: Callable[..., None], options: dict[str, Any]
) -> None:
    change(**options)
    old, new = (Captioner.load(options[each], backend="torch") for each in ("model", "output"))
    assert new.decoder.config.channels == old.decoder.config.channels + 20  # colours
    assert torch.equal(new.decoder.from_hidden.weight, old.decoder.from_hidden.weight)
    photo = open_image(options["images"][0] / "7.png")
    with torch.inference_mode():
        wanted, given = (
            each.decoder.value(each.encode(each.prepare(photo)[None]).float())
            for each in (old, new)
        )  # (1, R, H)
    unexplained = (given - wanted).square().sum() / (wanted - wanted.mean(1)).square().sum()
    assert unexplained < 0.1


def test_known_words_keep_their_places_in_the_embedding_and_new_ones_are_rare(
    change: Callable[..., None], options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    change(**options)
    assert "7 words, 1 of them new" in capsys.readouterr().out  # four are special tokens
    old, new = (Captioner.load(options[each], backend="torch") for each in ("model", "output"))
    for word in ("word1", "word2", "<end>"):
        here, there = (each.vocabulary.words.index(word) for each in (new, old))
        assert torch.equal(new.decoder.embedding.weight[here], old.decoder.embedding.weight[there])
        assert new.decoder.output_bias[here] == old.decoder.output_bias[there]
    unheard = new.vocabulary.words.index("unheard")
    assert new.decoder.output_bias[unheard] == old.decoder.output_bias.min()


def test_a_cnn_with_other_regions_is_refused(
    change: Callable[..., None], options: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="'efficientnet-lite0' has 16 regions"):
        change(**options | {"image_size": 128})
