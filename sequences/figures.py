"""Figures of what happens inside: how a label grows, tags and their probabilities, attention, and a
forecast beside its baselines.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure  # pyplot would choose a window system; this never does

from sequences.forecasting import Forecast
from sequences.tagger import TaggedWord
from sequences.translator import Translation

MAX_TAGS = 20


def draw_reading(reading: Sequence[tuple[str, dict[str, float]]]) -> Figure:
    """The probability of each label after each word.

    Args:
        reading: what `Classifier.as_read` returns. Only the five highest labels are drawn.
    """
    words = [word for word, _ in reading]
    highest = {label: max(row[label] for _, row in reading) for label in reading[0][1]}
    labels = sorted(highest, key=lambda label: -highest[label])[:5]
    figure = Figure(figsize=(max(5, 0.45 * len(words)), 3.6), layout="constrained")
    axes = figure.subplots()
    for label in labels:
        axes.plot([row[label] for _, row in reading], marker=".", label=label)
    axes.set_xticks(range(len(words)), words, rotation=60, ha="right", parse_math=False)
    axes.set(ylim=(-0.02, 1.02), ylabel="probability after this word")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def draw_effects(effects: Sequence[tuple[str, float]], label: str) -> Figure:
    """What each word did to a label's probability: bars above 0 spoke for it.

    Args:
        effects: what `Classifier.effects` returns.
    """
    words = [word for word, _ in effects]
    values = [effect for _, effect in effects]
    figure = Figure(figsize=(max(5, 0.45 * len(words)), 3.6), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(words)), values, color=["C0" if value >= 0 else "C3" for value in values])
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(words)), words, rotation=60, ha="right", parse_math=False)
    axes.set_ylabel(f"what the word adds to\nthe probability of {label}")
    return figure


def draw_tags(words: Sequence[TaggedWord]) -> Figure:
    """The probability of each tag for each word, a column a word."""
    highest = {
        tag: max(word.probabilities[tag] for word in words) for tag in words[0].probabilities
    }
    shown = sorted(sorted(highest, key=lambda tag: -highest[tag])[:MAX_TAGS])
    grid = np.array([[word.probabilities[tag] for word in words] for tag in shown])
    size = (max(4, 0.5 * len(words) + 2), 0.3 * len(shown) + 1.5)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(grid, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    names = [word.word for word in words]
    axes.set_xticks(range(len(words)), names, rotation=60, ha="right", parse_math=False)
    axes.set_yticks(range(len(shown)), shown)
    figure.colorbar(image, label="probability")
    return figure


def draw_attention(translation: Translation) -> Figure:
    """Where the decoder looked, a row for each word that it wrote.

    Raises: ValueError if the translation was made without attention.
    """
    if translation.attention is None:
        raise ValueError("this translation has no attention")
    source, words = translation.source, translation.words
    size = (0.5 * len(source) + 2.5, 0.35 * len(words) + 1.5)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(translation.attention, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    axes.set_xticks(range(len(source)), source, rotation=60, ha="right", parse_math=False)
    axes.set_yticks(range(len(words)), words, parse_math=False)
    axes.xaxis.tick_top()
    figure.colorbar(image, label="attention")
    return figure


def draw_forecast(series: np.ndarray, found: Forecast, name: str) -> Figure:
    """The series, what the network said of its last third one step ahead, and what comes next."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    shown = min(len(series), max(len(found.fitted), 3 * len(found.values), 60))
    steps = np.arange(len(series))
    axes.plot(steps[-shown:], series[-shown:], color="black", linewidth=1, label=name)
    fitted = found.fitted[-shown:]
    axes.plot(
        steps[len(series) - len(fitted) :],
        fitted,
        color="C0",
        linewidth=1,
        alpha=0.8,
        label="one step ahead, by the first two thirds",
    )
    after = len(series) + np.arange(-1, len(found.values))
    axes.plot(after, [series[-1], *found.values], color="C3", marker=".", label="forecast")
    axes.set(xlabel="step", ylabel=name)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
