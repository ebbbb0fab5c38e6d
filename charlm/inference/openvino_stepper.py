"""The one-character step as an OpenVINO graph, for CPUs: all layers in one call, the state kept
inside, weights in eight bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.inference.folded_weights import Folded, FoldedLayer
from rnnkit.openvino import CORE, openvino

# Weights keep to seven of their eight bits: CPUs without VNNI add pairs of products in 16 bits,
# where 2 * 255 * 63 has room.
LARGEST_WEIGHT = 63
# From so many texts on, a product for each gate takes less time than one for all, whose result must
# then be split.
MANY = 48
op = openvino.opset13
GATES = {"rnn": 1, "gru": 3, "lstm": 4}


class OpenVINOStepper:
    """See `charlm.inference.base.Stepper`."""

    def __init__(self, compiled: Any, batch_size: int, vocabulary_size: int) -> None:
        self.batch_size = batch_size
        self.ids, self.logits = (
            np.zeros(batch_size, np.int32),
            np.zeros((batch_size, vocabulary_size), np.float32),
        )
        self.request = compiled.create_infer_request()
        # The engine reads and writes these two arrays in place.
        self.request.set_input_tensor(0, openvino.Tensor(self.ids, shared_memory=True))
        self.request.set_output_tensor(0, openvino.Tensor(self.logits, shared_memory=True))
        self.infer = self.request.infer

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        self.ids[:] = ids
        self.infer()
        return self.logits

    def reset(self) -> None:
        self.request.reset_state()


def compile_step(folded: Folded, batch_size: int, *, int8: bool) -> Callable[[], OpenVINOStepper]:
    """Build and compile the graph; each call of what is returned gives a stepper with a state of
    its own.
    """
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": (
            "f32"
        ),  # what is not eight-bit stays in 32 bits, also where bfloat16 would be faster
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = CORE.compile_model(build_step(folded, batch_size, int8=int8), "CPU", config)
    return partial(OpenVINOStepper, compiled, batch_size, len(folded.table))


def build_step(folded: Folded, batch_size: int, *, int8: bool) -> Any:
    """The graph: ids (batch,) in, logits (batch, vocabulary) out, the state in variables that start
    at zero.
    """
    ids = op.parameter([batch_size], np.int32, name="ids")  # wider ones would only be converted
    sinks = []
    x = None
    for index, layer in enumerate(folded.layers):
        names = [f"layer{index}.part{part}" for part in range(folded.parts)]
        variables = [_variable(name, batch_size, folded.hidden_size) for name in names]
        state = [
            op.read_value(_constant(np.zeros((batch_size, folded.hidden_size))), variable)
            for variable in variables
        ]
        state = _layer(folded, layer, ids if x is None else None, x, state, batch_size, int8)
        sinks += [
            op.assign(value, variable) for value, variable in zip(state, variables, strict=True)
        ]
        x = state[0]
    logits = op.add(
        op.matmul(x, _constant(folded.output_weight), False, True),
        _constant(folded.output_bias[None]),
    )
    return openvino.Model([op.result(logits)], sinks, [ids], "charlm_step")


def _layer(
    folded: Folded,
    layer: FoldedLayer,
    ids: Any,
    x: Any,
    state: list[Any],
    batch_size: int,
    int8: bool,
) -> list[Any]:
    """One layer's new state; the equations are those of `rnnkit.cells`, whose steps the tests
    compare with these.

    Args:
        ids: in the first layer the characters read, (batch,), else None.
        x: after the first layer its input, (batch, H), else None.
    """
    h, gates = state[0], GATES[folded.cell]
    pieces = gates if batch_size >= MANY else 1

    def product(x: Any, weight: torch.Tensor, bias: torch.Tensor) -> list[Any]:
        return [
            _product(x, *part, int8)
            for part in zip(weight.chunk(pieces), bias.chunk(pieces), strict=True)
        ]

    def rows() -> list[Any]:
        return [
            op.gather(_constant(part), ids, op.constant(np.int32(0)))
            for part in folded.table.chunk(pieces, dim=1)
        ]

    if folded.cell == "gru":
        from_input = (
            rows()
            if layer.input_weight is None or layer.input_bias is None
            else product(x, layer.input_weight, layer.input_bias)
        )
        return [
            _gru(_split(from_input, gates), _split(product(h, layer.weight, layer.bias), gates), h)
        ]
    joined = product(h if x is None else op.concat([x, h], 1), layer.weight, layer.bias)
    if x is None:
        joined = [op.add(part, row) for part, row in zip(joined, rows(), strict=True)]
    return [_tanh(joined[0])] if folded.cell == "rnn" else _lstm(_split(joined, gates), state[1])


def _split(pieces: list[Any], gates: int) -> list[Any]:
    """A piece (batch, H) for each gate, where there may be one for all."""
    return pieces if len(pieces) == gates else list(op.split(pieces[0], 1, gates).outputs())


def _gru(from_input: list[Any], from_hidden: list[Any], h: Any) -> Any:
    (x_r, x_z, x_n), (h_r, h_z, h_n) = from_input, from_hidden
    r, z = _sigmoid(op.add(x_r, h_r)), _sigmoid(op.add(x_z, h_z))
    n = _tanh(op.add(x_n, op.multiply(r, h_n)))
    return op.add(n, op.multiply(z, op.subtract(h, n)))


def _lstm(joined: list[Any], c: Any) -> list[Any]:
    i, f, g, o = joined
    c = op.add(op.multiply(_sigmoid(f), c), op.multiply(_sigmoid(i), _tanh(g)))
    return [op.multiply(_sigmoid(o), _tanh(c)), c]


# OpenVINO's own sigmoid and tanh take half as long again. Where exp overflows, these are right too:
# 0 and 1.


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


def _product(x: Any, weight: torch.Tensor, bias: torch.Tensor, int8: bool) -> Any:
    product = (
        op.matmul(_rounded(x), _whole_numbers(weight), False, True)
        if int8
        else op.matmul(x, _constant(weight), False, True)
    )
    return product if not bias.any() else op.add(product, _constant(bias[None]))


def _rounded(x: Any) -> Any:
    """A hidden state in 255 steps: no cell's leaves [-1, 1], so one scale known beforehand does for
    all.
    """
    lowest, highest = _scalar(-1), _scalar(1)
    return op.fake_quantize(x, lowest, highest, lowest, highest, 255)


def _whole_numbers(weight: torch.Tensor) -> Any:
    """Each row in whole numbers and one scale; the engine keeps it so in memory."""
    scale = (weight.abs().amax(dim=1, keepdim=True) / LARGEST_WEIGHT).clamp_min(1e-12)
    quantized = (weight / scale).round().to(torch.int8)
    return op.multiply(op.convert(op.constant(quantized.numpy()), "f32"), _constant(scale))


def _constant(values: torch.Tensor | NDArray[Any]) -> Any:
    return op.constant(np.asarray(values, dtype=np.float32))


def _variable(name: str, batch_size: int, hidden_size: int) -> Any:
    info = openvino.op.util.VariableInfo()
    info.variable_id, info.data_type, info.data_shape = (
        name,
        openvino.Type.f32,
        openvino.PartialShape([batch_size, hidden_size]),
    )
    return openvino.op.util.Variable(info)
