"""The one-character step in torch: on CUDA, as a captured graph, and on CPUs without OpenVINO."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from charlm.inference.folded_weights import FoldedWeights
from rnnkit.cells import gru_gates, lstm_gates


class TorchStepper:
    """See `charlm.inference.base.Stepper`."""

    def __init__(self, weights: FoldedWeights, batch_size: int, device: torch.device) -> None:
        self.batch_size, self.cell = batch_size, weights.cell
        self.table = weights.table.to(device)
        self.layers = [layer.to(device) for layer in weights.layers]
        self.output_weight, self.output_bias = (
            weights.output_weight.to(device),
            weights.output_bias.to(device),
        )
        self.ids = torch.zeros(batch_size, dtype=torch.long, device=device)
        self.state = torch.zeros(
            len(weights.layers), weights.parts, batch_size, weights.hidden_size, device=device
        )
        self.logits = torch.zeros(batch_size, len(weights.table), device=device)
        self.graph = self._capture() if device.type == "cuda" else None

    @torch.inference_mode()
    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        self.ids.copy_(torch.from_numpy(ids))
        if self.graph is None:
            self._step()
        else:
            self.graph.replay()
        logits: NDArray[np.float32] = self.logits.cpu().numpy()
        return logits

    @torch.inference_mode()
    def reset(self) -> None:
        self.state.zero_()

    def _step(self) -> None:
        x = self.table[self.ids]  # (B, gates * H) here, (B, H) after the first layer
        for number, (layer, state) in enumerate(zip(self.layers, self.state, strict=True)):
            h = state[0]  # (B, H)
            if self.cell == "gru":
                if number > 0:
                    assert layer.input_weight is not None
                    x = F.linear(x, layer.input_weight, layer.input_bias)
                state[0] = gru_gates(x, F.linear(h, layer.weight, layer.bias), h)
            else:
                if number == 0:
                    joined = x + F.linear(h, layer.weight)
                else:
                    joined = F.linear(torch.cat((x, h), dim=1), layer.weight, layer.bias)
                if self.cell == "lstm":
                    state[0], state[1] = lstm_gates(joined, state[1])
                else:
                    state[0] = torch.tanh(joined)
            x = state[0]
        torch.addmm(self.output_bias, x, self.output_weight.T, out=self.logits)

    @torch.inference_mode()
    def _capture(self) -> torch.cuda.CUDAGraph:
        # Launching some thirty small kernels takes longer than running them; a graph launches them
        # all at once.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        self.state.zero_()
        return graph
