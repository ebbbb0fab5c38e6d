"""A network's weights rearranged for reading one character at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from charlm.network import Network, layer_weights


@dataclass(frozen=True)
class FoldedLayer:
    """One layer's products. RNN and LSTM add the product with the input and that with the state, so
    theirs are one.

    In the first layer the input's product is a row of `Folded.table`; what is here is the state's
    alone.
    """

    weight: torch.Tensor  # RNN, LSTM: (gates * H, inputs + H), or (gates * H, H) in the first layer; GRU: (3H, H), of the state
    bias: torch.Tensor  # (gates * H,); zero in the first layer of RNN and LSTM, whose table has it
    input_weight: torch.Tensor | None = None  # GRU after the first layer: (3H, inputs)
    input_bias: torch.Tensor | None = None  # likewise (3H,)

    def to(self, device: torch.device) -> FoldedLayer:
        """The same on another device."""
        moved = {
            name: weight.to(device) for name, weight in vars(self).items() if weight is not None
        }
        return FoldedLayer(**moved)


@dataclass(frozen=True)
class Folded:
    """Weights of a whole network for one-character steps, float32 on the CPU."""

    cell: str
    hidden_size: int
    table: torch.Tensor  # (V, gates * H): what each character adds to the first layer's gates; one-hot times matrix is a row
    layers: list[FoldedLayer]
    output_weight: torch.Tensor  # (V, H)
    output_bias: torch.Tensor  # (V,)

    @property
    def parts(self) -> int:
        """How many tensors (batch, hidden) make up a layer's state."""
        return 2 if self.cell == "lstm" else 1

    @property
    def recurrent_weights(self) -> int:
        """How many weights every step must read: all but the table."""
        matrices = [
            self.output_weight,
            *(
                w
                for layer in self.layers
                for w in (layer.weight, layer.input_weight)
                if w is not None
            ),
        ]
        return sum(matrix.numel() for matrix in matrices)


@torch.no_grad()
def fold(network: Network) -> Folded:
    """Fold embedding and first input product into a table and join what can be joined."""
    cell = network.architecture.cell
    layers = []
    table = torch.empty(0)
    for index, layer in enumerate(network.layers):
        w = type(layer_weights(layer))(
            *(weight.detach().float().cpu() for weight in layer_weights(layer))
        )
        if index == 0:
            embedding = (
                network.embedding.weight.detach().float().cpu() * network.input_scale
            )  # (V, E)
            table = (
                embedding @ w.input_hidden.T
                + w.input_bias
                + (0 if cell == "gru" else w.hidden_bias)
            )
            layers.append(
                FoldedLayer(
                    w.hidden_hidden,
                    w.hidden_bias if cell == "gru" else torch.zeros_like(w.hidden_bias),
                )
            )
        elif cell == "gru":
            layers.append(FoldedLayer(w.hidden_hidden, w.hidden_bias, w.input_hidden, w.input_bias))
        else:
            layers.append(
                FoldedLayer(
                    torch.cat((w.input_hidden, w.hidden_hidden), dim=1),
                    w.input_bias + w.hidden_bias,
                )
            )
    output = network.output
    return Folded(
        cell,
        network.architecture.hidden_size,
        table,
        layers,
        output.weight.detach().float().cpu(),
        output.bias.detach().float().cpu(),
    )
