"""The folded-away settings of captioning, for every tab that captions, and the decoding that they
ask for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import gradio as gr

from captioner import Decoding
from rnnkit.errors import UserError

BEAM, SAMPLING = "Beam search", "Sampling"


@dataclass
class Options:
    """The settings as they are drawn."""

    method: gr.Radio
    beam_size: gr.Slider
    num_captions: gr.Slider
    max_length: gr.Slider
    temperature: gr.Slider
    top_p: gr.Slider
    seed: gr.Textbox

    @property
    def components(self) -> list[gr.Component]:
        """In the order in which `decoding` takes their values."""
        return [
            self.method,
            self.beam_size,
            self.num_captions,
            self.max_length,
            self.temperature,
            self.top_p,
            self.seed,
        ]


def options() -> Options:
    """Draw the settings."""
    method = gr.Radio(
        [BEAM, SAMPLING],
        value=BEAM,
        label="Method",
        info="Search for the likeliest sentence, or draw words at random.",
    )
    beam_size = gr.Slider(
        1, 10, 3, step=1, label="Beam size", info="Sentences kept while searching; 1 is greedy."
    )
    num_captions = gr.Slider(
        1, 10, 3, step=1, label="Captions", info="How many candidates are shown."
    )
    max_length = gr.Slider(1, 40, 20, step=1, label="Length", info="At most so many words.")
    temperature = gr.Slider(
        0.1,
        2,
        1,
        step=0.05,
        label="Temperature",
        info="Below 1 likelier, above 1 wilder.",
        visible=False,
    )
    top_p = gr.Slider(
        0.05,
        1,
        1,
        step=0.05,
        label="Top-p",
        info="Only the likeliest words that sum to this.",
        visible=False,
    )
    seed = gr.Textbox(
        "",
        label="Seed",
        info="A number; the same draws the same, empty takes a new one.",
        max_length=18,
        visible=False,
    )
    sampling = [temperature, top_p, seed]
    method.change(
        lambda chosen: [
            gr.update(visible=chosen != SAMPLING),
            *[gr.update(visible=chosen == SAMPLING)] * 3,
        ],
        method,
        [beam_size, *sampling],
        api_visibility="private",
        queue=False,
        show_progress="hidden",
    )
    return Options(method, beam_size, num_captions, max_length, temperature, top_p, seed)


def decoding(
    method: Any,
    beam_size: Any,
    num_captions: Any,
    max_length: Any,
    temperature: Any,
    top_p: Any,
    seed: Any,
) -> Decoding:
    """What the settings mean; they come as a client sent them.

    Raises: UserError for one that is no number or out of range.
    """
    try:
        chosen = Decoding(
            beam_size=int(beam_size),
            num_captions=int(num_captions),
            max_length=int(max_length),
            sample=method == SAMPLING,
            temperature=float(temperature),
            top_p=float(top_p),
            seed=None if seed is None or seed == "" else int(seed) % 2**63,
        )
    except (TypeError, ValueError, OverflowError):
        raise UserError("a setting is no number: correct it under Options") from None
    if not math.isfinite(chosen.temperature):
        raise UserError("the temperature must be a number")
    return chosen
