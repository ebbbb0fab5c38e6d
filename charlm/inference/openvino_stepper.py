"""The one-character step as an OpenVINO graph, for CPUs.

One call runs all layers, the graph keeps the state, and weights may have eight bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.inference.folded_weights import FoldedLayer, FoldedWeights
from rnnkit.openvino import CORE, openvino

# Weights have seven of their eight bits: CPUs without VNNI add pairs of products in 16 bits, which
# 2 * 255 * 127 would overflow.
LARGEST_WEIGHT = 63
op = openvino.opset13


class OpenVINOStepper:
    """See `charlm.inference.base.Stepper`."""

    def __init__(self, compiled: Any, batch_size: int, vocabulary_size: int) -> None:
        self.batch_size = batch_size
        self.ids = np.zeros(batch_size, np.int32)
        self.logits = np.zeros((batch_size, vocabulary_size), np.float32)
        self.request = compiled.create_infer_request()
        # OpenVINO reads and writes these two arrays in place.
        self.request.set_input_tensor(0, openvino.Tensor(self.ids, shared_memory=True))
        self.request.set_output_tensor(0, openvino.Tensor(self.logits, shared_memory=True))
        self.infer = self.request.infer

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        self.ids[:] = ids
        self.infer()
        return self.logits

    def reset(self) -> None:
        self.request.reset_state()


def compile_step(
    weights: FoldedWeights, batch_size: int, *, int8: bool
) -> Callable[[], OpenVINOStepper]:
    """Build and compile the graph; each call of the result gives a stepper with its own state."""
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        # What is not in eight bits stays in 32, even where bfloat16 would be faster.
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = CORE.compile_model(build_step(weights, batch_size, int8=int8), "CPU", config)
    return partial(OpenVINOStepper, compiled, batch_size, len(weights.table))


def build_step(weights: FoldedWeights, batch_size: int, *, int8: bool) -> openvino.Model:
    """The graph: ids (batch,) in, logits (batch, vocabulary) out, the state in variables that start
    at zero.
    """
    ids = op.parameter([batch_size], np.int32, name="ids")  # int64 would only be converted
    zero = _constant(np.zeros((batch_size, weights.hidden_size)))
    row = op.gather(_constant(weights.table), ids, op.constant(np.int32(0)))  # (B, gates * H)
    x, sinks = None, []
    for number, layer in enumerate(weights.layers):
        names = [f"layer{number}.part{part}" for part in range(weights.parts)]
        variables = [_variable(name, batch_size, weights.hidden_size) for name in names]
        before = [op.read_value(zero, variable) for variable in variables]
        after = _layer(weights.cell, layer, row if number == 0 else None, x, before, int8)
        sinks += [op.assign(*pair) for pair in zip(after, variables, strict=True)]
        x = after[0]  # (B, H)
    product = op.matmul(x, _constant(weights.output_weight), False, True)
    logits = op.add(product, _constant(weights.output_bias[None]))  # (B, V)
    return openvino.Model([op.result(logits)], sinks, [ids], "charlm_step")


def _layer(
    cell: str, layer: FoldedLayer, row: Any, x: Any, state: list[Any], int8: bool
) -> list[Any]:
    """One layer's new state, by the equations of `rnnkit.cells`.

    Args:
        row: in the first layer the table's row for the character read, (batch, gates * H).
        x: after the first layer its input, (batch, H).
        state: h, and c for the LSTM, (batch, H) each.
    """
    h = state[0]
    if cell == "gru":
        from_input = row if x is None else _affine(x, layer.input_weight, layer.input_bias, int8)
        return [_gru(from_input, _affine(h, layer.weight, layer.bias, int8), h)]
    joined = _affine(h if x is None else op.concat([x, h], 1), layer.weight, layer.bias, int8)
    if x is None:
        joined = op.add(joined, row)
    return [_tanh(joined)] if cell == "rnn" else _lstm(joined, state[1])


def _gru(from_input: Any, from_hidden: Any, h: Any) -> Any:
    x_r, x_z, x_n = op.split(from_input, 1, 3).outputs()
    h_r, h_z, h_n = op.split(from_hidden, 1, 3).outputs()
    r, z = _sigmoid(op.add(x_r, h_r)), _sigmoid(op.add(x_z, h_z))
    n = _tanh(op.add(x_n, op.multiply(r, h_n)))
    return op.add(n, op.multiply(z, op.subtract(h, n)))


def _lstm(joined: Any, c: Any) -> list[Any]:
    i, f, g, o = op.split(joined, 1, 4).outputs()
    c = op.add(op.multiply(_sigmoid(f), c), op.multiply(_sigmoid(i), _tanh(g)))
    return [op.multiply(_sigmoid(o), _tanh(c)), c]


# Written out, because OpenVINO's own sigmoid and tanh round differently and would change the texts
# that a seed gives. Where exp overflows they are right, too: 0 and 1.


def _sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x)"""
    return op.divide(_scalar(1), op.add(_scalar(1), op.exp(op.negative(x))))


def _tanh(x: Any) -> Any:
    """1 - 2 / (1 + e^2x)"""
    return op.subtract(
        _scalar(1), op.divide(_scalar(2), op.add(_scalar(1), op.exp(op.multiply(_scalar(2), x))))
    )


def _scalar(value: float) -> Any:
    return _constant(np.array([[value]]))


def _affine(x: Any, weight: torch.Tensor | None, bias: torch.Tensor | None, int8: bool) -> Any:
    """x @ weight.T + bias"""
    assert weight is not None and bias is not None
    if int8:
        product = op.matmul(_quantized_state(x), _quantized_weight(weight), False, True)
    else:
        product = op.matmul(x, _constant(weight), False, True)
    return op.add(product, _constant(bias[None])) if bias.any() else product


def _quantized_state(x: Any) -> Any:
    """A hidden state in 255 steps. Every cell's is within [-1, 1], so the scale is known."""
    lowest, highest = _scalar(-1), _scalar(1)
    return op.fake_quantize(x, lowest, highest, lowest, highest, 255)


def _quantized_weight(weight: torch.Tensor) -> Any:
    """Whole numbers with one scale a row, which OpenVINO keeps so in memory."""
    scale = (weight.abs().amax(dim=1, keepdim=True) / LARGEST_WEIGHT).clamp_min(1e-12)
    quantized = (weight / scale).round().to(torch.int8)
    return op.multiply(op.convert(op.constant(quantized.numpy()), "f32"), _constant(scale))


def _constant(values: torch.Tensor | NDArray[Any]) -> Any:
    return op.constant(np.asarray(values, dtype=np.float32))


def _variable(name: str, batch_size: int, hidden_size: int) -> Any:
    info = openvino.op.util.VariableInfo()
    info.variable_id, info.data_type = name, openvino.Type.f32
    info.data_shape = openvino.PartialShape([batch_size, hidden_size])
    return openvino.op.util.Variable(info)
