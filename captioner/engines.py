"""What runs the encoder, or its frozen front: PyTorch anywhere, OpenVINO on a CPU, where the same network is several times as fast."""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

import rnnkit.openvino_import  # noqa: F401 - before openvino
from captioner.encoder import Encoder
from rnnkit.cache import cache_folder
from rnnkit.checkpoint import weights_hash
from rnnkit.errors import UserError

logger = logging.getLogger(__name__)
BACKENDS = ("auto", "torch", "openvino")


class Engine(Protocol):
    """Runs an encoder."""

    name: str

    def run(self, pixels: np.ndarray) -> Tensor:
        """Photos (B, size, size, 3) uint8 -> float32 on the captioner's device: region features, or the front's grid."""


def choose_engine(backend: str, encoder: Encoder, device: torch.device, *, trained: int = 0, weights: str | None = None) -> Engine:
    """The engine for a backend's name.

    Args:
        backend: auto takes OpenVINO on a CPU, and PyTorch if that is not there or fails (one log line says so).
        trained: how many last stages to leave out; 0 runs the whole encoder and gives region features.
        weights: a hash of the encoder's weights, if the caller knows it; names the converted network's cache.

    Raises: UserError for an unknown name, or openvino where it cannot be.
    """
    if backend not in BACKENDS:
        raise UserError(f"unknown backend '{backend}': use {', '.join(BACKENDS)}")
    if backend == "openvino" and device.type != "cpu":
        raise UserError("the openvino backend runs on the CPU: use --device cpu, or --backend torch")
    if backend == "torch" or device.type != "cpu":
        return TorchEngine(encoder, device, trained)
    try:
        return OpenVinoEngine(encoder, trained, weights or weights_hash(encoder.state_dict()))
    except Exception as error:  # whatever OpenVINO raises on a platform that it does not know
        reason = " ".join(str(error).split())[:200]
        if backend == "openvino":
            raise UserError(f"OpenVINO cannot run here ({reason}): use --backend torch") from None
        logger.warning("OpenVINO cannot run here (%s); using PyTorch, which is slower", reason)
        return TorchEngine(encoder, device, trained)


class _Part(nn.Module):
    """The whole encoder, or its front."""

    def __init__(self, encoder: Encoder, trained: int) -> None:
        super().__init__()
        self.encoder, self.trained = encoder, trained

    def forward(self, pixels: Tensor) -> Tensor:
        return self.encoder.front(pixels, self.trained) if self.trained else self.encoder(pixels)


class TorchEngine:
    """PyTorch eager: channels-last, bf16 autocast on CUDA."""

    name = "torch"

    def __init__(self, encoder: Encoder, device: torch.device, trained: int = 0) -> None:
        self.device = device
        self._part = _Part(encoder.to(device, memory_format=torch.channels_last).eval(), trained)  # type: ignore[call-overload]

    def run(self, pixels: np.ndarray) -> Tensor:
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            found: Tensor = self._part(torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device, non_blocking=True))
        return found.float()


class OpenVinoEngine:
    """OpenVINO, in bf16 where the CPU has it. The converted network is kept in the user's cache folder."""

    name = "openvino"

    def __init__(self, encoder: Encoder, trained: int, weights: str) -> None:
        openvino = importlib.import_module("openvino")
        self._compiled = _compile(openvino, openvino.Core(), _Part(encoder, trained), _cached_path(openvino, encoder, trained, weights))
        self._request = self._compiled.create_infer_request()

    def run(self, pixels: np.ndarray) -> Tensor:
        found = self._request.infer([np.ascontiguousarray(pixels)], share_inputs=True, share_outputs=True)[0]
        return torch.from_numpy(np.array(found, dtype=np.float32))


def _cached_path(openvino: Any, encoder: Encoder, trained: int, weights: str) -> Path:
    key = hashlib.sha256(f"{encoder.config()} {trained} {weights} {openvino.__version__} {torch.__version__}".encode()).hexdigest()[:20]
    return cache_folder() / "openvino" / f"{key}.xml"


def _compile(openvino: Any, core: Any, part: _Part, path: Path) -> Any:
    """The compiled network, from the cache if that is whole, else converted again."""
    options = {"PERFORMANCE_HINT": "LATENCY"}
    if path.exists():
        try:
            return core.compile_model(core.read_model(path), "CPU", options)
        except Exception as error:
            logger.warning("the converted encoder in '%s' is damaged (%s); converting it again", path, " ".join(str(error).split())[:120])
    logger.info("converting the encoder for OpenVINO, once; it is then kept in %s", path.parent)
    started = time.monotonic()
    model = _convert(openvino, part)
    _store(openvino, model, path)
    logger.info("converted in %.1f s", time.monotonic() - started)
    return core.compile_model(model, "CPU", options)


def _convert(openvino: Any, part: _Part) -> Any:
    size = part.encoder.preprocessing.size
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    return openvino.convert_model(part.cpu().eval(), example_input=example, input=[openvino.PartialShape([-1, size, size, 3])])


def _store(openvino: Any, model: Any, path: Path) -> None:
    """Save under another name and rename, so that the cache never holds half a network; a full disk only costs the cache."""
    part = path.with_name(f"{path.stem}.{os.getpid()}")
    try:
        part.mkdir(parents=True, exist_ok=True)
        openvino.save_model(model, part / "model.xml", compress_to_fp16=False)
        (part / "model.bin").replace(path.with_suffix(".bin"))
        (part / "model.xml").replace(path)
    except (OSError, RuntimeError) as error:
        logger.warning("the converted encoder could not be kept in '%s' (%s)", path.parent, error)
    finally:
        shutil.rmtree(part, ignore_errors=True)
