"""Tab 3: a prompt in, text out as it is written; stop it, see what could come next, continue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import Any, NamedTuple

import gradio as gr

from rnnkit.errors import UserError
from webui.errors import in_words, sentence
from webui.html import bars, notice, visible
from webui.page_scripts import script
from webui.services import writing
from webui.services.writing import MAX_SEED, MAX_TEXTS, Draft, Turn, random_seed
from webui.workers import Models, TextWorker

PROMPT = "ROMEO:"
PRESETS = ("ROMEO:", "First Citizen:\nBefore we", "To be, or not to be", "KING RICHARD III:\n")
MAX_STOP = 100  # characters of the stop text
TEXTS = """
<div class="heading"><h2>Text</h2><span class="legend"><mark>prompt</mark> and what was
written</span>
<button type="button" class="small-button" data-copies="written-texts" disabled>Copy</button>
<button type="button" class="small-button download" disabled>Download</button></div>
<div class="texts" id="written-texts"></div>
"""
EMPTY = notice("When the text ends, the ten likeliest next characters appear here.")


class Settings(NamedTuple):
    """How to write, as components; the first five hold for a text that goes on, too."""

    length: gr.Slider
    temperature: gr.Slider
    top_k: gr.Slider
    top_p: gr.Slider
    stop_text: gr.Textbox
    count: gr.Slider
    seed: gr.Number


@dataclass
class WritingDesk:
    """A visitor's tab, shared by all its events, even while another one is under way."""

    turn: Turn = field(default_factory=Turn)
    draft: Draft | None = None  # that Continue continues

    def take(self) -> Turn:
        """Give the text to an event that begins; what wrote there until now stops."""
        turn = Turn()
        self.turn.over, self.turn = True, turn
        return turn


def build(models: Models) -> None:
    """Draw the tab."""
    with gr.Row(equal_height=False, elem_id="write-tab", elem_classes="remembered"):
        with gr.Column(scale=7, min_width=300):
            missing = gr.HTML(visible=False, container=False, apply_default_css=False)
            prompt = gr.Textbox(
                PROMPT,
                label="Prompt",
                lines=2,
                max_lines=8,
                info="The network continues this text. To begin, press Write or Shift+Enter.",
                elem_id="prompt",
            )
            with gr.Row(elem_classes="presets"):
                presets = [
                    gr.Button(" ".join(preset.split()), size="sm", min_width=60)
                    for preset in PRESETS
                ]
            with gr.Row(elem_classes="buttons"):
                write = gr.Button("Write", variant="primary", elem_id="write")
                stop = gr.Button("Stop", variant="primary", visible=False, elem_id="stop-writing")
                go_on = gr.Button("Continue", interactive=False, elem_id="go-on")
                again = gr.Button("Try again", interactive=False, elem_id="try-again")
            text = gr.HTML(
                {"prompt": "", "texts": [""]},
                html_template=TEXTS,
                js_on_load=script("writing"),
                elem_id="text",
                container=False,
                apply_default_css=False,
            )
            line = gr.HTML(elem_id="write-line", container=False, apply_default_css=False)
            likeliest = gr.HTML(
                EMPTY, elem_id="likeliest", container=False, apply_default_css=False
            )
        with gr.Column(scale=4, min_width=280):
            chosen = _settings()
    desk = gr.State(WritingDesk())
    # When an event ends, the page receives its last update once more.
    nothing = {text: gr.skip()}
    settings = chosen[:5]
    buttons = [write, stop, go_on, again]

    def working(on: bool) -> dict[Any, Any]:
        return {
            write: gr.update(visible=not on),
            stop: gr.update(visible=on),
            go_on: gr.update(interactive=not on),
            again: gr.update(interactive=not on),
        }

    def shown(draft: Draft, written: list[str]) -> dict[Any, Any]:
        return {text: {"prompt": draft.prompt, "texts": written}}

    def problem(error: UserError) -> dict[Any, Any]:
        return {line: notice(sentence(error), kind="problem")}

    def stream(
        turn: Turn, draft: Draft, worker: TextWorker, *settings: Any
    ) -> Iterator[dict[Any, Any]]:
        length, temperature, top_k, top_p, stop = settings
        before = draft.characters
        growing = writing.write(
            worker,
            draft,
            length=length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            stop=_short(stop),
            turn=turn,
        )
        yield working(True) | {line: "", likeliest: EMPTY}
        written = draft.written
        for written in growing:
            yield shown(draft, written)
        if turn.over:
            yield nothing
            return
        last = _line(worker, draft.characters - before, draft)
        if turn.stopped:
            last, written = notice("Stopped. Continue picks up from here."), draft.written
        # With the text once more, because the page may lose an update that another one follows at
        # once.
        end = {line: last, likeliest: _likeliest(draft)}
        yield working(False) | shown(draft, written) | end

    @in_words
    def start(
        desk: WritingDesk, prompt: Any, seed: Any, count: Any, *settings: Any
    ) -> Iterator[dict[Any, Any]]:
        turn = desk.take()
        yield working(True)
        try:
            worker = models.charlm.get()
            draft = writing.begin(worker, prompt, seed, count)
            if turn.over:  # Shift+Enter in the prompt asked for another text meanwhile
                yield nothing
                return
            desk.draft = draft
            yield from stream(turn, draft, worker, *settings)
        except UserError as error:
            yield failed(desk) | problem(error)

    @in_words
    def resume(desk: WritingDesk, *settings: Any) -> Iterator[dict[Any, Any]]:
        turn = desk.take()
        try:
            if desk.draft is None:
                raise UserError("there is no text to continue: press Write first")
            yield from stream(turn, desk.draft, models.charlm.get(), *settings)
        except UserError as error:
            yield failed(desk) | problem(error)

    def failed(desk: WritingDesk) -> dict[Any, Any]:
        return working(False) | ({} if desk.draft else {go_on: gr.update(interactive=False)})

    def halt(desk: WritingDesk) -> None:
        # The run itself then says that it has stopped, so that nothing of it comes later.
        desk.turn.stopped = True

    def check() -> Any:
        try:
            models.charlm.get()
        except UserError as error:
            why = notice(f"No text can be written. {sentence(error)}", kind="problem")
            return gr.update(value=why, visible=True)
        return gr.update(visible=False)

    outputs = [*buttons, text, line, likeliest]
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    limited: dict[str, Any] = {
        "concurrency_id": "charlm",
        "concurrency_limit": 8,
        "preprocess": False,
        **private,
    }
    begin = [desk, prompt, chosen.seed, chosen.count, *settings]
    runs = [
        write.click(start, begin, outputs, **limited),
        prompt.submit(start, begin, outputs, **limited),
        go_on.click(resume, [desk, *settings], outputs, **limited),
        again.click(random_seed, None, chosen.seed, queue=False, **private).then(
            start, begin, outputs, **limited
        ),
    ]
    for run in runs:
        run.failure(failed, desk, buttons, queue=False, **private)
    stop.click(halt, desk, None, queue=False, **private)
    for button, preset in zip(presets, PRESETS, strict=True):
        button.click(None, None, prompt, js=f"() => {json.dumps(preset)}", **private)
    gr.on(None, check, None, missing, **private)  # when the page opens


def _settings() -> Settings:
    """Draw the settings."""
    temperature = gr.Slider(
        0,
        2,
        0.8,
        step=0.05,
        label="Temperature",
        info="Below 1 is tamer, above 1 wilder; 0 always takes the likeliest character.",
    )
    length = gr.Slider(20, 5000, 600, step=20, label="Length", info="How many characters to write.")
    count = gr.Slider(
        1, MAX_TEXTS, 1, step=1, label="Texts", info="How many to write at the same time."
    )
    top_k = gr.Slider(
        0,
        100,
        0,
        step=1,
        label="Top-k",
        info="Draw only from the k likeliest characters; 0 is all.",
    )
    top_p = gr.Slider(
        0.05,
        1,
        1,
        step=0.05,
        label="Top-p",
        info="Draw only from the likeliest characters whose probabilities add up to this.",
    )
    stop_text = gr.Textbox(
        "",
        label="Stop text",
        info="Writing stops where this text appears. Line breaks count.",
        lines=2,
        max_lines=4,
    )
    seed = gr.Number(
        1,
        label="Seed",
        info="The same seed writes the same text. Try again takes a new one.",
        precision=0,
        minimum=0,
        maximum=MAX_SEED,
        elem_id="seed",
    )
    return Settings(length, temperature, top_k, top_p, stop_text, count, seed)


def _short(stop: Any) -> Any:
    """The stop text, unless it is so long that nobody can have meant it."""
    if isinstance(stop, str) and len(stop) > MAX_STOP:
        raise UserError(
            f"the stop text has {len(stop):,} characters, more than the limit of {MAX_STOP}:"
            " shorten it"
        )
    return stop


def _likeliest(draft: Draft) -> str:
    rows = [(visible(character), probability) for character, probability in draft.likeliest(10)]
    which = " of the first text" if len(draft.written) > 1 else ""
    note = "The network's own probabilities: temperature, top-k and top-p do not change them."
    drawn = bars(rows, label=f"Likeliest next characters{which}")
    return f'{drawn}<p class="fine">{note} A full bar is 100%.</p>'


def _line(worker: TextWorker, characters: int, draft: Draft) -> str:
    """What wrote the texts, and how much of them."""
    model, texts = worker.lm.network.architecture, len(draft.written)
    size = f"{model.num_layers} \N{MULTIPLICATION SIGN} {model.hidden_size}"
    parts = [
        f"{model.cell.upper()}, {size} units",
        worker.lm.device.type.upper(),
        f"seed {draft.seed}",
        f"{characters:,} characters" + (f" in {texts} texts" if texts > 1 else ""),
    ]
    if draft.stopped:
        ended = f"{draft.stopped} of {texts} " if texts > 1 else ""
        parts.append(f"{ended}ended at the stop text")
    if draft.left_out:
        plural = "" if draft.left_out == 1 else "s"
        parts.append(
            f"skipped {draft.left_out:,} character{plural} of the prompt that the network has never"
            " seen"
        )
    return f'<p class="fine line" role="status">{escape(" · ".join(parts))}</p>'
