"""The network: an embedding, stacked recurrent layers, and an output layer over the characters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from rnnkit.cells import Weights
from rnnkit.errors import UserError

LAYERS: dict[str, Callable[[int, int], nn.RNNBase]] = {
    "rnn": nn.RNN,
    "gru": nn.GRU,
    "lstm": nn.LSTM,
}
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

    def __post_init__(self) -> None:
        if self.cell not in LAYERS:
            raise UserError(f"cell must be {', '.join(LAYERS)}, not {self.cell!r}")
        for name, most in (*((name, MAX_SIZE) for name in SIZES), ("num_layers", MAX_LAYERS)):
            size = getattr(self, name)
            if type(size) is not int or not 1 <= size <= most:
                raise UserError(f"{name} must be a whole number from 1 to {most}, not {size!r}")
        if type(self.tied) is not bool:
            raise UserError(f"tied must be true or false, not {self.tied!r}")
        if self.tied and self.embedding_size != self.hidden_size:
            raise UserError(
                f"tied weights need equal sizes: embedding_size is {self.embedding_size},"
                f" hidden_size {self.hidden_size}"
            )


@dataclass(frozen=True)
class DropoutRates:
    """Chances of dropping while training.

    Each mask except the tokens' is the same for all time steps of a chunk (Gal and Ghahramani
    2016).
    """

    token: float = 0.0  # a whole character of the input, at one place
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
    the others (h).
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
        if a.cell == "lstm":
            self._set_forget_bias(1.0)

    def zero_state(self, batch_size: int) -> torch.Tensor:
        """The state before any character, (layers, parts, batch, hidden)."""
        a = self.architecture
        return self.output.weight.new_zeros(
            a.num_layers, 2 if a.cell == "lstm" else 1, batch_size, a.hidden_size
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
        for index, (layer, before) in enumerate(zip(self.layers, state, strict=True)):
            x, after = run_layer(layer, x, before, drop.weight)  # (T, B, H), (parts, B, H)
            states.append(after)
            x = drop_units(x, drop.output if index == len(self.layers) - 1 else drop.hidden)
        return self.output(x), torch.stack(states)  # (T, B, V)

    def _set_forget_bias(self, value: float) -> None:
        # So that it remembers from the start (Jozefowicz et al. 2015). torch adds two biases; one
        # carries the value.
        hidden = self.architecture.hidden_size
        for layer in self.layers:
            _, _, bias_ih, bias_hh = layer_weights(layer)
            nn.init.constant_(bias_ih[hidden : 2 * hidden], value)
            nn.init.zeros_(bias_hh[hidden : 2 * hidden])


def layer_weights(layer: nn.Module) -> Weights:
    """The weights of a recurrent layer: the tensors themselves, not copies."""
    return Weights(*layer.parameters())


def run_layer(
    layer: nn.Module, x: torch.Tensor, state: torch.Tensor, weight_dropout: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """One recurrent layer over a chunk with torch's fused kernel.

    Args:
        x: (time, batch, inputs).
        state: (parts, batch, hidden).
        weight_dropout: chance for each hidden-to-hidden weight to be dropped for the whole chunk.

    Returns: hidden states (time, batch, hidden); the state after the last.
    """
    if weight_dropout == 0:
        y, after = layer(x, (state[:1], state[1:]) if len(state) == 2 else state)
        return y, torch.cat(after) if len(state) == 2 else after
    # The fused function is called directly. If the module's own parameter were replaced, cuDNN
    # would lay out all weights on each call, and no gradient would reach the raw weight.
    input_hidden, hidden_hidden, bias_ih, bias_hh = layer_weights(layer)
    weights = [input_hidden, F.dropout(hidden_hidden, weight_dropout), bias_ih, bias_hh]
    # With biases, 1 layer, no dropout, training, one direction, time first.
    options = (weights, True, 1, 0.0, True, False, False)
    if isinstance(layer, nn.LSTM):
        y, h, c = torch.lstm(x, (state[:1], state[1:]), *options)
        return y, torch.cat((h, c))
    y, h = (
        torch.gru(x, state, *options)
        if isinstance(layer, nn.GRU)
        else torch.rnn_tanh(x, state, *options)
    )
    return y, h


def drop_units(x: torch.Tensor, chance: float) -> torch.Tensor:
    """Dropout with one mask for all time steps. x: (time, batch, units)."""
    return x if chance == 0 else x * F.dropout(x.new_ones(1, *x.shape[1:]), chance)


def drop_characters(x: torch.Tensor, chance: float) -> torch.Tensor:
    """Dropout of whole time steps. The others are not scaled up, because they are not weaker.

    x: (time, batch, units).
    """
    return x if chance == 0 else x * (torch.rand_like(x[..., :1]) >= chance)
