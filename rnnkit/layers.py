"""Recurrent layers over whole sequences: torch's fused kernels, and stacks of them that read
forwards or in both directions, each layer with a dilation of its own.

`rnnkit.cells` has the equations of one step; `run_written_out` walks a layer with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from rnnkit.cells import STEPS, Weights
from rnnkit.errors import UserError, either

LAYERS: dict[str, Callable[[int, int], nn.RNNBase]] = {
    "rnn": nn.RNN,
    "gru": nn.GRU,
    "lstm": nn.LSTM,
}
MAX_DILATION = 1024


class Stack(nn.Module):
    """Recurrent layers, each over the outputs of the one below.

    Layer k of a dilated stack sees the state of dilations[k] steps ago in place of the last one, so
    that few layers reach far (Chang et al. 2017, Dilated Recurrent Neural Networks). In a
    bidirectional one, each layer is two, one of which reads backwards, and their outputs are joined
    (Schuster and Paliwal 1997).

    Args:
        inputs: size of an input vector.
        hidden_size: units of each layer in each direction.
        dilations: one for each layer, from the bottom; fewer are repeated from the start.
        dropout: between layers, one mask for all time steps (Gal and Ghahramani 2016).

    Raises: UserError for a cell or dilation that does not exist.
    """

    def __init__(
        self,
        cell: str,
        inputs: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        dilations: Sequence[int] = (1,),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if cell not in LAYERS:
            raise UserError(f"cell must be {either(LAYERS)}, not {cell!r}")
        if not dilations or not all(1 <= dilation <= MAX_DILATION for dilation in dilations):
            raise UserError(f"dilations must be from 1 to {MAX_DILATION:,}, not {dilations!r}")
        self.directions = 2 if bidirectional else 1
        self.dilations = dilations_of(dilations, num_layers)
        self.dropout = dropout
        self.output_size = self.directions * hidden_size
        sizes = [inputs, *[self.output_size] * (num_layers - 1)]
        self.forwards = nn.ModuleList(LAYERS[cell](size, hidden_size) for size in sizes)
        self.backwards = nn.ModuleList(
            LAYERS[cell](size, hidden_size) for size in sizes if bidirectional
        )
        for layer in (*self.forwards, *self.backwards):
            set_forget_bias(layer, 1.0)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Run all layers from a zero state.

        Args:
            x: (time, batch, inputs).
            lengths: (batch,) steps of each sequence; what comes after them is never looked at. None
                if all are whole.

        Returns: (time, batch, directions * hidden), forward units first.
        """
        for index, (layer, dilation) in enumerate(zip(self.forwards, self.dilations, strict=True)):
            if index > 0 and self.training:
                x = drop_units(x, self.dropout)
            outputs = [run_dilated(layer, x, dilation)]  # (T, B, H)
            if self.directions == 2:
                reversed_x = reverse(x, lengths)
                backwards = run_dilated(self.backwards[index], reversed_x, dilation)
                outputs.append(reverse(backwards, lengths))
            x = torch.cat(outputs, dim=-1)  # (T, B, directions * H)
        return x


def run_dilated(layer: nn.Module, x: torch.Tensor, dilation: int) -> torch.Tensor:
    """One layer with torch's fused kernel from a zero state; h_t follows from h_{t - dilation}.

    A dilated layer is the plain one on `dilation` interleaved sequences.

    Args:
        x: (time, batch, inputs).

    Returns: (time, batch, hidden).
    """
    time, batch, size = x.shape
    rows = -(-time // dilation)
    padded = F.pad(x, (0, 0, 0, 0, 0, rows * dilation - time))
    y, _ = layer(padded.view(rows, dilation * batch, size))
    joined: torch.Tensor = y.reshape(rows * dilation, batch, y.shape[-1])[:time]
    return joined


def run_written_out(layer: nn.RNNBase, x: torch.Tensor, dilation: int = 1) -> torch.Tensor:
    """What `run_dilated` computes, step by step from the equations of `rnnkit.cells`."""
    step = STEPS[{nn.RNN: "rnn", nn.GRU: "gru", nn.LSTM: "lstm"}[type(layer)]]
    weights = layer_weights(layer)
    parts = 2 if isinstance(layer, nn.LSTM) else 1
    zero = x.new_zeros(parts, x.shape[1], layer.hidden_size)  # (parts, B, H)
    states: list[torch.Tensor] = []
    for time, row in enumerate(x):
        before = states[time - dilation] if time >= dilation else zero
        states.append(step(row, before, weights))
    return torch.stack([state[0] for state in states])  # (T, B, H)


def reverse(x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
    """Each sequence back to front; what comes after its length stays where it is.

    x: (time, batch, units); lengths: (batch,).
    """
    if lengths is None:
        return x.flip(0)
    steps = torch.arange(len(x), device=x.device)[:, None]  # (T, 1)
    indices = torch.where(steps < lengths, lengths - 1 - steps, steps)  # (T, B)
    return x.gather(0, indices[:, :, None].expand_as(x))


def layer_weights(layer: nn.Module) -> Weights:
    """The weights of a recurrent layer: the tensors themselves, not copies."""
    return Weights(*layer.parameters())


def set_forget_bias(layer: nn.Module, value: float) -> None:
    """Let an LSTM remember from the start (Jozefowicz et al. 2015); other cells are left alone."""
    if isinstance(layer, nn.LSTM):
        # torch adds two biases; one carries the value.
        _, _, bias_ih, bias_hh = layer_weights(layer)
        hidden = layer.hidden_size
        nn.init.constant_(bias_ih[hidden : 2 * hidden], value)
        nn.init.zeros_(bias_hh[hidden : 2 * hidden])


def run_layer(
    layer: nn.Module,
    x: torch.Tensor,
    state: torch.Tensor,
    weight_dropout: float = 0.0,
    *,
    dilation: int = 1,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One recurrent layer over a chunk with torch's fused kernel.

    Args:
        x: (time, batch, inputs).
        state: (parts, batch, dilation * hidden), the states of the last `dilation` steps, the
            oldest first.
        weight_dropout: chance for each hidden-to-hidden weight to be dropped for the whole chunk.

    Returns: hidden states (time, batch, hidden); the state after the last, shaped as before.
    """
    if dilation > 1:
        return _run_dilated_chunk(layer, x, state, weight_dropout, dilation)
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


def _run_dilated_chunk(
    layer: nn.Module,
    x: torch.Tensor,
    state: torch.Tensor,
    weight_dropout: float,
    dilation: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`run_layer` on `dilation` interleaved sequences: whole rows of them, then what is left."""
    batch = x.shape[1]
    states = state.unflatten(-1, (dilation, -1)).transpose(1, 2)  # (parts, dilation, B, H)
    rest = len(x) % dilation
    outputs = []
    for steps, width in ((x[: len(x) - rest], dilation), (x[len(x) - rest :], rest)):
        if len(steps):
            rows = steps.reshape(len(steps) // width, width * batch, -1)
            y, after = run_layer(
                layer, rows, states[:, :width].flatten(1, 2).contiguous(), weight_dropout
            )
            outputs.append(y.reshape(len(steps), batch, -1))
            states = torch.cat([states[:, width:], after.unflatten(1, (width, batch))], dim=1)
    return torch.cat(outputs), states.transpose(1, 2).flatten(2)


def parse_dilations(text: str) -> tuple[int, ...]:
    """Dilations as a flag gives them, numbers separated by commas.

    Raises: UserError if they are anything else.
    """
    parts = text.split(",") if isinstance(text, str) else []
    found = tuple(int(part) for part in parts if part.strip().isdecimal())
    if not found or len(found) < len(parts) or not all(1 <= d <= MAX_DILATION for d in found):
        raise UserError(
            f"dilations must be whole numbers from 1 to {MAX_DILATION:,}, separated by commas, not"
            f" {text!r}"
        )
    return found


def dilations_of(dilations: Sequence[int], num_layers: int) -> list[int]:
    """The dilation of each layer, from the bottom; fewer are repeated from the start."""
    return [dilations[index % len(dilations)] for index in range(num_layers)]


def drop_units(x: torch.Tensor, chance: float) -> torch.Tensor:
    """Dropout with one mask for all time steps. x: (time, batch, units)."""
    return x if chance == 0 else x * F.dropout(x.new_ones(1, *x.shape[1:]), chance)
