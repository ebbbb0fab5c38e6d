"""Graphs run by OpenVINO: what PyTorch computes, whatever the shapes, and a cache that is never
stale or half.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("rnnkit.openvino", reason="OpenVINO is not installed")

from captioner import Captioner
from captioner.backends.openvino_backend import OpenVinoBackend, OpenVinoDecoder
from captioner.backends.torch_backend import TorchBackend
from captioner.network.backbones import create_encoder
from captioner.network.decoder import Decoder, DecoderConfig, Memory, State
from captioner.network.encoder import Encoder
from captioner.network.vocabulary import END, SPECIAL, Vocabulary
from captioner.types import Decoding
from rnnkit.trees import map_tree

KINDS: list[dict[str, Any]] = [{}, {"adaptive": True}, {"tied": False}]
WORDS, CHANNELS = 30, 12


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return create_encoder("efficientnet-lite0")


def make_decoder(seed: int = 0, **choices: Any) -> Decoder:
    torch.manual_seed(seed)
    return Decoder(
        DecoderConfig(
            WORDS, CHANNELS, embedding_size=10, hidden_size=11, attention_size=9, **choices
        )
    ).eval()


@pytest.mark.parametrize("choices", KINDS, ids=str)
def test_the_decoder_runs_as_in_pytorch_whatever_the_number_of_photos_sentences_and_regions(
    choices: dict[str, Any],
) -> None:
    decoder = make_decoder(**choices)
    converted = OpenVinoDecoder(decoder, f"weights of {choices}")
    for images, sentences, regions in ((1, 1, 4), (3, 2, 9), (2, 5, 49), (1, 3, 81)):
        features = torch.rand(images, regions, CHANNELS)
        with torch.no_grad():
            state, memory = decoder.start(features)
            found_state, found_memory = converted.start(features)
            torch.testing.assert_close(
                [*found_state, *found_memory], [*state, *memory], atol=1e-4, rtol=1e-4
            )
            state, found_state = (
                map_tree(lambda leaf: leaf.expand(-1, sentences, -1).contiguous(), s)  # noqa: B023 - called at once
                for s in (state, found_state)
            )
            for _ in range(4):
                words = torch.randint(0, WORDS, (images, sentences))
                logits, state, _ = decoder.step(words, state, memory)
                found, found_state, _ = converted.step(words, found_state, found_memory)
                torch.testing.assert_close(found, logits, atol=1e-3, rtol=1e-3)
                torch.testing.assert_close([*found_state], [*state], atol=1e-3, rtol=1e-3)
    assert isinstance(found_state, State) and isinstance(found_memory, Memory)


def test_results_are_not_written_over_by_the_next_call(encoder: Encoder) -> None:
    backend = OpenVinoBackend(encoder, 0, "w")
    pixels = [
        np.random.default_rng(seed).integers(0, 255, (1, 224, 224, 3), dtype=np.uint8)
        for seed in (0, 1)
    ]
    first = backend.encode(pixels[0])
    kept = first.clone()
    backend.encode(pixels[1])
    assert torch.equal(first, kept)


@pytest.mark.parametrize("photos", [1, 7, 8, 9, 17])
def test_photos_run_in_parts_come_in_order(photos: int, encoder: Encoder) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (photos, 224, 224, 3), dtype=np.uint8)
    found = OpenVinoBackend(encoder, 0, "w").encode(pixels)
    expected = TorchBackend(encoder, torch.device("cpu")).encode(pixels)
    assert found.shape == expected.shape
    assert float((found - expected).abs().mean() / expected.abs().mean()) < 0.02


def test_threads_share_an_backend_without_mixing_their_photos(encoder: Encoder) -> None:
    backend = OpenVinoBackend(encoder, 0, "w")
    pixels = [
        np.random.default_rng(seed).integers(0, 255, (1 + seed % 2, 224, 224, 3), dtype=np.uint8)
        for seed in range(4)
    ]
    expected = [backend.encode(picture) for picture in pixels]
    mixed: list[int] = []

    def work(number: int) -> None:
        for _ in range(6):
            if not torch.equal(backend.encode(pixels[number]), expected[number]):
                mixed.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not mixed


def test_pytorch_has_one_thread_beside_openvino_and_its_own_number_afterwards(
    encoder: Encoder,
) -> None:
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), OpenVinoBackend(encoder, 0, "w").threads():
        assert torch.get_num_threads() == 1
        raise RuntimeError
    assert torch.get_num_threads() == before


def test_a_captioner_whose_networks_are_converted_starts_without_the_cnn_library(
    tmp_path: Path,
) -> None:
    encoder, words = create_encoder("efficientnet-lite0"), (*SPECIAL, "a", "dog", "on", "grass")
    decoder = Decoder(DecoderConfig(len(words), encoder.channels, 16, 16, 8))
    Captioner(encoder, decoder, Vocabulary(words)).save(tmp_path / "model")
    program = (
        "import sys, numpy, captioner; from captioner import Captioner\n"
        f"model = Captioner.load({str(tmp_path / 'model')!r}, device='cpu')\n"
        "print(model.caption_pixels(numpy.zeros((2, 224, 224, 3), numpy.uint8))[1][0].text)\n"
        "print(sorted({'timm', 'torchvision'} & set(sys.modules)), model.encoder.regions)\n"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True
        ).stdout
        for _ in range(2)
    ]
    first, second = (text.splitlines() for text in printed)
    assert first[0] == second[0]
    assert first[1] == "['timm', 'torchvision'] 49" and second[1] == "[] 49"


@pytest.mark.parametrize("ending", [".bin", ".xml"])
def test_a_converted_network_that_was_changed_is_made_again(
    ending: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("SHOW_AND_SPELL_CACHE", str(tmp_path / "cache"))
    decoder, features = make_decoder(), torch.rand(1, 4, CHANNELS)
    expected = OpenVinoDecoder(decoder, "w").start(features)
    files = sorted((tmp_path / "cache" / "openvino").glob(f"*{ending}"))
    for path in files:
        content = bytearray(path.read_bytes())
        content[-40:] = content[-40:].upper() if ending == ".xml" else b"\x01\x00\x80?" * 10
        path.write_bytes(content)
    with caplog.at_level("WARNING", "captioner"):
        found = OpenVinoDecoder(decoder, "w").start(features)
    assert caplog.text.count("is damaged (its bytes are not those that were written)") == 2
    torch.testing.assert_close([*found[0], *found[1]], [*expected[0], *expected[1]])
    with caplog.at_level("WARNING", "captioner"):
        OpenVinoDecoder(decoder, "w")
    assert caplog.text.count("is damaged") == 2


def test_the_cache_of_converted_networks_is_made_for_its_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOW_AND_SPELL_CACHE", str(tmp_path / "new" / "cache"))
    OpenVinoDecoder(make_decoder(), "w")
    for folder in ("new", "new/cache", "new/cache/openvino"):
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kept", [0, 1000, -4])
def test_weights_of_a_converted_network_that_are_cut_short_are_made_again(
    kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SHOW_AND_SPELL_CACHE", str(tmp_path))
    decoder, features = make_decoder(), torch.rand(1, 4, CHANNELS)
    expected = OpenVinoDecoder(decoder, "w").start(features)
    files = sorted((tmp_path / "openvino").glob("*.bin"))
    whole = [path.read_bytes() for path in files]
    for path, content in zip(files, whole, strict=True):
        path.write_bytes(content[:kept])
    with caplog.at_level("WARNING", "captioner"):
        found = OpenVinoDecoder(decoder, "w").start(features)
    assert caplog.text.count("is damaged") == len(files) == 2
    torch.testing.assert_close([*found[0], *found[1]], [*expected[0], *expected[1]])
    assert [len(path.read_bytes()) for path in files] == [len(content) for content in whole]


def test_weights_of_a_converted_network_that_are_missing_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOW_AND_SPELL_CACHE", str(tmp_path))
    OpenVinoDecoder(make_decoder(), "w")
    before = sorted((tmp_path / "openvino").iterdir())
    for path in (tmp_path / "openvino").glob("*.bin"):
        path.unlink()
    OpenVinoDecoder(make_decoder(), "w")
    assert sorted((tmp_path / "openvino").iterdir()) == before and len(before) == 6


def test_a_network_in_the_cache_is_not_converted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOW_AND_SPELL_CACHE", str(tmp_path))
    OpenVinoDecoder(make_decoder(), "w")
    monkeypatch.setattr(
        "openvino.convert_model", lambda *_, **__: pytest.fail("it was converted again")
    )
    OpenVinoDecoder(make_decoder(), "w")
    with pytest.raises(pytest.fail.Exception):
        OpenVinoDecoder(make_decoder(seed=1), "other weights")


def test_a_cache_that_may_not_be_looked_into_costs_the_cache_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Even root may not look for a file under too long a name.
    monkeypatch.setenv("SHOW_AND_SPELL_CACHE", str(tmp_path / ("x" * 300)))
    with caplog.at_level("WARNING", "captioner"):
        state, _ = OpenVinoDecoder(make_decoder(), "w").start(torch.rand(1, 4, CHANNELS))
    assert state.hidden.shape[0] == 1 and caplog.text.count("could not be kept") == 2


def test_captions_are_pytorchs_with_a_prefix_too_and_captioners_do_not_share_a_decoder(
    encoder: Encoder,
) -> None:
    words = (*SPECIAL, *(f"word{number}" for number in range(40)))
    pixels = np.random.default_rng(0).integers(0, 255, (2, 224, 224, 3), dtype=np.uint8)
    captions: dict[tuple[int, str], list[str]] = {}
    for seed in (0, 1):
        for backend in ("torch", "openvino"):
            torch.manual_seed(seed)
            decoder = Decoder(DecoderConfig(len(words), encoder.channels, 16, 16, 8))
            with torch.no_grad():
                for parameter in decoder.parameters():
                    parameter.mul_(3)
                decoder.output_bias[END] = -9
            captioner = Captioner(encoder, decoder, Vocabulary(words), backend=backend)
            captions[seed, backend] = [
                group[0].text
                for prefix in ("", "word7 word3")
                for group in captioner.caption_pixels(pixels, Decoding(prefix=prefix))
            ]
    assert (
        captions[0, "openvino"]
        == captions[0, "torch"]
        != captions[1, "torch"]
        == captions[1, "openvino"]
    )
