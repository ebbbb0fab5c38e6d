"""Numbers as HTML and SVG in the page's own colours: bars, coloured text, a heat map, and lines
on a logarithmic axis.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from captioner.confidence import UNSURE

Array = NDArray[np.float64]
# How strong the shade of a word is, in percent, that is less sure than this; one that is surer than
# all of them has none. Few steps, so that each can be told from the next.
SHADES = ((UNSURE, 100), (0.55, 66), (0.7, 40), (0.9, 20))


def visible(character: str) -> str:
    """A character, or a visible sign for one that cannot be seen."""
    return {"\n": "⏎", " ": "␣", "\t": "→", "\r": "␍"}.get(character, character)


def notice(text: str, *, kind: str = "hint") -> str:
    """A sentence in a quiet box; kind is hint or problem."""
    role = ' role="alert"' if kind == "problem" else ""
    return f'<p class="notice {kind}"{role}>{escape(text)}</p>'


def bars(rows: Sequence[tuple[str, float]], *, label: str) -> str:
    """Labelled bars of probabilities; the whole width is 100%."""
    cells = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td><div class="track"><span class="bar"'
        f' style="width:{100 * value:.1f}%"></span></div></td><td>{percent(value)}</td></tr>'
        for name, value in rows
    )
    return f'<table class="bars"><caption>{escape(label)}</caption><tbody>{cells}</tbody></table>'


def percent(value: float) -> str:
    """A probability with about two digits; nothing if it is not finite."""
    if not math.isfinite(value):
        return ""
    shown = 100 * value
    if shown >= 9.95:
        return f"{shown:.0f}%"
    if shown >= 0.095:
        return f"{shown:.1f}%"
    return f"{shown:.2g}%" if shown >= 1e-4 else "< 0.0001%"


def shaded_words(
    text: str,
    words: Sequence[str],
    sure: Sequence[float | None],
    *,
    masks: Sequence[str] = (),
) -> str:
    """A sentence whose words have the stronger a shade the less sure they are, with those marked
    that are unsure.

    Args:
        words: in the order of the text; one that it writes otherwise stays plain.
        sure: of each word from 0 to 1; None leaves it without shade.
        masks: for each word, a picture that it shows when it is chosen; each word is then a button.
    """
    shaded, end = "", 0
    for index, (word, own) in enumerate(zip(words, sure, strict=True)):
        start = text.find(word, end)
        if start < 0 or (own is None and not masks):
            continue
        kind, shade = "word", ""
        if own is not None:
            share = next((strength for below, strength in SHADES if own < below), 0)
            kind = "word unsure" if own < UNSURE else "word"
            shade = f' style="--share:{share}%" title="{percent(own)} sure"'
        drawn = f'<span class="{kind}"{shade}>{escape(word)}</span>'
        if masks:
            drawn = (
                f'<button type="button" class="{kind}"{shade} aria-pressed="false"'
                f' data-mask="{masks[index]}">{escape(word)}</button>'
            )
        shaded += escape(text[end:start]) + drawn
        end = start + len(word)
    return shaded + escape(text[end:])


def shades_legend() -> str:
    """What the shades of words mean."""
    items, least = "", 0.0
    for below, strength in SHADES:
        meant = (
            f"{percent(least)} to {percent(below)}" if least else f"under {percent(below)}: unsure"
        )
        kind = "shade" if least else "shade unsure"
        items += f'<li><span class="{kind}" style="--share:{strength}%">{meant}</span></li>'
        least = below
    items += f"<li>no shade: over {percent(least)}, or a word like “the”</li>"
    return f'<ul class="legend shades" aria-label="How sure a word is, by its shade">{items}</ul>'


def coloured_text(
    text: str,
    values: Array,
    *,
    label: str,
    low: float,
    high: float,
    signed: bool = False,
    titles: Sequence[str] = (),
    marked: int | None = None,
) -> str:
    """The text with each character's background coloured by its value.

    Args:
        values: (characters,); nan leaves a character plain.
        low, high: the values of no colour and of full colour.
        signed: 0 has no colour, and -high full colour of another kind.
        titles: tooltips of the characters.
        marked: index of a character to put a frame around.
    """
    spans = []
    for index, character in enumerate(text):
        value = float(values[index]) if index < len(values) else math.nan
        share = value / high if signed else (value - low) / (high - low)
        share = 0.0 if math.isnan(share) else min(1.0, max(-1.0 if signed else 0.0, share))
        kind = "minus" if share < 0 else "plus"
        style = f' style="--share:{100 * abs(share):.0f}%"' if share else ""
        title = f' title="{escape(titles[index], quote=True)}"' if index < len(titles) else ""
        mark = " marked" if index == marked else ""
        shown = "⏎<br>" if character == "\n" else escape(character)
        spans.append(
            f'<span class="{kind}{mark}" data-index="{index}"{style}{title}>{shown}</span>'
        )
    return (
        '<div class="coloured" role="img"'
        f' aria-label="{escape(label, quote=True)}">{"".join(spans)}</div>'
    )


def heat_map(values: Array, names: Sequence[str], *, label: str) -> str:
    """Rows of values from -1 to 1 as a picture.

    Args:
        values: (rows, columns).
        names: names of the first rows, in order.
    """
    rows = []
    for name, row in zip(names, values, strict=False):
        rows.append(
            f'<div class="heat-row"><span>{escape(name)}</span><img alt=""'
            f' src="{_pixels(row[None])}"></div>'
        )
    rest = values[len(names) :]
    if len(rest):
        height = min(360, max(24, 3 * len(rest)))
        picture = f'<img alt="" style="height:{height}px" src="{_pixels(rest)}">'
        rows.append(
            f'<div class="heat-row rest"><span>{len(rest)} more units</span>{picture}</div>'
        )
    return (
        '<div class="heat" role="img"'
        f' aria-label="{escape(label, quote=True)}">{"".join(rows)}</div>'
    )


def log_panels(
    panels: Mapping[str, Sequence[tuple[str, Array]]],
    notes: Mapping[str, str],
    *,
    x_label: str,
    y_label: str,
) -> str:
    """Panels side by side with one logarithmic axis for all.

    Args:
        panels: name -> lines, each a style ("solid" or "dashed") with its positive values
            (points,).
        notes: name -> a line under the panel.
    """
    positive = [
        value for lines in panels.values() for _, values in lines for value in values if value > 0
    ]
    low, high = -1, 0
    if positive:
        low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    low, high = max(low, high - 16), max(high, low + 1)
    drawn = ""
    for name, lines in panels.items():
        drawing = _log_panel(lines, low, high, x_label, y_label)
        note = f'<p class="fine">{escape(notes[name])}</p>'
        drawn += f"<figure><figcaption>{escape(name)}</figcaption>{drawing}{note}</figure>"
    return f'<div class="panels">{drawn}</div>'


def interval_bars(rows: Sequence[tuple[str, float, float, float, float]], *, label: str) -> str:
    """Bars with whiskers.

    Args:
        rows: (name, value, low, high, the value at full width) each. Above the first bar and where
            that value changes, the scale is written.
    """
    drawn, last = [], None
    for name, value, low, high, full in rows:
        ends = f'<div class="scale"><span>0</span><span>{full:.0f}</span></div>'
        scale, last = ("" if full == last else ends), full
        at = [100 * min(1.0, max(0.0, number / full)) for number in (value, low, high)]
        whisker = (
            f'<span class="whisker" style="left:{at[1]:.2f}%;width:{at[2] - at[1]:.2f}%"></span>'
            if math.isfinite(low)
            else ""
        )
        interval = f"{low:.2f} to {high:.2f}" if math.isfinite(low) else "none"
        bar = f'<span class="bar" style="width:{at[0]:.2f}%"></span>'
        drawn.append(
            f'<tr><th scope="row">{escape(name)}</th>'
            f'<td class="wide">{scale}<div class="track">{bar}{whisker}</div></td>'
            f"<td>{value:.2f}</td><td>{interval}</td></tr>"
        )
    head = (
        f"<caption>{escape(label)}</caption>"
        '<thead><tr><th scope="col">Measure</th><td class="wide"></td>'
        '<th scope="col">Score</th><th scope="col">95% interval</th></tr></thead>'
    )
    return f'<table class="bars scores">{head}<tbody>{"".join(drawn)}</tbody></table>'


def thumbnail_url(picture: Image.Image, size: int) -> str:
    """The data URL of a square from a picture's middle, `size` pixels wide."""
    file = io.BytesIO()
    ImageOps.fit(picture.convert("RGB"), (size, size)).save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def small_png(values: NDArray[np.uint8]) -> str:
    """The data URL of an RGBA picture (rows, columns, 4)."""
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _pixels(values: Array) -> str:
    """Values (rows, columns) as plum where negative, the accent where positive, and clear at 0, to
    be readable on light and dark.
    """
    strength = np.clip(np.nan_to_num(values), -1, 1)
    colour = np.where(strength[..., None] < 0, [132, 84, 178], [20, 140, 130])
    alpha = np.rint(255 * np.abs(strength))[..., None]
    return small_png(np.concatenate([colour, alpha], axis=2).astype(np.uint8))


def _log_panel(
    lines: Sequence[tuple[str, Array]], low: int, high: int, x_label: str, y_label: str
) -> str:
    width, height, left, bottom, top, right = 360, 240, 52, 38, 8, 8
    inside_w, inside_h = width - left - right, height - top - bottom
    count = max(len(values) for _, values in lines)

    def x(step: int) -> float:
        return left + inside_w * step / max(1, count - 1)

    def y(value: float) -> float:
        return top + inside_h * (high - min(high, max(low, math.log10(value)))) / (high - low)

    step = max(1, math.ceil((high - low) / 6))
    grid = "".join(
        f'<line x1="{left}" x2="{width - right}" y1="{y(10.0**power):.1f}"'
        f' y2="{y(10.0**power):.1f}"/><text x="{left - 6}" y="{y(10.0**power) + 4:.1f}"'
        f' text-anchor="end">10<tspan dy="-5" font-size="9">{power}</tspan></text>'
        for power in range(high, low - 1, -step)
    )
    ticks = "".join(
        f'<text x="{x(number):.1f}" y="{height - bottom + 16}" text-anchor="middle">{number}</text>'
        for number in sorted({0, count // 2, count - 1})
    )
    curves = ""
    for style, values in lines:
        points = " ".join(
            f"{x(number):.1f},{y(value):.1f}"
            for number, value in enumerate(values)
            if value >= 10.0**low
        )
        curves += f'<polyline class="{style}" points="{points}"/>'
    axes = (
        f'<text x="{left + inside_w / 2}" y="{height - 4}"'
        f' text-anchor="middle">{escape(x_label)}</text><text transform="translate(12'
        f' {top + inside_h / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    )
    label = f"{escape(y_label)} by {escape(x_label)}"
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img"'
        f' aria-label="{label}">{grid}{ticks}{curves}{axes}</svg>'
    )
