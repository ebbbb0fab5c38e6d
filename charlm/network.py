"""The network: an embedding, stacked recurrent layers, and an output layer over the characters."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from rnnkit.errors import UserError, either
from rnnkit.layers import (
    LAYERS,
    dilations_of,
    drop_units,
    parse_dilations,
    run_layer,
    set_forget_bias,
)

SIZES = ("vocabulary_size", "hidden_size", "embedding_size")
MAX_SIZE, MAX_LAYERS = 1_000_000, 100


@dataclass(frozen=True)
class Architecture:
    """Everything that rebuilds a network.

    Raises: UserError for a value of the wrong type or out of its range, as a config file may hold.
    """

    vocabulary_size: int
    cell: str = "lstm"
    hidden_size: int = 512
    num_layers: int = 2
    embedding_size: int = 128
    tied: bool = False  # the output layer uses the embedding's matrix (Press and Wolf 2017)
    dilations: str = "1"  # steps that each layer reaches back, as `parse_dilations` reads them

    def __post_init__(self) -> None:
        if self.cell not in LAYERS:
            raise UserError(f"cell must be {either(LAYERS)}, not {self.cell!r}")
        for name, most in (*((name, MAX_SIZE) for name in SIZES), ("num_layers", MAX_LAYERS)):
            size = getattr(self, name)
            if type(size) is not int or not 1 <= size <= most:
                raise UserError(f"{name} must be a whole number from 1 to {most}, not {size!r}")
        if type(self.tied) is not bool:
            raise UserError(f"tied must be true or false, not {self.tied!r}")
        parse_dilations(self.dilations)
        if self.tied and self.embedding_size != self.hidden_size:
            raise UserError(
                f"tied weights need equal sizes: embedding_size is {self.embedding_size},"
                f" hidden_size {self.hidden_size}"
            )

    def layer_dilations(self) -> list[int]:
        """The dilation of each layer, from the bottom."""
        return dilations_of(parse_dilations(self.dilations), self.num_layers)


@dataclass(frozen=True)
class DropoutRates:
    """Chances of dropping while training.

    Each mask except the tokens' is the same for all time steps of a chunk (Gal and Ghahramani
    2016).
    """

    token: float = 0.0  # a whole character of the input, at one position
    input: float = 0.0  # units of the embedding
    hidden: float = 0.0  # units between layers
    output: float = 0.0  # units of the last hidden state
    # single hidden-to-hidden weights (DropConnect on the state; Merity et al. 2018, section 2)
    weight: float = 0.0

    def __post_init__(self) -> None:
        for name, chance in dataclasses.asdict(self).items():
            if not 0 <= chance < 1:
                raise UserError(f"dropout_{name} must be at least 0 and below 1, not {chance}")


class Network(nn.Module):
    """A character-level recurrent language model.

    The recurrent layers are torch's own (`nn.RNN`, `nn.GRU`, `nn.LSTM`), one module a layer, so
    their fused kernels run a whole chunk at once and `rnnkit.cells` can step through the very same
    weights.

    A state is one tensor, (layers, parts, batch, hidden): parts is 2 for the LSTM (h, c) and 1 for
    the others (h). With dilations, hidden stands for the largest one times the hidden size: the
    states of the last steps, of which a layer with a smaller dilation uses the first ones.
    """

    def __init__(self, architecture: Architecture, dropout: DropoutRates | None = None) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.dropout = dropout or DropoutRates()
        self.embedding = nn.Embedding(a.vocabulary_size, a.embedding_size)
        sizes = [a.embedding_size, *[a.hidden_size] * (a.num_layers - 1)]
        self.layers = nn.ModuleList(LAYERS[a.cell](size, a.hidden_size) for size in sizes)
        self.output = nn.Linear(a.hidden_size, a.vocabulary_size)
        # A tied matrix must give logits of unit variance; its rows are scaled back to unit variance
        # where they enter.
        self.input_scale = a.embedding_size**0.5 if a.tied else 1.0
        if a.tied:
            nn.init.normal_(self.embedding.weight, std=a.embedding_size**-0.5)
            self.output.weight = self.embedding.weight
        for layer in self.layers:
            set_forget_bias(layer, 1.0)

    def zero_state(self, batch_size: int) -> torch.Tensor:
        """The state before any character, (layers, parts, batch, hidden)."""
        a = self.architecture
        return self.output.weight.new_zeros(
            a.num_layers,
            2 if a.cell == "lstm" else 1,
            batch_size,
            max(a.layer_dilations()) * a.hidden_size,
        )

    def forward(
        self, ids: torch.Tensor, state: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read some characters of each stream.

        Args:
            ids: (time, batch).
            state: what the previous call returned; None is the zero state.

        Returns: logits of the next character after each one, (time, batch, vocabulary); the state
            after the last.
        """
        if state is None:
            state = self.zero_state(ids.shape[1])
        drop = self.dropout if self.training else DropoutRates()
        x = self.embedding(ids) * self.input_scale  # (T, B, E)
        x = drop_characters(x, drop.token)
        x = drop_units(x, drop.input)
        states = []
        dilations = self.architecture.layer_dilations()
        for index, (layer, before) in enumerate(zip(self.layers, state, strict=True)):
            used = dilations[index] * self.architecture.hidden_size
            x, after = run_layer(
                layer, x, before[..., :used], drop.weight, dilation=dilations[index]
            )  # (T, B, H), (parts, B, dilation * H)
            states.append(F.pad(after, (0, before.shape[-1] - used)))
            x = drop_units(x, drop.output if index == len(self.layers) - 1 else drop.hidden)
        return self.output(x), torch.stack(states)  # (T, B, V)


def drop_characters(x: torch.Tensor, chance: float) -> torch.Tensor:
    """Dropout of whole time steps. The others are not scaled up, because they are not weaker.

    x: (time, batch, units).
    """
    return x if chance == 0 else x * (torch.rand_like(x[..., :1]) >= chance)
