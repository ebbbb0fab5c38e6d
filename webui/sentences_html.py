"""What a network makes of a sentence, as HTML: the label as it is read, tags in colour, and where a
translation looked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from webui.html import notice, percent

MAX_CURVES = 4
LOW_ENOUGH = 85  # percent; the number of a higher point is below it, so as not to be cut off
COLUMN, SLANT = 28, 5.8  # pixels of a word at least, and of the height of a slanted letter
LONGEST = 20  # letters of a word that are shown, about
UNSURE = 0.5  # a tag that is less probable has a dotted line


def reading_curve(read: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """The label, and how its probability rose and fell from word to word.

    Two labels share one curve, between one at the bottom and the other at the top; of more, the
    highest few have a curve each. For those who cannot see it, each word comes with its numbers.

    Args:
        read: each word, and the probabilities of the labels after it.
    """
    last = read[-1][1]
    label = max(last, key=lambda name: last[name])
    verdict = (
        f'<p class="caption verdict" aria-live="polite">{escape(label)}'
        f' <span class="number">{percent(last[label])}</span></p>'
    )
    return f'<section class="sentence">{verdict}{_chart(read, _curves(read))}</section>'


def tagged_words(
    words: Sequence[tuple[str, str, float]], meanings: Mapping[str, tuple[str, int | None]]
) -> str:
    """Words in the colours of their tags, each with its tag below it, and a legend.

    Args:
        words: word, tag and the tag's probability each.
        meanings: for each tag, what it means and the hue of its colour; None is grey.
    """
    items = "".join(
        f'<li class="{_kind(probability)}"{_hue(meanings[tag][1])} title="{percent(probability)}'
        f' sure"><span>{escape(word)}</span><small>{escape(tag)}</small></li>'
        for word, tag, probability in words
    )
    used = [tag for tag in meanings if any(tag == own for _, own, _ in words)]
    doubt = any(probability < UNSURE for _, _, probability in words)
    return (
        f'<section class="sentence"><ol class="tagged" role="list">{items}</ol>'
        f"{_legend({tag: meanings[tag] for tag in used}, doubt)}</section>"
    )


def marked_names(
    text: str,
    names: Sequence[tuple[int, int, str, float]],
    meanings: Mapping[str, tuple[str, int | None]],
) -> str:
    """A sentence with its names in the colours of their kinds, and a legend.

    Args:
        names: where in the text each begins and ends, its kind, and how sure it is; in order.
        meanings: as in `tagged_words`.
    """
    if not names:
        return notice("No names are found in this sentence.")
    marked, place = "", 0
    for start, end, kind, probability in names:
        marked += (
            f'{escape(text[place:start])}<mark class="{_kind(probability)}"'
            f'{_hue(meanings[kind][1])} title="{percent(probability)} sure">'
            f"{escape(text[start:end])} <small>{escape(kind)}</small></mark>"
        )
        place = end
    used = {kind: meanings[kind] for kind in meanings if any(kind == name[2] for name in names)}
    doubt = any(probability < UNSURE for *_, probability in names)
    return (
        f'<section class="sentence"><p class="marked-names">{marked}{escape(text[place:])}</p>'
        f"{_legend(used, doubt)}</section>"
    )


def translation_grid(
    text: str,
    source: Sequence[str],
    words: Sequence[str],
    attention: NDArray[np.float32] | None,
    *,
    doubt: str = "",
) -> str:
    """A translation, and a table of where the network looked for each of its words.

    Args:
        source, words: of the sentence and of its translation.
        attention: (words, source); None if the network has none.
        doubt: why the translation is not to be trusted; "" for no reason.
    """
    best = f'<p class="caption verdict" aria-live="polite">{escape(text)}</p>'
    if doubt:
        best += notice(doubt)
    if attention is None:
        return f'<section class="sentence">{best}</section>'
    head = "".join(f'<th scope="col"><span>{escape(word)}</span></th>' for word in source)
    rows = "".join(
        f'<tr><th scope="row">{escape(word)}</th>{_attention_cells(row)}</tr>'
        for word, row in zip(words, attention, strict=True)
    )
    table = (
        "<table><caption>Where it looked for each word, in percent of its attention</caption>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )
    area = _scrolled("attention-grid", "Attention of the translation", table)
    return f'<section class="sentence">{best}{area}</section>'


def _attention_cells(row: NDArray[np.float32]) -> str:
    most = int(row.argmax())
    return "".join(
        f'<td{" class=most" if place == most else ""} style="--share:{100 * value:.0f}%">'
        f"{100 * value:.0f}</td>"
        for place, value in enumerate(row.tolist())
    )


def _curves(read: Sequence[tuple[str, Mapping[str, float]]]) -> list[str]:
    """The labels that get a curve, the highest first; of two labels the second alone."""
    labels = list(read[0][1])
    if len(labels) == 2:
        return labels[1:]
    return sorted(labels, key=lambda label: -max(row[label] for _, row in read))[:MAX_CURVES]


def _chart(read: Sequence[tuple[str, Mapping[str, float]]], curves: Sequence[str]) -> str:
    """Curves over the words, which stand below them; the numbers are those of the first curve."""
    labels, count = list(read[0][1]), len(read)
    grid = "".join(f'<line x2="{count}" y1="{y}" y2="{y}"/>' for y in (0, 0.5, 1))
    lines = "".join(
        f'<polyline class="curve-{number}" points="'
        + " ".join(f"{place + 0.5},{1 - row[name]:.4f}" for place, (_, row) in enumerate(read))
        + '"/>'
        for number, name in enumerate(curves)
    )
    dots = "".join(
        _dot(100 * (place + 0.5) / count, 100 * row[curves[0]])
        for place, (_, row) in enumerate(read)
    )
    words = "".join(
        f'<li><span>{escape(word)}<span class="unseen">: {_in_words(row)}</span></span></li>'
        for word, row in read
    )
    top, bottom = (labels[1], labels[0]) if len(labels) == 2 else ("100%", "0%")
    axis = "".join(f"<span>{escape(end)}</span>" for end in (top, "50%", bottom))
    plot = (
        f'<div class="plot" aria-hidden="true"><svg viewBox="0 0 {count} 1"'
        f' preserveAspectRatio="none">{grid}{lines}</svg>'
        f"{dots}</div>"
    )
    name = f"Probability of {curves[0] if len(curves) == 1 else 'each label'} after every word"
    room = _room([word for word, _ in read])
    drawn = f'<div style="--words:{count};{room}">{plot}<ol role="list">{words}</ol></div>'
    key = "" if len(curves) == 1 else _key(curves)
    return (
        f'<figure class="reading"><figcaption>{escape(name)}, in percent</figcaption>'
        f'<div class="axis" aria-hidden="true">{axis}</div>'
        f"{_scrolled('curve', name, drawn)}</figure>{key}"
    )


def _room(words: Sequence[str]) -> str:
    """The room that slanted words need below a chart and, the first ones, on its left."""
    sizes = [SLANT * min(len(word), LONGEST) for word in words]
    left = max(size - COLUMN * (place + 0.5) for place, size in enumerate(sizes))
    return f"--below:{14 + max(sizes):.0f}px;--left:{max(0.0, left):.0f}px"


def _dot(left: float, value: float) -> str:
    """A point of a curve with its number; all in percent of the width and of the height."""
    side = ' class="below"' if value > LOW_ENOUGH else ""
    return f'<i style="left:{left:.2f}%;top:{100 - value:.1f}%"><b{side}>{value:.0f}</b></i>'


def _in_words(row: Mapping[str, float]) -> str:
    likeliest = max(row, key=lambda name: row[name])
    return f"{escape(likeliest)} {percent(row[likeliest])}"


def _key(curves: Sequence[str]) -> str:
    """Which curve is which label's."""
    items = "".join(
        f'<li><svg viewBox="0 0 24 8" aria-hidden="true"><polyline class="curve-{number}"'
        f' points="0,4 24,4"/></svg>{escape(label)}</li>'
        for number, label in enumerate(curves)
    )
    return f'<ul class="legend" role="list">{items}</ul>'


def _legend(meanings: Mapping[str, tuple[str, int | None]], doubt: bool) -> str:
    items = "".join(
        f'<li class="hued"{_hue(hue)}><span>{escape(tag)}</span>{escape(meaning)}</li>'
        for tag, (meaning, hue) in meanings.items()
    )
    if doubt:
        items += f'<li class="unsure"><span>word</span>less than {percent(UNSURE)} sure</li>'
    return f'<ul class="legend" aria-label="Legend" role="list">{items}</ul>'


def _scrolled(name: str, label: str, drawn: str) -> str:
    """What may be wider than the page, to be scrolled with the arrow keys too."""
    return (
        f'<div class="scroll {name}" role="region" tabindex="0"'
        f' aria-label="{escape(label, quote=True)}">{drawn}</div>'
    )


def _kind(probability: float) -> str:
    return "hued unsure" if probability < UNSURE else "hued"


def _hue(hue: int | None) -> str:
    return ' style="--saturation:0%"' if hue is None else f' style="--hue:{hue}"'
