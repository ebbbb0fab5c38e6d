"""Nats per character of a text under two protocols, stream and window-256.

Scores under different protocols cannot be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from charlm.network import Network
from rnnkit.errors import UserError

WINDOW = 256


@dataclass(frozen=True)
class Score:
    """A mean of -ln p over `characters` predictions."""

    nats_per_char: float
    characters: int

    @property
    def bits_per_char(self) -> float:
        """The same score with logarithms to base 2."""
        return self.nats_per_char / math.log(2)

    def as_json(self) -> dict[str, float | int]:
        """Both units and the number of characters, by name."""
        return {
            "nats_per_char": self.nats_per_char,
            "bits_per_char": self.bits_per_char,
            "characters": self.characters,
        }


def evaluate(network: Network, ids: torch.Tensor) -> dict[str, Score]:
    """Both protocols over one text. Each scores every character but the first. ids: (characters,).

    Raises: UserError if there is nothing to score.
    """
    return {"stream": score_stream(network, ids), f"window-{WINDOW}": score_windows(network, ids)}


def score_stream(network: Network, ids: torch.Tensor, *, length: int = 4096) -> Score:
    """Zero state at the start, then carried over the whole text.

    Args:
        ids: (characters,), on the network's device.
        length: how many characters are read in a call, which bounds memory; it does not change
            the score.
    """
    _check(ids)
    total, state = 0.0, None
    for start in range(0, len(ids) - 1, length):
        piece = ids[start : start + length + 1]
        nats, state = _nats(network, piece[:-1, None], piece[1:, None], state)
        total += nats
    return Score(total / (len(ids) - 1), len(ids) - 1)


def score_windows(
    network: Network, ids: torch.Tensor, *, window: int = WINDOW, batch_size: int = 128
) -> Score:
    """The text cut into runs of `window` characters to predict.

    Each run starts from a zero state and is fed the one character before it.

    Args:
        ids: (characters,), on the network's device.
        batch_size: how many runs are read in a call; it does not change the score.
    """
    _check(ids)
    whole = (len(ids) - 1) // window
    inputs = ids[: whole * window].view(whole, window).T  # (window, runs)
    targets = ids[1 : whole * window + 1].view(whole, window).T
    total = 0.0
    for start in range(0, whole, batch_size):
        total += _nats(
            network, inputs[:, start : start + batch_size], targets[:, start : start + batch_size]
        )[0]
    rest = ids[whole * window :]
    if len(rest) > 1:
        total += _nats(network, rest[:-1, None], rest[1:, None])[0]
    return Score(total / (len(ids) - 1), len(ids) - 1)


@torch.inference_mode()
def _nats(
    network: Network, inputs: torch.Tensor, targets: torch.Tensor, state: torch.Tensor | None = None
) -> tuple[float, torch.Tensor]:
    network.eval()
    logits, state = network(inputs.contiguous(), state)
    losses = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
    return losses.double().sum().item(), state


def _check(ids: torch.Tensor) -> None:
    if len(ids) < 2:
        raise UserError(
            f"a text of {len(ids)} characters has nothing to predict", hint="at least 2 are needed"
        )
