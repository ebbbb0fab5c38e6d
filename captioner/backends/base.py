"""What runs the two networks: PyTorch anywhere, OpenVINO on a CPU, where the same graphs are
several times as fast.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from captioner.network.decoder import Decoder, Memory, State
from captioner.network.encoder import Encoder, LazyEncoder
from rnnkit.checkpoint import weights_hash
from rnnkit.errors import UserError

logger = logging.getLogger(__name__)
BACKENDS = ("auto", "torch", "openvino")


class Writer(Protocol):
    """A decoder, whatever runs it; see `captioner.network.decoder.Decoder` for both methods."""

    def start(self, features: Tensor) -> tuple[State, Memory]: ...

    def step(self, words: Tensor, state: State, memory: Memory) -> tuple[Tensor, State, Tensor]: ...


class Engine(Protocol):
    """Runs an encoder, and the decoder that belongs to it."""

    name: str

    def run(self, pixels: np.ndarray) -> Tensor:
        """Photos (B, size, size, 3) uint8 -> float32 on the captioner's device: region features, or
        the front's grid.
        """

    def writer(self, decoder: Decoder) -> Writer:
        """The decoder, run by this engine."""

    def threads(self) -> AbstractContextManager[None]:
        """A context for what PyTorch does around the decoder."""


def choose_engine(
    backend: str,
    encoder: Encoder | LazyEncoder,
    device: torch.device,
    *,
    trained: int = 0,
    weights: str | None = None,
) -> Engine:
    """The engine for a backend's name.

    Args:
        backend: auto takes OpenVINO on a CPU, and PyTorch if that is not there or fails (one log
            line says so).
        trained: how many last stages to leave out; 0 runs the whole encoder and gives region
            features.
        weights: a hash of the weights of encoder and decoder, if the caller knows it; names the
            converted networks' cache.

    Raises: UserError for an unknown name, or openvino where it cannot be.
    """
    if backend not in BACKENDS:
        raise UserError(f"unknown backend '{backend}': use {', '.join(BACKENDS)}")
    if backend == "openvino" and device.type != "cpu":
        raise UserError(
            "the openvino backend runs on the CPU: use --device cpu, or --backend torch"
        )
    if backend == "torch" or device.type != "cpu":
        return TorchEngine(encoder.built, device, trained)
    try:
        # Imported here: where OpenVINO is missing this is where it shows.
        from captioner.backends.openvino_backend import OpenVinoEngine

        return OpenVinoEngine(encoder, trained, weights or weights_hash(encoder.built.state_dict()))
    except UserError:  # the checkpoint's fault
        raise
    except Exception as error:  # whatever OpenVINO raises on a platform that it does not know
        reason = " ".join(str(error).split())[:200]
        if backend == "openvino":
            raise UserError(f"OpenVINO cannot run here ({reason}): use --backend torch") from None
        logger.warning("OpenVINO cannot run here (%s); using PyTorch, which is slower", reason)
        return TorchEngine(encoder.built, device, trained)


class EncoderPart(nn.Module):
    """The whole encoder, or all but its last stages."""

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
        encoder = encoder.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._part = EncoderPart(encoder, trained)

    def writer(self, decoder: Decoder) -> Writer:
        return decoder.to(self.device).eval()

    def threads(self) -> AbstractContextManager[None]:
        return nullcontext()

    def run(self, pixels: np.ndarray) -> Tensor:
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"),
        ):
            found: Tensor = self._part(
                torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device, non_blocking=True)
            )
        return found.float()
