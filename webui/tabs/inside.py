"""Tab 4: views into the language model over a visitor's own text: surprise, hidden units,
connectivity, gradient flow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr
import numpy as np

from charlm import CharLM
from charlm.analysis.comparison_cells import untrained_cells
from charlm.analysis.insight import (
    Surprise,
    connectivity,
    gradient_flow,
    matching_units,
    surprise,
    unit_traces,
)
from rnnkit.errors import UserError
from webui.errors import in_words, sentence
from webui.html import coloured_text, heat_map, log_panels, notice, visible
from webui.workers import Models, SharedCharLM

MAX_TEXT = 600
STEPS_BACK = 100
KNOWN = 0.9  # of a text's characters, below which its trained cells would read another text
TEXT = """KING:
Good morrow, sir. What news from the north?

MESSENGER:
My lord, the Winter Rose is lost at sea,
And all the men, some forty, drowned with her."""
UNITS_SHOWN = 160
# A click on a character asks for what moved its prediction; the slider does the same for those who
# use the keyboard.
CHOOSE = """
element.addEventListener('click', (event) => {
  const index = event.target.closest('[data-index]')?.dataset.index;
  if (index !== undefined) trigger('select', {index: Number(index)});
});
"""
WORDS = {
    "surprise": (
        "Surprise",
        (
            "The stronger a character's colour, the less the network expected it: -ln p of what"
            " came, given all before it.\nBeginnings of words surprise, their ends hardly do; rest"
            " on a character, or choose it below, to read what was held likeliest."
        ),
    ),
    "connectivity": (
        "What a prediction hangs on",
        (
            "Click a character, or move the slider: the stronger an earlier one is coloured, the"
            " more it moved the prediction of the framed.\nMost of the time the last few characters"
            " decide; after a line's end or a name, the network looks further back."
        ),
    ),
    "units": (
        "Hidden units",
        (
            "Each row is one unit of the network's memory while it reads from left to right: green"
            " is near 1, plum is near -1.\nOn top stand those that follow something that has a"
            " name, with the correlation; most others mean nothing that we can name."
        ),
    ),
    "gradient": (
        "Gradient flow in RNN, GRU and LSTM",
        (
            "How much of the last character's error comes back to each earlier step's memory (h; in"
            " the LSTM h and c together), on a logarithmic axis: where it falls, learning"
            " fades.\nThe plain RNN forgets the fastest; gates keep a way open, and trained ones"
            " often shut it at a line's end. Clipping only lowers a curve as a whole, where the"
            " gradient is large."
        ),
    ),
}


def build(models: Models) -> None:
    """Draw the tab."""
    missing = gr.HTML(visible=False, container=False, apply_default_css=False)
    with gr.Row(equal_height=False):
        text = gr.Textbox(
            TEXT,
            label="A text of yours",
            lines=6,
            max_lines=12,
            max_length=MAX_TEXT,
            info=f"At most {MAX_TEXT} characters.",
            scale=6,
            elem_id="inside-text",
        )
        with gr.Column(scale=2, min_width=200):
            look = gr.Button("Look inside", variant="primary")
            clip = gr.Checkbox(
                True, label="Clip the gradient", info="Scales it down to the norm below."
            )
            clip_norm = gr.Slider(0.05, 5, 1, step=0.05, label="Clip norm")
    summary = gr.HTML(
        notice("Press Look inside: the network reads the text, and four views of it appear."),
        elem_id="inside-summary",
        container=False,
        apply_default_css=False,
    )
    with gr.Column(visible=False, elem_id="views") as views:
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
            gradient = gr.HTML(elem_id="gradient", container=False, apply_default_css=False)
    read, guesses = gr.State(""), gr.State([])

    @in_words
    def inspect(text: Any, clip: Any, clip_norm: Any) -> dict[Any, Any]:
        shared = models.charlm.get()
        known, left_out = _known(shared, text)
        with shared.lock:
            found = surprise(shared.lm, known)
            traces = unit_traces(shared.lm, known)
        nats = float(np.nanmean(found.nats))
        said = (
            f"{nats:.3f} nats a character on average ({nats / math.log(2):.3f} bits), {len(known)}"
            " characters"
        )
        where, said_of = len(known) - 1, _guesses(known, found)
        return {
            read: known,
            guesses: said_of,
            views: gr.update(visible=True),
            summary: notice(
                said
                + (
                    f"; {left_out} that the model has never seen were left out."
                    if left_out
                    else "."
                )
            ),
            surprised: coloured_text(
                known,
                found.nats,
                label="The text, coloured by surprise",
                low=0,
                high=6,
                titles=said_of,
            ),
            units: _units(known, traces),
            position: gr.update(
                maximum=max(2, where), value=where
            ),  # a slider must have two ends, also for a text of two characters
            connected: _connected(shared, known, where, said_of),
            gradient: _gradient(models, known, _norm(clip, clip_norm)),
        }

    @in_words
    def connect(known: Any, guesses: Any, where: Any) -> str:
        if not isinstance(known, str) or len(known) < 2:
            raise UserError("press Look inside first")
        return _connected(
            models.charlm.get(), known, max(1, min(len(known) - 1, int(where or 1))), guesses
        )

    @in_words
    def choose(known: Any, guesses: Any, event: gr.EventData) -> tuple[Any, str]:
        index = event._data.get("index", 1) if isinstance(event._data, dict) else 1
        where = max(1, min(len(known) - 1, int(index)))
        return gr.update(value=where), connect(known, guesses, where)

    @in_words
    def clipped(known: Any, clip: Any, clip_norm: Any) -> Any:
        return (
            _gradient(models, known, _norm(clip, clip_norm))
            if isinstance(known, str) and len(known) > 1
            else gr.skip()
        )

    def check() -> Any:
        try:
            models.charlm.get()
        except UserError as error:
            return gr.update(
                value=notice(f"There is no network to look into: {error}.", kind="problem"),
                visible=True,
            )
        return gr.update(visible=False)

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    limited: dict[str, Any] = {"concurrency_id": "charlm", "concurrency_limit": 8, **private}
    outputs = [read, guesses, views, summary, surprised, units, position, connected, gradient]
    look.click(
        inspect,
        [text, clip, clip_norm],
        outputs,
        **limited | {"show_progress": "minimal", "show_progress_on": summary},
    )
    position.input(
        connect, [read, guesses, position], connected, trigger_mode="always_last", **limited
    )
    connected.select(
        choose, [read, guesses], [position, connected], trigger_mode="always_last", **limited
    )
    # One event for both, so that what is asked for last is also what is drawn last.
    gr.on(
        [clip.input, clip_norm.release],
        clipped,
        [read, clip, clip_norm],
        gradient,
        trigger_mode="always_last",
        **limited,
    )
    # Not through the queue: when that is full, a page that opens must still say what is missing.
    gr.on([gr.context.Context.root_block.load], check, None, missing, queue=False, **private)


def _words(view: str) -> None:
    title, words = WORDS[view]
    gr.Markdown(f"### {title}\n" + "<br>".join(words.split("\n")))


def _known(shared: SharedCharLM, text: Any) -> tuple[str, int]:
    """What the model can read of a text, and how many characters it cannot."""
    if not isinstance(text, str):
        raise UserError("the text must be text")
    if len(text) > MAX_TEXT:
        raise UserError(f"the text has {len(text)} characters, more than the limit of {MAX_TEXT}")
    vocabulary = shared.lm.vocabulary
    known = vocabulary.decode(vocabulary.encode(text, unknown="skip"))
    if len(known) < 2:
        raise UserError("the text must have at least 2 characters that the model knows")
    return known, len(text) - len(known)


def _guesses(text: str, found: Surprise) -> list[str]:
    """A sentence on each character."""
    said = ["the first character: nothing was read before it"]
    for index in range(1, len(text)):
        likeliest = zip(found.likeliest[index][:3], found.probabilities[index], strict=False)
        guesses = ", ".join(f"“{visible(symbol)}” {100 * p:.0f} %" for symbol, p in likeliest)
        said.append(
            f"“{visible(text[index])}”: surprise {found.nats[index]:.2f} nats; likeliest were"
            f" {guesses}"
        )
    return said


def _units(text: str, traces: np.ndarray) -> str:
    matches = [match for match in matching_units(traces, text) if abs(match.correlation) >= 0.3][:8]
    by_unit: dict[tuple[int, int], str] = {}
    for match in matches:
        by_unit.setdefault((match.layer, match.unit), f"{match.feature} ({match.correlation:+.2f})")
    rows = traces.reshape(len(traces), -1).T  # (layers * H, T)
    named = [layer * traces.shape[2] + unit for layer, unit in by_unit]
    liveliest = [index for index in np.argsort(-rows.std(axis=1)) if index not in set(named)][
        : UNITS_SHOWN - len(named)
    ]
    drawn = heat_map(
        rows[[*named, *liveliest]], list(by_unit.values()), label="Hidden units over the text"
    )
    if not named:
        return drawn
    (layer, unit), feature = next(iter(by_unit.items()))
    said = f"The text, coloured by the first of them, layer {layer + 1}, unit {unit}:"
    first = coloured_text(
        text,
        rows[named[0]],
        label=f"The text, coloured by the unit for {feature}",
        low=-1,
        high=1,
        signed=True,
    )
    return f'{drawn}<p class="fine">{said}</p>{first}'


def _connected(shared: SharedCharLM, text: str, where: int, guesses: Sequence[str]) -> str:
    with shared.lock:
        strengths = connectivity(shared.lm, text, where)
    values = np.append(strengths, np.full(len(text) - where, np.nan))
    drawn = coloured_text(
        text,
        values,
        label=f"What moved the prediction of character {where}",
        low=0,
        high=float(strengths.max()) or 1.0,
        marked=where,
    )
    return drawn + f'<p class="fine line">{escape(guesses[where])}</p>'


def _norm(clip: Any, clip_norm: Any) -> float:
    try:
        norm = float(clip_norm)
    except (TypeError, ValueError):
        norm = math.nan
    if not 0 < norm < math.inf:
        raise UserError("the clip norm must be a number above 0")
    return norm if clip else math.inf


def _gradient(models: Models, text: str, clip_norm: float) -> str:
    """The panels for a text that the page's model can read, or in their place why there are none."""
    text = text[-STEPS_BACK - 1 :]
    try:
        cells, trained = models.cells.get()
    except UserError as error:
        return notice(
            f"The three networks to compare cannot be shown: {sentence(error)}", kind="problem"
        )
    which = "Three small networks of equal size, trained on the same text."
    if not trained:
        which = (
            "No trained cells come with this installation: these three have equal size and random"
            " weights, as before training."
        )
    elif min(
        len(lm.vocabulary.encode(text, unknown="skip")) for lm in cells.values()
    ) < KNOWN * len(text):
        cells = untrained_cells(models.charlm.get().lm.vocabulary)
        which = (
            "The trained cells, which learnt English, do not know this text's characters: these"
            " three have equal size and random weights, as before training."
        )
    return _flows(cells, text, clip_norm) + f'<p class="fine">{which}</p>'


def _flows(cells: Mapping[str, CharLM], text: str, clip_norm: float) -> str:
    panels, notes = {}, {}
    for name, lm in cells.items():
        ids = lm.vocabulary.encode(text, unknown="skip")
        flow = gradient_flow(lm.network, ids.to(lm.device), clip_norm=min(clip_norm, 1e30))
        norms, clipped = (
            np.sqrt((each**2).sum(axis=(0, 1)))[::-1] for each in (flow.norms, flow.clipped)
        )  # (steps,)
        is_clipped = flow.weight_norm > clip_norm
        panels[name.upper()] = [
            ("dashed" if is_clipped else "solid", norms),
            *([("solid", clipped)] if is_clipped else []),
        ]
        notes[name.upper()] = f"Gradient of all weights {flow.weight_norm:.2g}" + (
            f", clipped to {clip_norm:g}: the dashed line is without."
            if is_clipped
            else ", not clipped."
        )
    return log_panels(
        panels, notes, x_label="steps back from the error", y_label="norm of the gradient"
    )
