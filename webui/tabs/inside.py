"""Tab 5: views into the language model while it reads a visitor's own text: surprise, hidden
units, connectivity, gradient flow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr
import numpy as np

from charlm import CharLM
from charlm.analysis.insight import Surprise, matching_units
from rnnkit.errors import UserError
from webui.client_values import whole_number
from webui.errors import sentence, shown_by
from webui.html import coloured_text, heat_map, log_panels, notice, visible
from webui.services.inspection import (
    MAX_TEXT,
    STEPS_BACK,
    cells_for,
    clip_norm_of,
    gradient_flows,
    read_text,
    strengths,
)
from webui.workers import Models, TextWorker

TEXT = """KING:
Good morrow, sir. What news from the north?

MESSENGER:
My lord, the Winter Rose is lost at sea,
And all the men, some forty, drowned with her."""
UNITS_SHOWN = 160
# Clicking a character asks what moved its prediction; the slider does the same for those who use
# the keyboard.
CHOOSE = """
element.addEventListener('click', (event) => {
  const index = event.target.closest('[data-index]')?.dataset.index;
  if (index !== undefined) trigger('select', {index: Number(index)});
});
"""
WORDS = {
    "surprise": (
        "Surprise",
        "The network guesses each character from those before it. The stronger the colour, the less"
        " it expected what came.\nThe first letter of a word is often a surprise, the last hardly"
        " ever. Point at a character to read the network's best guesses. Surprise is measured in"
        " nats: -ln p, where p is the probability that it gave to what came.",
    ),
    "connectivity": (
        "What a guess depends on",
        "Click on a character, or move the slider. The stronger the colour of an earlier"
        " character, the more it changed the network's guess of the framed one.\nUsually the last"
        " few characters decide. After a line break or a name, the network looks further back.",
    ),
    "units": (
        "Hidden units",
        "The network's memory is a list of numbers, its hidden units. Each row shows one of them"
        " while the network reads from left to right: green is near 1, plum near -1.\nThe units"
        " with a name follow something that we can see in the text; the number is their correlation"
        " with it. Most of the others mean nothing that we can name.",
    ),
    "gradient": (
        "Gradient flow in RNN, GRU and LSTM",
        "A network learns by sending its error back through time, step by step. The curve shows how"
        " much of the last character's error reaches each earlier step (in the LSTM, h and c"
        " together). Where it falls, the network cannot learn from what stood there.\nThe plain RNN"
        " forgets fastest; the gates of GRU and LSTM keep a path open. Trained gates often close at"
        " the end of a line. Clipping scales down a gradient that is too large, and so lowers the"
        " whole curve.",
    ),
}
# Reads the example when the tab is opened, unless there is a reading.
LOOK_FIRST = """() => {
  if (!document.querySelector('#gradient svg')) document.querySelector('#look').click();
}"""
CONTENTS = "".join(
    f'<li><a href="#view-{view}">{title}</a></li>' for view, (title, _) in WORDS.items()
)


def build(models: Models, tab: gr.Tab) -> None:
    """Draw the tab, which reads its example text as soon as it is opened."""
    missing = gr.HTML(visible=False, container=False, apply_default_css=False)
    with gr.Row(equal_height=False, elem_id="inside-tab", elem_classes="remembered"):
        text = gr.Textbox(
            TEXT,
            label="Your text",
            lines=6,
            max_lines=12,
            info=f"At most {MAX_TEXT} characters.",
            scale=6,
            elem_id="inside-text",
        )
        with gr.Column(scale=2, min_width=200):
            look = gr.Button("Look inside", variant="primary", elem_id="look")
            summary = gr.HTML(
                notice("The network is reading the text. Four views of it appear below."),
                elem_id="inside-summary",
                container=False,
                apply_default_css=False,
            )
    with gr.Column(visible=False, elem_id="views") as views:
        gr.HTML(
            f'<nav class="contents" aria-label="Views"><ul>{CONTENTS}</ul></nav>',
            container=False,
            apply_default_css=False,
        )
        with gr.Column(elem_classes="view"):
            _words("surprise")
            surprised = gr.HTML(elem_id="surprise", container=False, apply_default_css=False)
        with gr.Column(elem_classes="view"):
            _words("connectivity")
            position = gr.Slider(1, MAX_TEXT - 1, 1, step=1, label="Character", elem_id="position")
            connected = gr.HTML(
                elem_id="connectivity", js_on_load=CHOOSE, container=False, apply_default_css=False
            )
        with gr.Column(elem_classes="view"):
            _words("units")
            units = gr.HTML(elem_id="units", container=False, apply_default_css=False)
        with gr.Column(elem_classes="view"):
            _words("gradient")
            with gr.Row(equal_height=True):
                clip = gr.Checkbox(
                    True, label="Clip the gradient", info="Scale it down to this norm."
                )
                clip_norm = gr.Slider(
                    0.05, 5, 1, step=0.05, label="Clip norm", scale=3, min_width=240
                )
            gradient = gr.HTML(elem_id="gradient", container=False, apply_default_css=False)
    read, guesses = gr.State(""), gr.State([])

    def problem(why: str) -> dict[Any, Any]:  # without the views, which are of another text
        return {summary: notice(why, kind="problem"), views: gr.update(visible=False), read: ""}

    def problem_here(why: str) -> str:
        return notice(why, kind="problem")

    @shown_by(problem)
    def inspect(text: Any, clip: Any, clip_norm: Any) -> dict[Any, Any]:
        worker = models.charlm.get()
        reading = read_text(worker, text)
        known, nats = reading.text, reading.surprise.nats
        last, titles = len(known) - 1, _guesses(known, reading.surprise)
        return {
            read: known,
            guesses: titles,
            views: gr.update(visible=True),
            summary: notice(_summary(float(np.nanmean(nats)), len(known), reading.left_out)),
            surprised: coloured_text(
                known, nats, label="The text, coloured by surprise", low=0, high=6, titles=titles
            ),
            units: _units(known, reading.traces),
            # A slider must have two ends, even for a text of two characters.
            position: gr.update(maximum=max(2, last), value=last),
            connected: _connected(worker, known, last, titles),
            gradient: _gradient(models, known, clip_norm_of(clip, clip_norm)),
        }

    @shown_by(problem_here)
    def connect(known: Any, guesses: Any, position: Any) -> str:
        if not isinstance(known, str) or len(known) < 2:
            raise UserError("press Look inside first")
        where = max(1, min(len(known) - 1, whole_number(position or 1, "the character")))
        return _connected(models.charlm.get(), known, where, guesses)

    @shown_by(lambda why: (gr.skip(), problem_here(why)))
    def choose(known: Any, guesses: Any, event: gr.EventData) -> tuple[Any, str]:
        where = max(1, _index(event))  # nothing was read before the first character
        return gr.update(value=where), connect(known, guesses, where)

    @shown_by(problem_here)
    def redraw_gradient(known: Any, clip: Any, clip_norm: Any) -> Any:
        if not isinstance(known, str) or len(known) < 2:
            return gr.skip()
        return _gradient(models, known, clip_norm_of(clip, clip_norm))

    def check() -> Any:
        try:
            models.charlm.get()
        except UserError as error:
            why = notice(f"There is no network to look into. {sentence(error)}", kind="problem")
            return gr.update(value=why, visible=True)
        return gr.update(visible=False)

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    limited: dict[str, Any] = {"concurrency_id": "charlm", "concurrency_limit": 8, **private}
    outputs = [read, guesses, views, summary, surprised, units, position, connected, gradient]
    look.click(
        inspect,
        [text, clip, clip_norm],
        outputs,
        trigger_mode="always_last",
        **limited | {"show_progress": "minimal", "show_progress_on": summary},
    )
    # The button itself, because the answers of a second event could overtake those of a click.
    tab.select(None, None, None, js=LOOK_FIRST, api_visibility="private", queue=False)
    position.input(
        connect, [read, guesses, position], connected, trigger_mode="always_last", **limited
    )
    connected.select(
        choose, [read, guesses], [position, connected], trigger_mode="always_last", **limited
    )
    # One event for both, so that what is asked for last is also what is drawn last.
    gr.on(
        [clip.input, clip_norm.release],
        redraw_gradient,
        [read, clip, clip_norm],
        gradient,
        trigger_mode="always_last",
        **limited,
    )
    # When the page opens. Not through the queue: a page must say what is missing even when it is
    # full.
    gr.on(None, check, None, missing, queue=False, **private)


def _index(event: gr.EventData) -> int:
    """Which character was clicked."""
    try:
        return whole_number(event.index, "the character")
    except (AttributeError, TypeError):  # from a client that is not the page
        raise UserError("choose a character first") from None


def _words(view: str) -> None:
    title, words = WORDS[view]
    paragraphs = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in words.split("\n"))
    gr.HTML(
        f'<div class="words"><h2 id="view-{view}">{title}</h2>{paragraphs}</div>',
        container=False,
        apply_default_css=False,
    )


def _summary(nats: float, characters: int, left_out: int) -> str:
    skipped = f"; skipped {left_out} that the network has never seen" if left_out else ""
    return (
        f"{nats:.3f} nats per character on average ({nats / math.log(2):.3f} bits),"
        f" {characters} characters{skipped}."
    )


def _guesses(text: str, surprise: Surprise) -> list[str]:
    """A sentence on each character."""
    sentences = ["the first character: nothing was read before it"]
    for index in range(1, len(text)):
        likeliest = zip(surprise.likeliest[index][:3], surprise.probabilities[index], strict=False)
        guesses = ", ".join(f"“{visible(symbol)}” {100 * p:.0f}%" for symbol, p in likeliest)
        sentences.append(
            f"“{visible(text[index])}”: surprise {surprise.nats[index]:.2f} nats; the likeliest"
            f" were {guesses}"
        )
    return sentences


def _units(text: str, traces: np.ndarray) -> str:
    """A heat map of the hidden units, those that follow something nameable first.

    Args:
        traces: (characters, layers, hidden size).
    """
    matches = [match for match in matching_units(traces, text) if abs(match.correlation) >= 0.3][:8]
    by_unit: dict[tuple[int, int], str] = {}
    for match in matches:
        by_unit.setdefault((match.layer, match.unit), f"{match.feature} ({match.correlation:+.2f})")
    rows = traces.reshape(len(traces), -1).T  # (layers * H, T)
    named = [layer * traces.shape[2] + unit for layer, unit in by_unit]
    others = [index for index in np.argsort(-rows.std(axis=1)) if index not in set(named)]
    liveliest = others[: UNITS_SHOWN - len(named)]
    drawn = heat_map(
        rows[[*named, *liveliest]], list(by_unit.values()), label="Hidden units over the text"
    )
    if not named:
        return drawn
    (layer, unit), feature = next(iter(by_unit.items()))
    caption = f"The text, coloured by the first of them (layer {layer + 1}, unit {unit}):"
    first = coloured_text(
        text,
        rows[named[0]],
        label=f"The text, coloured by the unit for {feature}",
        low=-1,
        high=1,
        signed=True,
    )
    return f'{drawn}<p class="fine">{caption}</p>{first}'


def _connected(worker: TextWorker, text: str, where: int, guesses: Sequence[str]) -> str:
    moved = strengths(worker, text, where)
    drawn = coloured_text(
        text,
        np.append(moved, np.full(len(text) - where, np.nan)),
        label=f"What moved the prediction of character {where}",
        low=0,
        high=float(moved.max()) or 1.0,
        marked=where,
    )
    return drawn + f'<p class="fine line">{escape(guesses[where])}</p>'


def _gradient(models: Models, text: str, clip_norm: float) -> str:
    """The panels for a text that the page's model can read, or why there are none."""
    text = text[-STEPS_BACK - 1 :]
    try:
        cells, origin = cells_for(models, text)
    except UserError as error:
        return notice(
            f"The three networks to compare cannot be shown. {sentence(error)}", kind="problem"
        )
    return _panels(cells, text, clip_norm) + f'<p class="fine">{origin}</p>'


def _panels(cells: Mapping[str, CharLM], text: str, clip_norm: float) -> str:
    panels, notes = {}, {}
    for cell, flow in gradient_flows(cells, text, clip_norm):
        # Over layers and parts, (steps,), the last step first.
        norms = np.sqrt((flow.norms**2).sum(axis=(0, 1)))[::-1]
        clipped = np.sqrt((flow.clipped**2).sum(axis=(0, 1)))[::-1]
        name, total = cell.upper(), f"Gradient of all weights: {flow.weight_norm:.2g}"
        if flow.weight_norm > clip_norm:
            panels[name] = [("dashed", norms), ("solid", clipped)]
            notes[name] = f"{total}, clipped to {clip_norm:g} (dashed line: without clipping)."
        else:
            panels[name] = [("solid", norms)]
            notes[name] = f"{total}, not clipped."
    return log_panels(
        panels, notes, x_label="steps back from the error", y_label="norm of the gradient"
    )
