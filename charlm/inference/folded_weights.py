"""A network's weights rearranged for reading one character at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from charlm.network import Network


@dataclass(frozen=True)
class FoldedLayer:
    """The matrices of one layer.

    RNN and LSTM add the products of input and state, so theirs are joined into one matrix. In the
    first layer, the product of the input is a row of `FoldedWeights.table`, and this is the
    state's alone.
    """

    # RNN, LSTM: (gates * H, inputs + H), or (gates * H, H) in the first layer. GRU: (3H, H), of the
    # state.
    weight: torch.Tensor
    bias: torch.Tensor  # (gates * H,); zero in the first layer of RNN and LSTM: the table has it
    input_weight: torch.Tensor | None = None  # GRU after the first layer: (3H, inputs)
    input_bias: torch.Tensor | None = None  # likewise (3H,)

    def to(self, device: torch.device) -> FoldedLayer:
        """The same layer on another device."""
        tensors = {name: tensor for name, tensor in vars(self).items() if tensor is not None}
        return FoldedLayer(**{name: tensor.to(device) for name, tensor in tensors.items()})


@dataclass(frozen=True)
class FoldedWeights:
    """The weights of a whole network for one-character steps, float32 on the CPU."""

    cell: str
    hidden_size: int
    # (V, gates * H): what each character adds to the gates of the first layer. A one-hot vector
    # times a matrix is a row of it.
    table: torch.Tensor
    layers: list[FoldedLayer]
    output_weight: torch.Tensor  # (V, H)
    output_bias: torch.Tensor  # (V,)

    @property
    def parts(self) -> int:
        """How many tensors (batch, hidden) make up the state of a layer."""
        return 2 if self.cell == "lstm" else 1


@torch.no_grad()
def fold_weights(network: Network) -> FoldedWeights:
    """Fold embedding and first input product into a table, and join what can be joined."""
    cell = network.architecture.cell
    embedding = _plain(network.embedding.weight) * network.input_scale  # (V, E)
    table = torch.empty(0)
    layers = []
    for number, layer in enumerate(network.layers):
        input_hidden, hidden_hidden, input_bias, hidden_bias = map(_plain, layer.parameters())
        # The GRU multiplies its reset gate with the state's product and bias: they stay apart.
        if number == 0 and cell == "gru":
            table = embedding @ input_hidden.T + input_bias
            layers.append(FoldedLayer(hidden_hidden, hidden_bias))
        elif number == 0:
            table = embedding @ input_hidden.T + input_bias + hidden_bias
            layers.append(FoldedLayer(hidden_hidden, torch.zeros_like(hidden_bias)))
        elif cell == "gru":
            layers.append(FoldedLayer(hidden_hidden, hidden_bias, input_hidden, input_bias))
        else:
            joined = torch.cat((input_hidden, hidden_hidden), dim=1)
            layers.append(FoldedLayer(joined, input_bias + hidden_bias))
    return FoldedWeights(
        cell,
        network.architecture.hidden_size,
        table,
        layers,
        _plain(network.output.weight),
        _plain(network.output.bias),
    )


def _plain(weight: torch.Tensor) -> torch.Tensor:
    return weight.detach().float().cpu()
