"""The captioner that comes with the package, on real photos that an installed dependency ships."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import captioner
from captioner import Captioner
from captioner.network.vocabulary import SPECIAL

FOLDER = Path(captioner.__file__).parent / "pretrained"


def photo(name: str) -> Path:
    gradio = importlib.util.find_spec("gradio")
    assert gradio is not None and gradio.origin is not None
    path = Path(gradio.origin).parent / "media_assets" / "images" / name
    if not path.exists():
        pytest.skip(f"this gradio ships no {name}")
    return path


@pytest.fixture(scope="module")
def bundled() -> Captioner:
    return Captioner.load()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tower.jpg", {"tower", "building", "clock"}),
        (
            "cheetah.jpg",
            {"dog", "cat", "animal", "cheetah", "giraffe", "giraffes", "horse", "tiger"},
        ),
        ("lion.jpg", {"lion", "animal", "bear", "cat", "dog", "sheep", "elephant", "monkey"}),
    ],
)
def test_a_caption_names_what_is_in_the_photo(
    name: str, words: set[str], bundled: Captioner
) -> None:
    captions = bundled.candidates(photo(name), 3, beam_size=5)
    assert words & {word for caption in captions for word in caption.words}, [
        caption.text for caption in captions
    ]


def test_no_word_stands_twice_but_those_that_people_repeat(bundled: Captioner) -> None:
    repeatable = set(bundled.info["decoding"]["repeatable"])
    assert {"a", "the", "of"} <= repeatable and not {"bed", "table", "man"} & repeatable
    for name in ("tower.jpg", "cheetah.jpg", "lion.jpg", "groot.jpeg"):
        for caption in bundled.candidates(photo(name), 5, beam_size=5):
            assert all(
                caption.words.count(word) == 1 or word in repeatable for word in caption.words
            ), caption.text


def test_captions_differ_between_photos_and_use_words_of_the_vocabulary(bundled: Captioner) -> None:
    names = ("tower.jpg", "cheetah.jpg", "lion.jpg", "groot.jpeg")
    captions = bundled.caption([photo(name) for name in names])
    known = set(bundled.vocabulary.words[len(SPECIAL) :])
    assert len({caption.text for caption in captions}) >= 3
    for caption in captions:
        assert 3 <= len(caption.words) <= 20 and set(caption.words) <= known
        assert -8 < caption.score < 0


def test_both_backends_write_the_same_captions_with_nearly_the_same_scores(
    bundled: Captioner,
) -> None:
    names = ("tower.jpg", "cheetah.jpg", "lion.jpg", "groot.jpeg")
    other = Captioner.load(device="cpu", backend="torch")
    pairs = zip(
        bundled.caption([photo(n) for n in names]),
        other.caption([photo(n) for n in names]),
        strict=True,
    )
    same = [(one, two) for one, two in pairs if one.text == two.text]
    assert len(same) >= 3
    assert all(abs(one.score - two.score) < 0.05 for one, two in same)


def test_a_words_attention_lies_on_the_grid(bundled: Captioner) -> None:
    caption = bundled.caption(photo("cheetah.jpg"), attention=True)
    side = round(bundled.encoder.regions**0.5)
    assert caption.attention is not None and caption.attention.shape == (
        len(caption.words),
        side,
        side,
    )
    totals = caption.attention.sum(axis=(1, 2))
    assert (totals < 1.001).all() and (totals > 0).all()


def test_the_config_says_how_good_it_is_and_what_it_was_trained_on(bundled: Captioner) -> None:
    scores = bundled.info["scores"]
    assert scores and bundled.info["data"] and bundled.info["training"]
    for name in ("flickr8k", "coco"):
        report = scores[name]["beam_3"]
        assert report["images"] >= 1000
        for metric, least in (("bleu_4", 0.2), ("cider_d", 0.5)):
            low, high = report["intervals"][metric]
            assert least < low < report["values"][metric] < high, f"{name} {metric}"


def test_the_folder_holds_weights_in_half_precision_and_a_card() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8").lower()
    for said in ("flickr8k", "coco", "licen", "bleu-4", "cider", "efficientnet"):
        assert said in card
    assert (FOLDER / "model.safetensors").stat().st_size < 60e6
    assert not re.search(r"\bTODO\b|@@", card, re.IGNORECASE)


@pytest.mark.slow
def test_a_cold_process_captions_a_photo_within_six_seconds() -> None:
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parents[1])}
    command = [sys.executable, "-m", "captioner.cli", "caption", str(photo("cheetah.jpg"))]
    subprocess.run(
        command, env=environment, capture_output=True, check=True
    )  # the conversion, which is done once
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - started)
        if seconds[-1] < 6:
            break
    assert done.stdout.startswith(f"{photo('cheetah.jpg')}\t") and done.stdout.count("\n") == 1
    load = os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else 0.0
    if min(seconds) > 6 and load > 1.2:
        pytest.skip(
            f"this machine is busy with something else (load {load:.1f} a core):"
            f" {min(seconds):.1f} s"
        )
    assert min(seconds) < 6
