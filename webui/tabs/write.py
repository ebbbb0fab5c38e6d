"""Tab 3: a prompt in, text out as it is written; stop it, look at what could come next, go on."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from charlm.sampling import SamplingParams, TextSession
from rnnkit.errors import UserError
from webui.errors import in_words
from webui.html import bars, notice, visible
from webui.session_store import Kept
from webui.workers import Models, SharedCharLM

SECONDS_BETWEEN_YIELDS = 0.05
SECONDS_A_TURN = 0.04  # of the model, before another visitor's text may have it
MAX_PROMPT, MAX_LENGTH = 5000, 20_000
PROMPT = "ROMEO:"
EMPTY = notice("After each stop, the ten likeliest next characters stand here.")


@dataclass
class Draft:
    """A text in the making."""

    session: TextSession
    left_out: int = 0  # characters of the prompt that the model has never seen


@dataclass(eq=False)
class Turn:
    """One go at a text, from the click to its end; what writes looks at it before each character."""

    stopped: bool = False  # the visitor has pressed Stop, perhaps before there was a draft
    over: bool = False  # the visitor has begun something else, which has the text box now


@dataclass
class Desk:
    """A visitor's tab. All its events have the same one, also those that come while another one is
    under way.
    """

    turn: Turn = field(default_factory=Turn)
    token: str = ""  # of the draft that Continue goes on with


def choice_of(temperature: Any, top_k: Any, top_p: Any) -> SamplingParams:
    """Raises: UserError for a setting that is no number or out of range."""
    try:
        return SamplingParams(float(temperature), int(top_k), float(top_p))
    except (TypeError, ValueError, OverflowError):
        raise UserError("temperature, top-k and top-p must be numbers") from None


def whole_number(value: Any, what: str, low: int, high: int) -> int:
    """Raises: UserError naming what is no number or out of range."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{what} must be a number from {low} to {high}") from None
    if not low <= number <= high:
        raise UserError(f"{what} must be from {low} to {high}, not {number}")
    return number


def begin(shared: SharedCharLM, prompt: Any, seed: int) -> Draft:
    """Read a prompt; characters that the model has never seen are left out.

    Raises: UserError if it is no text, or too long.
    """
    if not isinstance(prompt, str):
        raise UserError("the prompt must be text")
    if len(prompt) > MAX_PROMPT:
        raise UserError(
            f"the prompt has {len(prompt)} characters, more than the limit of {MAX_PROMPT}"
        )
    with shared.lock:
        session = shared.lm.session([prompt], seed=seed, unknown="skip")
    return Draft(session, len(prompt) - len(session.prompts[0]))


def stream(
    shared: SharedCharLM,
    draft: Draft,
    length: int,
    params: SamplingParams,
    stop: Any,
    turn: Turn | None = None,
) -> Iterator[str]:
    """The text as it grows, prompt included, at most some twenty times a second whatever the
    model's speed, and once at its end.
    """
    turn = turn or Turn()
    steps = draft.session.write(length, params, stop if isinstance(stop, str) and stop else ())
    text, told, ended = draft.session.texts[0], 0.0, False
    while not ended:
        with shared.lock:
            until = time.monotonic() + SECONDS_A_TURN
            while time.monotonic() < until:
                if turn.stopped or turn.over:
                    return
                pieces = next(steps, None)
                if pieces is None:
                    ended = True
                    break
                text += pieces[0]
                if not told:
                    break  # the first character is shown at once
        wait = told + SECONDS_BETWEEN_YIELDS - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        told = time.monotonic()
        if turn.over:
            return
        yield text


def build(models: Models) -> None:
    """Draw the tab."""
    drafts: Kept[Draft] = Kept("there is no text to go on with: press Write first")
    with gr.Row(equal_height=False):
        with gr.Column(scale=7, min_width=300):
            missing = gr.HTML(visible=False, container=False, apply_default_css=False)
            prompt = gr.Textbox(
                PROMPT,
                label="Prompt",
                lines=2,
                max_lines=8,
                max_length=MAX_PROMPT,
                info="The text goes on from here.",
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
                info="Below 1 likelier, above 1 wilder; 0 always the likeliest.",
            )
            length = gr.Slider(
                20, 5000, 600, step=20, label="Length", info="Characters to write at a go."
            )
            top_k = gr.Slider(
                0, 100, 0, step=1, label="Top-k", info="Only the k likeliest characters; 0 is all."
            )
            top_p = gr.Slider(
                0.05, 1, 1, step=0.05, label="Top-p", info="Only the likeliest that sum to this."
            )
            stop_text = gr.Textbox(
                "",
                label="Stop text",
                info="Ends where this appears; line ends count.",
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
                maximum=2**31,
                elem_id="seed",
            )
            die = gr.Button("New seed", size="md")
    desk = gr.State(Desk())
    nothing = {text: gr.skip()}  # the page is told the last thing once more when an event ends
    settings = [length, temperature, top_k, top_p, stop_text]
    buttons = [write, stop, go_on, again]

    def working(on: bool) -> dict[Any, Any]:
        return {
            write: gr.update(visible=not on),
            stop: gr.update(visible=on),
            go_on: gr.update(interactive=not on),
            again: gr.update(interactive=not on),
        }

    def take(desk: Desk) -> Turn:
        """Give the text box to an event that begins; what was written there until now goes on no
        further.
        """
        turn = Turn()
        desk.turn.over, desk.turn = True, turn
        return turn

    def writing(
        turn: Turn, draft: Draft, shared: SharedCharLM, *settings: Any
    ) -> Iterator[dict[Any, Any]]:
        length, temperature, top_k, top_p, stop = settings
        characters = whole_number(length, "the length", 1, MAX_LENGTH)
        params, before = choice_of(temperature, top_k, top_p), len(draft.session.written[0])
        yield working(True)
        for shown in stream(shared, draft, characters, params, stop, turn):
            yield {text: shown}
        if turn.over:
            yield nothing
        else:
            if turn.stopped:
                said = {
                    text: draft.session.texts[0],
                    line: notice("Stopped. Continue goes on from here."),
                }
            else:
                said = {line: _line(shared, len(draft.session.written[0]) - before, draft)}
            yield working(False) | after(draft) | said

    def after(draft: Draft) -> dict[Any, Any]:
        rows = [
            (visible(character), probability)
            for character, probability in draft.session.likeliest(10)
        ]
        return {likeliest: bars(rows, label="Likeliest next characters")}

    @in_words
    def start(desk: Desk, prompt: Any, seed: Any, *settings: Any) -> Iterator[dict[Any, Any]]:
        turn, number = take(desk), whole_number(seed, "the seed", 0, 2**31)
        yield working(True)
        shared = models.charlm.get()
        draft = begin(shared, prompt, number)
        if turn.over:  # Shift+Enter in the prompt asked for another text while this one was read
            yield nothing
            return
        desk.token = drafts.keep(draft)
        yield from writing(turn, draft, shared, *settings)

    @in_words
    def resume(desk: Desk, *settings: Any) -> Iterator[dict[Any, Any]]:
        yield from writing(take(desk), drafts.get(desk.token), models.charlm.get(), *settings)

    def failed(desk: Desk) -> dict[Any, Any]:
        return working(False) | ({} if desk.token else {go_on: gr.update(interactive=False)})

    def halt(desk: Desk) -> None:
        # The run itself says then that it has stopped, so that nothing of it comes later.
        desk.turn.stopped = True

    def check() -> Any:
        try:
            models.charlm.get()
        except UserError as error:
            return gr.update(
                value=notice(f"No text can be written: {error}.", kind="problem"), visible=True
            )
        return gr.update(visible=False)

    outputs = [*buttons, text, line, likeliest]
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    limited: dict[str, Any] = {
        "concurrency_id": "charlm",
        "concurrency_limit": 8,
        "preprocess": False,
        **private,
    }
    roll: dict[str, Any] = {
        "fn": lambda: random.randrange(10**6),
        "inputs": None,
        "outputs": seed,
        "queue": False,
        **private,
    }
    runs = [
        write.click(start, [desk, prompt, seed, *settings], outputs, **limited),
        prompt.submit(start, [desk, prompt, seed, *settings], outputs, **limited),
        go_on.click(resume, [desk, *settings], outputs, **limited),
        again.click(**roll).then(start, [desk, prompt, seed, *settings], outputs, **limited),
    ]
    for run in runs:
        run.failure(failed, desk, buttons, queue=False, **private)
    stop.click(halt, desk, None, queue=False, **private)
    die.click(**roll)
    gr.on([gr.context.Context.root_block.load], check, None, missing, **private)


def _line(shared: SharedCharLM, characters: int, draft: Draft) -> str:
    model = shared.lm.network.architecture
    why = ", ended at the stop text" if draft.session.stopped[0] else ""
    size = f"{model.num_layers} x {model.hidden_size} units"
    said = (
        f"{model.cell.upper()}, {size} · {shared.lm.device.type.upper()} · seed {draft.session.seed}"
        f" · {characters} characters{why}"
    )
    if draft.left_out:
        said += f" · {draft.left_out} of the prompt that the model has never seen were left out"
    return f'<p class="fine line">{said}</p>'
