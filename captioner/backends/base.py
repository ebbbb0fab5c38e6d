"""What a backend is: something that runs an encoder and the decoder that belongs to it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from captioner.network.decoder import Decoder, Memory, State
from captioner.network.encoder import Encoder


class DecoderRunner(Protocol):
    """A decoder, whatever runs it; `captioner.network.decoder.Decoder` documents both methods."""

    def start(self, features: Tensor) -> tuple[State, Memory]: ...

    def step(self, words: Tensor, state: State, memory: Memory) -> tuple[Tensor, State, Tensor]: ...


class Backend(Protocol):
    """Runs an encoder, and the decoder that belongs to it."""

    name: str

    def encode(self, pixels: np.ndarray) -> Tensor:
        """Region features of photos (B, size, size, 3) uint8: float32, on the captioner's device.

        Where the last stages are left to training, the output of `Encoder.front` instead.
        """

    def run_decoder(self, decoder: Decoder) -> DecoderRunner:
        """The decoder, run by this backend."""

    def threads(self) -> AbstractContextManager[None]:
        """A context for what PyTorch computes around the decoder."""


class EncoderPart(nn.Module):
    """The whole encoder, or all but its last stages."""

    def __init__(self, encoder: Encoder, trained: int) -> None:
        super().__init__()
        self.encoder, self.trained = encoder, trained

    def forward(self, pixels: Tensor) -> Tensor:
        return self.encoder.front(pixels, self.trained) if self.trained else self.encoder(pixels)


class DecoderStart(nn.Module):
    """`Decoder.start`, from tensors to tensors, as converters want it."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        state, memory = self.decoder.start(features)
        return state.hidden, state.cell, memory.keys, memory.values


class DecoderStep(nn.Module):
    """`Decoder.step`, from tensors to tensors: logits, hidden, cell and, if asked, attention."""

    def __init__(self, decoder: Decoder, *, attention: bool = False) -> None:
        super().__init__()
        self.decoder, self.attention = decoder, attention

    def forward(
        self, words: Tensor, hidden: Tensor, cell: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, ...]:
        logits, state, attention = self.decoder.step(
            words, State(hidden, cell), Memory(keys, values)
        )
        return (logits, *state, attention) if self.attention else (logits, *state)
