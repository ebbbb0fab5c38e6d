"""PyTorch, which runs everywhere."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from captioner.backends.base import DecoderRunner, EncoderPart
from captioner.network.decoder import Decoder
from captioner.network.encoder import Encoder


class TorchBackend:
    """See `captioner.backends.base.Backend`: eager PyTorch, in bf16 on CUDA."""

    name = "torch"

    def __init__(self, encoder: Encoder, device: torch.device, trained: int = 0) -> None:
        self.device = device
        encoder = encoder.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._part = EncoderPart(encoder, trained)

    def encode(self, pixels: np.ndarray) -> Tensor:
        inputs = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device, non_blocking=True)
        on_cuda = self.device.type == "cuda"
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=on_cuda),
        ):
            features: Tensor = self._part(inputs)
        return features.float()

    def run_decoder(self, decoder: Decoder) -> DecoderRunner:
        return decoder.to(self.device).eval()

    def threads(self) -> AbstractContextManager[None]:
        return nullcontext()
