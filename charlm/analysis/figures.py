"""Figures of the arrays that `charlm.analysis.insight` computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from charlm.analysis.insight import Array, GradientFlow, Surprise, UnitMatch

CHARACTERS_A_ROW = 60
DARK_GREEN = 0.6  # from this probability on, black letters are hard to read


def draw_gradient_flow(flows: Mapping[str, GradientFlow]) -> Figure:
    """The gradient's norm by steps back from the loss, a panel a network; dashed after clipping."""
    figure = Figure(figsize=(5.2 * len(flows), 4), layout="constrained")
    panels = figure.subplots(1, len(flows), squeeze=False, sharey=True)[0]
    for axes, (name, flow) in zip(panels, flows.items(), strict=True):
        steps_back = np.arange(flow.norms.shape[2])
        for layer, parts in enumerate(flow.norms):
            for part, norms in zip("hc", parts, strict=False):
                label = (
                    f"layer {layer + 1}, {part} (largest singular value"
                    f" {flow.singular_values[layer].max():.2f})"
                )
                (line,) = axes.plot(steps_back, _positive(norms[::-1]), label=label)
                if flow.weight_norm > flow.clip_norm:
                    axes.plot(
                        steps_back,
                        _positive(flow.clipped[layer, "hc".index(part)][::-1]),
                        "--",
                        color=line.get_color(),
                        alpha=0.6,
                    )
        if flow.weight_norm > flow.clip_norm:
            label = f"dashed: clipped to a norm of {flow.clip_norm:g}"
            axes.plot([], [], "--", color="grey", label=label)
        axes.set(
            title=f"{name}: gradient of the weights {flow.weight_norm:.2g}",
            xlabel="steps back from the loss",
            yscale="log",
        )
        # Not as powers of ten: those are set in math fonts, and where matplotlib's list of
        # fonts is damaged, it prints a line for each.
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(LogFormatter())
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    panels[0].set_ylabel("norm of d loss / d state")
    return figure


def draw_units(text: str, traces: Array, matches: Sequence[UnitMatch]) -> Figure:
    """The text coloured by each matched unit: blue where it is high, red where it is low.

    Args:
        traces: (characters, layers, hidden).
    """
    rows = _rows(text)
    figure = Figure(
        figsize=(11, max(1, len(matches)) * (0.22 * len(rows) + 0.5)), layout="constrained"
    )
    panels = figure.subplots(max(1, len(matches)), 1, squeeze=False)[:, 0]
    for axes, match in zip(panels, matches, strict=False):
        _draw_text(axes, text, traces[:, match.layer, match.unit], low=-1, high=1, colours="RdBu")
        axes.set_title(
            f"layer {match.layer + 1}, unit {match.unit}: {match.feature} (correlation"
            f" {match.correlation:+.2f})",
            fontsize=9,
            loc="left",
        )
    return figure


def draw_surprise(text: str, surprise: Surprise, *, first: int = 40) -> Figure:
    """The text coloured by surprise, and the likeliest guesses for its first characters."""
    shown = text[:first]
    rows = _rows(text)
    figure = Figure(
        figsize=(11, 0.22 * len(rows) + 0.22 * surprise.probabilities.shape[1] + 1.6),
        layout="constrained",
    )
    ratio = [len(rows), surprise.probabilities.shape[1] + 1]
    above, below = figure.subplots(2, 1, height_ratios=ratio)
    _draw_text(above, text, surprise.nats, low=0, high=6, colours="Reds")
    known = np.nanmean(surprise.nats) if len(text) > 1 else np.nan
    above.set_title(f"surprise, -ln p: {known:.3f} nats/char on average", fontsize=9, loc="left")
    guesses = surprise.probabilities[: len(shown)].T  # (k, characters)
    below.imshow(np.nan_to_num(guesses), aspect="auto", cmap="Greens", vmin=0, vmax=1)
    for column, symbols in enumerate(surprise.likeliest[: len(shown)]):
        for row, symbol in enumerate(symbols):
            below.text(
                column,
                row,
                _visible(symbol),
                ha="center",
                va="center",
                family="monospace",
                fontsize=7,
                color="white" if guesses[row, column] > DARK_GREEN else "black",
            )
    below.set_xticks(
        range(len(shown)), [_visible(character) for character in shown], family="monospace"
    )
    below.set_yticks(
        range(len(guesses)), [f"guess {rank + 1}" for rank in range(len(guesses))], fontsize=7
    )
    below.xaxis.tick_top()
    return figure


def draw_connectivity(text: str, position: int, strengths: Array) -> Figure:
    """The text up to a position, coloured by each character's influence on the prediction there."""
    figure = Figure(
        figsize=(11, 0.22 * len(_rows(text[: position + 1])) + 0.8), layout="constrained"
    )
    axes = figure.subplots()
    _draw_text(
        axes,
        text[: position + 1],
        np.append(strengths, np.nan),
        low=0,
        high=float(strengths.max()) or 1.0,
        colours="Oranges",
    )
    axes.set_title(
        f"influence on the prediction of {_visible(text[position])!r}, the last character",
        fontsize=9,
        loc="left",
    )
    return figure


def _draw_text(
    axes: Axes, text: str, values: Array, *, low: float, high: float, colours: str
) -> None:
    rows = _rows(text)
    grid = np.full((len(rows), CHARACTERS_A_ROW), np.nan)
    start = 0
    for row, line in enumerate(rows):
        grid[row, : len(line)] = values[start : start + len(line)]
        start += len(line)
        for column, character in enumerate(line):
            axes.text(
                column,
                row,
                _visible(character),
                ha="center",
                va="center",
                family="monospace",
                fontsize=7,
            )
    # Pale enough to read black text on it.
    image = axes.imshow(grid, aspect="auto", cmap=colours, vmin=low, vmax=high, alpha=0.6)
    # Ten pixels wide, however few rows there are.
    axes.figure.colorbar(image, ax=axes, pad=0.01, aspect=max(2, 2 * len(rows)))
    axes.set_axis_off()


def _rows(text: str) -> list[str]:
    """The text in rows, which end at line ends and where they are full."""
    lines = text.splitlines(keepends=True) or [""]
    return [
        line[start : start + CHARACTERS_A_ROW]
        for line in lines
        for start in range(0, max(1, len(line)), CHARACTERS_A_ROW)
    ]


def _visible(character: str) -> str:
    return {"\n": "⏎", " ": "·", "\t": "→", "$": r"\$"}.get(character, character)


def _positive(norms: Array) -> Array:
    return np.where(norms > 0, norms, np.nan)  # a logarithmic axis has no zero
