"""Tab 3: a prompt in, text out as it is written; stop it, see what could come next, continue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from rnnkit.errors import UserError
from webui.errors import in_words, sentence
from webui.html import bars, notice, visible
from webui.services import writing
from webui.services.writing import MAX_PROMPT, MAX_SEED, Draft, Turn, random_seed
from webui.workers import Models, TextWorker

PROMPT = "ROMEO:"
EMPTY = notice("After each stop, the ten likeliest next characters appear here.")


@dataclass
class WritingDesk:
    """A visitor's tab, shared by all its events, even while another one is under way."""

    turn: Turn = field(default_factory=Turn)
    draft: Draft | None = None  # that Continue continues

    def take(self) -> Turn:
        """Give the text box to an event that begins; what wrote there until now stops."""
        turn = Turn()
        self.turn.over, self.turn = True, turn
        return turn


def build(models: Models) -> None:
    """Draw the tab."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=300):
            missing = gr.HTML(visible=False, container=False, apply_default_css=False)
            prompt = gr.Textbox(
                PROMPT,
                label="Prompt",
                lines=2,
                max_lines=8,
                max_length=MAX_PROMPT,
                info="The text continues from here.",
                elem_id="prompt",
            )
            with gr.Row():
                write = gr.Button("Write", variant="primary", elem_id="write")
                stop = gr.Button("Stop", variant="primary", visible=False, elem_id="stop-writing")
                go_on = gr.Button("Continue", interactive=False)
                again = gr.Button("Again", interactive=False)
            text = gr.Textbox(
                label="Text",
                lines=14,
                max_lines=24,
                interactive=False,
                elem_id="text",
                buttons=["copy"],
            )
            line = gr.HTML(elem_id="write-line", container=False, apply_default_css=False)
            likeliest = gr.HTML(
                EMPTY, elem_id="likeliest", container=False, apply_default_css=False
            )
        with gr.Column(scale=4, min_width=280):
            temperature = gr.Slider(
                0,
                2,
                0.8,
                step=0.05,
                label="Temperature",
                info="Below 1 is tamer, above 1 wilder; 0 always takes the likeliest character.",
            )
            length = gr.Slider(
                20, 5000, 600, step=20, label="Length", info="How many characters to write."
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
                max_length=100,
            )
            seed = gr.Number(
                1,
                label="Seed",
                info="The same seed writes the same text.",
                precision=0,
                minimum=0,
                maximum=MAX_SEED,
                elem_id="seed",
            )
            new_seed = gr.Button("New seed", size="md")
    desk = gr.State(WritingDesk())
    # When an event ends, the page receives its last update once more.
    nothing = {text: gr.skip()}
    settings = [length, temperature, top_k, top_p, stop_text]
    buttons = [write, stop, go_on, again]

    def working(on: bool) -> dict[Any, Any]:
        return {
            write: gr.update(visible=not on),
            stop: gr.update(visible=on),
            go_on: gr.update(interactive=not on),
            again: gr.update(interactive=not on),
        }

    def stream(
        turn: Turn, draft: Draft, worker: TextWorker, *settings: Any
    ) -> Iterator[dict[Any, Any]]:
        length, temperature, top_k, top_p, stop = settings
        before = draft.written
        growing = writing.write(
            worker,
            draft,
            length=length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            stop=stop,
            turn=turn,
        )
        yield working(True)
        for shown in growing:
            yield {text: shown}
        if turn.over:
            yield nothing
            return
        if turn.stopped:
            end = {text: draft.text, line: notice("Stopped. Continue picks up from here.")}
        else:
            end = {line: _line(worker, draft.written - before, draft)}
        yield working(False) | end | {likeliest: _likeliest(draft)}

    @in_words
    def start(
        desk: WritingDesk, prompt: Any, seed: Any, *settings: Any
    ) -> Iterator[dict[Any, Any]]:
        turn = desk.take()
        yield working(True)
        worker = models.charlm.get()
        draft = writing.begin(worker, prompt, seed)
        if turn.over:  # Shift+Enter in the prompt asked for another text while this one was read
            yield nothing
            return
        desk.draft = draft
        yield from stream(turn, draft, worker, *settings)

    @in_words
    def resume(desk: WritingDesk, *settings: Any) -> Iterator[dict[Any, Any]]:
        turn = desk.take()
        if desk.draft is None:
            raise UserError("there is no text to continue: press Write first")
        yield from stream(turn, desk.draft, models.charlm.get(), *settings)

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
    draw_seed: dict[str, Any] = {
        "fn": random_seed,
        "inputs": None,
        "outputs": seed,
        "queue": False,
        **private,
    }
    begin = [desk, prompt, seed, *settings]
    runs = [
        write.click(start, begin, outputs, **limited),
        prompt.submit(start, begin, outputs, **limited),
        go_on.click(resume, [desk, *settings], outputs, **limited),
        again.click(**draw_seed).then(start, begin, outputs, **limited),
    ]
    for run in runs:
        run.failure(failed, desk, buttons, queue=False, **private)
    stop.click(halt, desk, None, queue=False, **private)
    new_seed.click(**draw_seed)
    gr.on(None, check, None, missing, **private)  # when the page opens


def _likeliest(draft: Draft) -> str:
    rows = [(visible(character), probability) for character, probability in draft.likeliest(10)]
    return bars(rows, label="Likeliest next characters")


def _line(worker: TextWorker, characters: int, draft: Draft) -> str:
    """What wrote the text, and how much of it."""
    model = worker.lm.network.architecture
    parts = [
        f"{model.cell.upper()}, {model.num_layers} x {model.hidden_size} units",
        worker.lm.device.type.upper(),
        f"seed {draft.seed}",
        f"{characters} characters" + (", ended at the stop text" if draft.stopped else ""),
    ]
    if draft.left_out:
        parts.append(f"skipped {draft.left_out} characters of the prompt that the model never saw")
    return f'<p class="fine line">{" · ".join(parts)}</p>'
