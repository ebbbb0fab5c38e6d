"""The one-character step in plain torch: on CUDA, where it is captured as a graph, and on CPUs
without OpenVINO.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from charlm.inference.folded_weights import Folded
from rnnkit.cells import gru_gates, lstm_gates


class TorchStepper:
    """See `charlm.inference.base.Stepper`."""

    def __init__(self, folded: Folded, batch_size: int, device: torch.device) -> None:
        self.batch_size, self.cell = batch_size, folded.cell
        self.table = folded.table.to(device)
        self.layers = [layer.to(device) for layer in folded.layers]
        self.output_weight, self.output_bias = (
            folded.output_weight.to(device),
            folded.output_bias.to(device),
        )
        self.ids = torch.zeros(batch_size, dtype=torch.long, device=device)
        self.state = torch.zeros(
            len(folded.layers), folded.parts, batch_size, folded.hidden_size, device=device
        )
        self.logits = torch.zeros(batch_size, len(folded.table), device=device)
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
        for layer, state in zip(self.layers, self.state, strict=True):
            h = state[0]  # (B, H)
            if self.cell == "gru":
                from_input = (
                    x
                    if layer.input_weight is None
                    else F.linear(x, layer.input_weight, layer.input_bias)
                )
                state.copy_(gru_gates(from_input, F.linear(h, layer.weight, layer.bias), h)[None])
            else:
                joined = (
                    x + F.linear(h, layer.weight)
                    if layer is self.layers[0]
                    else F.linear(torch.cat((x, h), dim=1), layer.weight, layer.bias)
                )
                state.copy_(
                    torch.stack(lstm_gates(joined, state[1]))
                    if self.cell == "lstm"
                    else torch.tanh(joined)[None]
                )
            x = state[0]
        torch.addmm(self.output_bias, x, self.output_weight.T, out=self.logits)

    @torch.inference_mode()
    def _capture(self) -> torch.cuda.CUDAGraph:
        # Launching some thirty small kernels costs more than running them; a graph launches them
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
