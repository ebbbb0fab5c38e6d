"""What happens inside a network, as arrays that `charlm.analysis.figures` draws.

Gradient flow through time, hidden units over a text, surprise, and what a prediction depends on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from charlm.model import CharLM
from charlm.network import DropoutRates, Network
from rnnkit.cells import STEPS
from rnnkit.errors import UserError
from rnnkit.layers import layer_weights, run_dilated

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GradientFlow:
    """How much of the last prediction's gradient reaches each earlier time step.

    Attributes:
        norms: (layers, parts, steps), the norm of d loss / d state after that step; parts are h,
            and c for the LSTM.
        clipped: the same after the whole gradient of the weights is scaled to at most `clip_norm`.
        singular_values: (layers, gates), the largest singular value of each gate's hidden-to-hidden
            matrix. A vanilla RNN's gradient vanishes where it is below 1 and may explode where it
            is above (Pascanu, Mikolov and Bengio 2013, section 2).
        weight_norm: norm of the gradient of all weights.
        clip_norm: the norm that it is clipped to.
    """

    norms: Array
    clipped: Array
    singular_values: Array
    weight_norm: float
    clip_norm: float


def gradient_flow(network: Network, ids: torch.Tensor, *, clip_norm: float = 1.0) -> GradientFlow:
    """Follow the gradient of the last character's loss back through every step.

    Args:
        ids: (characters,); the last one is predicted. A few hundred at most, because every step is
            kept in memory.

    Raises: UserError if there are fewer than 2 characters.
    """
    if len(ids) < 2:
        raise UserError("gradient flow needs a text of at least 2 characters")
    step = STEPS[network.architecture.cell]
    layers = [layer_weights(layer) for layer in network.layers]
    zero = network.zero_state(1)[..., : network.architecture.hidden_size]
    dilations = network.architecture.layer_dilations()
    # By layer and step, each (parts, 1, H).
    states: list[list[torch.Tensor]] = [[zero[index]] for index in range(len(layers))]
    with torch.enable_grad():
        for index in ids[:-1]:
            x = network.embedding(index[None]) * network.input_scale  # (1, E)
            for history, weights, dilation in zip(states, layers, dilations, strict=True):
                before = history[max(len(history) - dilation, 0)]
                history.append(step(x, before, weights))
                x = history[-1][0]  # (1, H)
        loss = F.cross_entropy(network.output(x), ids[-1:])
        steps = [state for history in states for state in history[1:]]
        weights_learned = [w for w in network.parameters() if w.requires_grad]
        gradients = torch.autograd.grad(loss, [*steps, *weights_learned], allow_unused=True)
    parts = zero.shape[1]
    # Nothing reads the last h of a lower layer or the last c, so their gradient is zero.
    by_step = [
        torch.zeros_like(state) if gradient is None else gradient
        for state, gradient in zip(steps, gradients, strict=False)
    ]
    norms = (
        torch.stack(by_step).flatten(2).norm(dim=2).view(len(layers), -1, parts).transpose(1, 2)
    )  # (layers, parts, steps)
    by_weight = [gradient for gradient in gradients[len(steps) :] if gradient is not None]
    weight_norm = float(torch.stack([gradient.norm() for gradient in by_weight]).norm())
    gates = layers[0].hidden_hidden.shape[0] // network.architecture.hidden_size
    matrices = torch.stack(
        [torch.stack(w.hidden_hidden.detach().chunk(gates)) for w in layers]
    )  # (layers, gates, H, H)
    singular = torch.linalg.matrix_norm(matrices, ord=2)
    flow = _array(norms)
    return GradientFlow(
        flow, flow * min(1.0, clip_norm / weight_norm), _array(singular), weight_norm, clip_norm
    )


def unit_traces(model: CharLM, text: str) -> Array:
    """The hidden units while the network reads a text.

    Returns: h after each character, (characters, layers, hidden), each value from -1 to 1.
    """
    ids = model.vocabulary.encode(text).to(model.device)
    network = model.network
    with torch.inference_mode():
        x = network.embedding(ids[:, None]) * network.input_scale  # (T, 1, E)
        traces = []
        dilations = network.architecture.layer_dilations()
        for layer, dilation in zip(network.layers, dilations, strict=True):
            x = run_dilated(layer, x, dilation)  # (T, 1, H)
            traces.append(x[:, 0])
    return _array(torch.stack(traces, dim=1))


def text_features(text: str) -> dict[str, Array]:
    """Features of a text that a unit may follow, by name, each (characters,)."""
    position = np.array(
        [index - (text.rfind("\n", 0, index) + 1) for index in range(len(text))], dtype=float
    )
    in_word = np.zeros(len(text))
    after_capital = np.zeros(len(text))
    in_capitals = np.zeros(len(text))
    for word in re.finditer(r"[^\W\d_]+", text):
        in_word[word.start() : word.end()] = np.arange(1, len(word[0]) + 1)
        after_capital[word.start() : word.end()] = word[0][0].isupper()
        in_capitals[word.start() : word.end()] = len(word[0]) > 1 and word[0].isupper()
    return {
        "inside quotes": _inside(text, '"', '"'),
        "inside brackets": np.maximum(_inside(text, "(", ")"), _inside(text, "[", "]")),
        "position in line": position,
        "first character of a line": (position == 0).astype(float),
        "position in word": in_word,
        "in a word after a capital": after_capital,
        "in a word in capitals": in_capitals,
        "white space": np.array([character.isspace() for character in text], dtype=float),
        "punctuation": np.array(
            [not character.isalnum() and not character.isspace() for character in text], dtype=float
        ),
        "vowel": np.array([character.lower() in "aeiou" for character in text], dtype=float),
    }


@dataclass(frozen=True)
class UnitMatch:
    """A unit and the feature of the text that it follows."""

    feature: str
    layer: int
    unit: int
    correlation: float  # Pearson's, from -1 to 1


def matching_units(traces: Array, text: str, *, per_feature: int = 1) -> list[UnitMatch]:
    """The units that follow a feature of the text, the strongest correlation first.

    Args:
        traces: what `unit_traces` returned for the text.
        per_feature: how many units to return for each feature. A feature that is constant over the
            text is left out.
    """
    units = traces.reshape(len(traces), -1)  # (T, layers * H)
    units = units - units.mean(axis=0)
    matches = []
    for feature, values in text_features(text).items():
        values = values - values.mean()
        if not values.any():
            continue
        scale = np.linalg.norm(units, axis=0) * np.linalg.norm(values)
        correlations = np.divide(
            values @ units, scale, out=np.zeros(units.shape[1]), where=scale > 0
        )
        for index in np.argsort(-np.abs(correlations))[:per_feature]:
            layer, unit = divmod(int(index), traces.shape[2])
            matches.append(UnitMatch(feature, layer, unit, float(correlations[index])))
    return sorted(matches, key=lambda match: -abs(match.correlation))


@dataclass(frozen=True)
class Surprise:
    """What the model expected at each character.

    Attributes:
        nats: (characters,), -ln p of the character; nan for the first, which nothing precedes.
        likeliest: (characters, k), the characters it thought likeliest, best first; "" for the
            first character.
        probabilities: (characters, k), their probabilities; nan for the first.
    """

    nats: Array
    likeliest: list[list[str]]
    probabilities: Array


def surprise(model: CharLM, text: str, *, k: int = 5) -> Surprise:
    """How surprising each character of a text is, and which k characters were likeliest there."""
    k = min(k, len(model.vocabulary))
    log_probs = model.log_probs(text)[:-1]  # (T - 1, V): row t is about character t + 1
    ids = model.vocabulary.encode(text)[1:]
    values, indices = log_probs.topk(k, dim=1)
    nats = (
        np.concatenate([[np.nan], _array(-log_probs.gather(1, ids[:, None])[:, 0])])
        if text
        else np.empty(0)
    )
    probabilities = np.concatenate([np.full((min(1, len(text)), k), np.nan), _array(values.exp())])
    symbols = [[""] * k] * min(1, len(text)) + [
        [model.vocabulary[index] for index in row] for row in indices.tolist()
    ]
    return Surprise(nats, symbols, probabilities)


def connectivity(model: CharLM, text: str, position: int) -> Array:
    """How much each earlier character influenced a prediction.

    The measure of Madsen 2019, Visualizing memorization in RNNs.

    Args:
        position: of the character whose prediction is meant, from 1 to the text's last.

    Returns: (position,), the norm of d ln p(text[position]) / d embedding for each character before
        it.
    Raises: UserError if the position is not in the text or has nothing before it.
    """
    if not 1 <= position < len(text):
        raise UserError(f"position must be from 1 to {len(text) - 1}, not {position}")
    ids = model.vocabulary.encode(text).to(model.device)
    network = model.network
    with _differentiable(network):
        x = (
            (network.embedding(ids[:position, None]) * network.input_scale)
            .detach()
            .requires_grad_()
        )  # (T, 1, E)
        y = x
        dilations = network.architecture.layer_dilations()
        for layer, dilation in zip(network.layers, dilations, strict=True):
            y = run_dilated(layer, y, dilation)
        log_p = network.output(y[-1, 0]).log_softmax(0)[ids[position]]
        (gradient,) = torch.autograd.grad(log_p, x)
    return _array(gradient[:, 0].norm(dim=1))


@contextmanager
def _differentiable(network: Network) -> Iterator[None]:
    # cuDNN keeps what the backward pass needs in training mode only. Without dropout, the numbers
    # are the same.
    dropout, network.dropout = network.dropout, DropoutRates()
    network.train()
    try:
        with torch.enable_grad():
            yield
    finally:
        network.eval()
        network.dropout = dropout


def _inside(text: str, opening: str, closing: str) -> Array:
    """1 from an opening mark up to its closing one, or else up to an empty line."""
    inside, marks = False, np.zeros(len(text))
    for index, character in enumerate(text):
        if inside and character == closing:
            inside = False
        elif character == opening:
            inside = True
        elif text[index : index + 2] == "\n\n":
            inside = False
        marks[index] = inside
    return marks


def _array(tensor: torch.Tensor) -> Array:
    return tensor.detach().cpu().double().numpy()
