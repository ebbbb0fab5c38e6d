"""The three recurrent cells, one time step each, written from their equations.

They compute what torch.nn.RNN, GRU and LSTM compute, from the same four weights in the same layout.
So a reader can see what those do, and every hidden state of a network that was trained with torch's
fused layers can be examined.

The worked example of many lectures: the vocabulary h, e, l, o as one-hot inputs, three hidden
units, one number for the recurrent weight and one for the bias. After "he", `l` should be likely;
an untrained network disagrees.

>>> import torch
>>> input_hidden = torch.tensor([
...     [0.287027, 0.846060, 0.572392, 0.486813],
...     [0.902874, 0.871522, 0.691079, 0.189980],
...     [0.537524, 0.092240, 0.558159, 0.491528],
... ])
>>> hidden_hidden, bias = 0.427043 * torch.eye(3), torch.full((3,), 0.567001)
>>> weights = Weights(input_hidden, hidden_hidden, bias, torch.zeros(3))
>>> to_output = torch.tensor([
...     [0.37168, 0.974829459, 0.830034886],
...     [0.39141, 0.282585823, 0.659835709],
...     [0.64985, 0.09821557, 0.334287084],
...     [0.91266, 0.32581642, 0.144630018],
... ])
>>> h, e, _, _ = torch.eye(4)
>>> state = rnn_step(h[None], torch.zeros(1, 1, 3), weights)
>>> [round(value, 6) for value in state.flatten().tolist()]
[0.693168, 0.899554, 0.802119]
>>> state = rnn_step(e[None], state, weights)
>>> [round(value, 6) for value in state.flatten().tolist()]
[0.936534, 0.949104, 0.762341]
>>> y = state[0, 0] @ to_output.T
>>> [round(value, 6) for value in y.tolist()]
[1.906075, 1.137792, 0.956664, 1.274228]
>>> [round(value, 6) for value in y.softmax(0).tolist()]
[0.419747, 0.194682, 0.162429, 0.223141]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch


class Weights(NamedTuple):
    """A layer's weights in the layout of torch's recurrent layers.

    gates is 1 for the RNN, 3 for the GRU and 4 for the LSTM.
    """

    input_hidden: torch.Tensor  # (gates * hidden, inputs)
    hidden_hidden: torch.Tensor  # (gates * hidden, hidden)
    input_bias: torch.Tensor  # (gates * hidden,)
    hidden_bias: torch.Tensor  # (gates * hidden,)


def rnn_step(x: torch.Tensor, state: torch.Tensor, weights: Weights) -> torch.Tensor:
    """The vanilla RNN (Elman 1990): h_t = tanh(W_hh h_{t-1} + W_xh x_t + b).

    Args:
        x: (batch, inputs).
        state: h_{t-1}, (1, batch, hidden).

    Returns: h_t, (1, batch, hidden).
    """
    (h,) = state
    return torch.tanh(_from_input(x, weights) + _from_hidden(h, weights))[None]


def gru_step(x: torch.Tensor, state: torch.Tensor, weights: Weights) -> torch.Tensor:
    """The GRU (Cho et al. 2014, equations 5 to 8).

    The reset gate is applied after the product, as in torch and cuDNN.

    r = sigmoid(W_xr x_t + W_hr h_{t-1} + b_r),  z = sigmoid(W_xz x_t + W_hz h_{t-1} + b_z),
    n = tanh(W_xn x_t + b_xn + r * (W_hn h_{t-1} + b_hn)),  h_t = (1 - z) * n + z * h_{t-1}.

    Args:
        x: (batch, inputs).
        state: h_{t-1}, (1, batch, hidden).

    Returns: h_t, (1, batch, hidden).
    """
    (h,) = state
    return gru_gates(_from_input(x, weights), _from_hidden(h, weights), h)[None]


def lstm_step(x: torch.Tensor, state: torch.Tensor, weights: Weights) -> torch.Tensor:
    """The LSTM with a forget gate (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    i, f, o = sigmoid(W_x x_t + W_h h_{t-1} + b),  g = tanh(W_x x_t + W_h h_{t-1} + b), each with
    its own weights,  c_t = f * c_{t-1} + i * g,  h_t = o * tanh(c_t).

    Args:
        x: (batch, inputs).
        state: h_{t-1} and c_{t-1}, (2, batch, hidden).

    Returns: h_t and c_t, (2, batch, hidden).
    """
    h, c = state
    return torch.stack(lstm_gates(_from_input(x, weights) + _from_hidden(h, weights), c))


def gru_gates(from_input: torch.Tensor, from_hidden: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """The GRU's new h (B, H), from its two products (B, 3H), ordered r, z, n."""
    x_r, x_z, x_n = from_input.chunk(3, dim=-1)
    h_r, h_z, h_n = from_hidden.chunk(3, dim=-1)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h


def lstm_gates(joined: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The LSTM's new h and c, (B, H) each, from its summed products (B, 4H), ordered i, f, g, o."""
    i, f, g, o = joined.chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


STEPS: dict[str, Callable[[torch.Tensor, torch.Tensor, Weights], torch.Tensor]] = {
    "rnn": rnn_step,
    "gru": gru_step,
    "lstm": lstm_step,
}


def _from_input(x: torch.Tensor, weights: Weights) -> torch.Tensor:
    return x @ weights.input_hidden.T + weights.input_bias  # (B, gates * H)


def _from_hidden(h: torch.Tensor, weights: Weights) -> torch.Tensor:
    return h @ weights.hidden_hidden.T + weights.hidden_bias  # (B, gates * H)
