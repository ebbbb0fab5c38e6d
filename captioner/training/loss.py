"""The network under training, with its loss."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioner.network.decoder import Decoder
from captioner.network.encoder import Encoder
from captioner.network.vocabulary import PAD

PHOTOS_AT_ONCE = 32  # that the CNN's last stages are run on


@dataclass
class Batch:
    """What one process computes in one step: B photos with K sentences each.

    Attributes:
        inputs: features (B, R, channels), or the output of the CNN's frozen stages (B, h, w, C).
        words: (B, K, T + 1) ids from <start> to <end>, then <pad>; lines of <pad> alone where a
            photo has fewer sentences.
        weights: (B, K, T), weight of each target word's loss: 1, or an advantage; 0 on padding.
        normalizer: divides the sum of the losses: the number of target words over all processes,
            divided by the number of processes.
    """

    inputs: Tensor
    words: Tensor
    weights: Tensor
    normalizer: float


class CaptionModel(nn.Module):
    """Encoder and decoder with the loss inside: what DistributedDataParallel wraps.

    Args:
        trained: how many of the encoder's last stages are run, and trained; inputs are the output
            of those before.

    Attributes:
        encoder_learns: whether those stages get a gradient; without one they take a third of the
            time.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, trained: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.trained = encoder, decoder, trained
        self.encoder_learns = trained > 0

    def features(self, inputs: Tensor) -> Tensor:
        """Region features (B, R, channels) of a batch's inputs."""
        if inputs.dim() == 3:
            return inputs.float()
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.encoder_learns):
            # With few photos at a time, what a layer gives the next stays in a CPU's cache; with
            # 160 at once they took three times as long.
            parts = inputs.split(PHOTOS_AT_ONCE)
            return torch.cat([self.encoder.back(part.float(), self.trained) for part in parts])

    def forward(
        self,
        batch: Batch,
        *,
        label_smoothing: float,
        attention_penalty: float,
        sampling_rate: float,
    ) -> Tensor:
        """The loss: weighted negative log-likelihood, plus the doubly stochastic penalty.

        The penalty asks for every region to be looked at about once over a sentence (Xu et al.
        2015, eq. 14).
        """
        targets = batch.words[..., 1:]  # (B, K, T)
        counted = targets != PAD
        given = batch.words[..., :-1].masked_fill(~counted, PAD)  # nothing follows the end
        features = self.features(batch.inputs)  # (B, R, channels)
        outputs, attention = self.decoder.read(given, features, sampling_rate=sampling_rate)
        logits = self.decoder.project(outputs)  # (N, V), of the words that count
        losses = F.cross_entropy(
            logits.float(), targets[counted], reduction="none", label_smoothing=label_smoothing
        )  # (N,)
        loss: Tensor = (losses * batch.weights[counted]).sum() / batch.normalizer
        if attention_penalty and self.decoder.attends:
            looked = (attention * counted.unsqueeze(-1)).sum(dim=2)  # (B, K, R)
            looked = looked[counted.any(dim=2)]  # without the lines of photos with fewer sentences
            loss = loss + attention_penalty * (1 - looked).square().mean()
        return loss
