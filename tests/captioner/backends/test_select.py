"""OpenVINO and PyTorch run the same encoder; a broken cache or a missing OpenVINO costs time, never
an answer.
"""

from __future__ import annotations

import logging
import socket
import sys
from pathlib import Path

import gradio
import numpy as np
import pytest
import torch

from captioner.backends.openvino_backend import OpenVinoBackend
from captioner.backends.select import choose_backend
from captioner.backends.torch_backend import TorchBackend
from captioner.data.images import open_image
from captioner.network.backbones import create_encoder
from captioner.network.decoder import Decoder, DecoderConfig
from captioner.network.encoder import Encoder
from rnnkit.errors import UserError

CPU = torch.device("cpu")
CLOSE = 1e-3  # relative error


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return create_encoder("efficientnet-lite0")


@pytest.fixture(scope="module")
def tiny() -> Encoder:
    """A CNN that is converted in a second."""
    return create_encoder("timm:test_resnet", pretrained=False)


BLACK = np.zeros((2, 160, 160, 3), np.uint8)  # two photos for the tiny CNN


@pytest.fixture(scope="module")
def pixels(encoder: Encoder) -> np.ndarray:
    """Photos that Gradio ships."""
    folder = Path(gradio.get_image("bus.png")).parent
    return np.stack(
        [
            encoder.preprocessing.pixels(open_image(folder / name))
            for name in ("bus.png", "cheetah1.jpg", "tower.jpg")
        ]
    )


def test_both_backends_give_the_same_features(encoder: Encoder, pixels: np.ndarray) -> None:
    pytest.importorskip("rnnkit.openvino")
    expected = choose_backend("torch", encoder, CPU).encode(pixels)
    found = choose_backend("openvino", encoder, CPU).encode(pixels)
    assert found.shape == expected.shape == (3, 49, 1280)
    assert float((found - expected).norm() / expected.norm()) < CLOSE


def test_the_front_of_an_encoder_runs_on_both_backends_too(
    encoder: Encoder, pixels: np.ndarray
) -> None:
    pytest.importorskip("rnnkit.openvino")
    expected = choose_backend("torch", encoder, CPU, trained=2).encode(pixels)
    found = choose_backend("openvino", encoder, CPU, trained=2).encode(pixels)
    assert found.shape == expected.shape
    assert float((found - expected).norm() / expected.norm()) < CLOSE
    whole = encoder.back(expected, 2)
    torch.testing.assert_close(
        whole, choose_backend("torch", encoder, CPU).encode(pixels), rtol=1e-3, atol=1e-3
    )


def test_a_cpu_takes_openvino_by_itself(encoder: Encoder) -> None:
    pytest.importorskip("rnnkit.openvino")
    assert choose_backend("auto", encoder, CPU).name == "openvino"


def test_without_openvino_pytorch_takes_over_with_one_line(
    encoder: Encoder,
    pixels: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    for name in ("rnnkit.openvino", "captioner.backends.openvino_backend"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with caplog.at_level(logging.WARNING, "captioner"):
        backend = choose_backend("auto", encoder, CPU)
    assert isinstance(backend, TorchBackend)
    assert len(caplog.records) == 1
    assert "OpenVINO cannot run here" in caplog.text
    assert backend.encode(pixels).shape == (3, 49, 1280)
    with pytest.raises(UserError, match="use --backend torch"):
        choose_backend("openvino", encoder, CPU)


@pytest.mark.parametrize("broken", [b"", b"<net", b"\x00" * 4096])
def test_a_damaged_cache_is_converted_again(
    broken: bytes,
    tiny: Encoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("rnnkit.openvino")
    monkeypatch.setenv("SHOW_AND_SPELL_CACHE", str(tmp_path))
    expected = OpenVinoBackend(tiny, 0, "some weights").encode(BLACK)
    (kept,) = (tmp_path / "openvino").glob("*.xml")
    kept.write_bytes(broken)
    with caplog.at_level(logging.WARNING, "captioner"):
        found = OpenVinoBackend(tiny, 0, "some weights").encode(BLACK)
    assert "is damaged" in caplog.text
    torch.testing.assert_close(found, expected)
    caplog.clear()
    OpenVinoBackend(tiny, 0, "some weights")
    assert not caplog.records


def test_other_weights_are_converted_anew(
    tiny: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rnnkit.openvino")
    monkeypatch.setenv("SHOW_AND_SPELL_CACHE", str(tmp_path))
    for weights in ("these", "those", "these"):
        OpenVinoBackend(tiny, 0, weights)
    assert len(list((tmp_path / "openvino").glob("*.xml"))) == 2


def test_a_cache_that_cannot_be_written_costs_only_the_cache(
    tiny: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rnnkit.openvino")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("SHOW_AND_SPELL_CACHE", str(tmp_path / "file"))
    assert choose_backend("openvino", tiny, CPU, weights="w").encode(BLACK).shape[0] == 2


def test_conversion_opens_no_connection(
    tiny: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rnnkit.openvino")
    monkeypatch.setenv("SHOW_AND_SPELL_CACHE", str(tmp_path))
    tried: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda *arguments: tried.append(arguments))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **_: tried.append(arguments))
    OpenVinoBackend(tiny, 0, "w")
    assert not tried
    assert sys.modules.get("openvino_telemetry") is None


@pytest.mark.parametrize("adaptive", [False, True])
def test_both_backends_run_the_decoder_alike(adaptive: bool, encoder: Encoder) -> None:
    pytest.importorskip("rnnkit.openvino")
    torch.manual_seed(0)
    decoder = Decoder(DecoderConfig(20, 1280, 16, 24, 8, adaptive=adaptive)).eval()
    features = torch.rand(3, 49, 1280)
    writers = [
        choose_backend(name, encoder, CPU, weights="w").run_decoder(decoder)
        for name in ("torch", "openvino")
    ]
    with torch.inference_mode():
        started = [writer.start(features) for writer in writers]
        for ours, theirs in zip(
            (*started[0][0], *started[0][1]), (*started[1][0], *started[1][1]), strict=True
        ):
            torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)
        states = [state for state, _ in started]
        for words in (torch.tensor([[1], [2], [3]]), torch.tensor([[4], [5], [6]])):
            steps = [
                writer.step(words, state, memory)
                for writer, state, (_, memory) in zip(writers, states, started, strict=True)
            ]
            torch.testing.assert_close(steps[1][0], steps[0][0], rtol=1e-4, atol=1e-4)
            states = [state for _, state, _ in steps]


@pytest.mark.parametrize(("backend", "device"), [("tensorflow", "cpu"), ("openvino", "cuda")])
def test_a_backend_that_cannot_be_is_refused(backend: str, device: str, encoder: Encoder) -> None:
    with pytest.raises(UserError, match="use"):
        choose_backend(backend, encoder, torch.device(device))
