"""The Options of every tab that captions, folded away at first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from captioner import Decoding
from rnnkit.errors import UserError
from webui.services.captioning import decoding_of

BEAM, SAMPLING = "Beam search", "Sampling"
GUESS = "Best guess"
# When a caption states a gender, and the clarity that this asks for; None is the model's own.
GENDERS = {"If clear": None, GUESS: 0.0, "Never": 1.0}


@dataclass
class Options:
    """The settings as components."""

    method: gr.Radio
    beam_size: gr.Slider
    num_captions: gr.Slider
    max_length: gr.Slider
    temperature: gr.Slider
    top_p: gr.Slider
    seed: gr.Textbox
    careful: gr.Checkbox
    prefix: gr.Textbox
    gender: gr.Radio

    @property
    def components(self) -> list[gr.Component]:
        """In the order in which `chosen_decoding` takes their values."""
        return [
            self.method,
            self.beam_size,
            self.num_captions,
            self.max_length,
            self.temperature,
            self.top_p,
            self.seed,
            self.careful,
            self.prefix,
            self.gender,
        ]


def chosen_decoding(
    method: Any,
    beam_size: Any,
    num_captions: Any,
    max_length: Any,
    temperature: Any,
    top_p: Any,
    seed: Any,
    careful: Any,
    prefix: Any,
    gender: Any,
) -> Decoding:
    """The decoding that the components' values ask for.

    Raises: UserError naming a setting that is not a number, out of its range or not on offer.
    """
    if gender not in list(GENDERS):  # a client may send a value without a hash
        raise UserError(f"“Man or woman” must be one of {', '.join(GENDERS)}")
    sampling = method == SAMPLING  # otherwise three of the components are hidden
    return decoding_of(
        beam_size=beam_size,
        num_captions=num_captions,
        max_length=max_length,
        sample=sampling,
        temperature=temperature if sampling else 1,
        top_p=top_p if sampling else 1,
        seed=seed if sampling else None,
        careful=careful,
        prefix=prefix,
        gender_clarity=None if careful and gender == GUESS else GENDERS[gender],
    )


def options(*, candidates: bool = True) -> Options:
    """Draw the settings.

    Args:
        candidates: offer several captions for a photo.
    """
    method = gr.Radio(
        [BEAM, SAMPLING],
        value=BEAM,
        label="Method",
        info="Search for a sentence that is likely and sure, or draw words at random.",
    )
    beam_size = gr.Slider(
        1,
        10,
        3,
        step=1,
        label="Beam size",
        info="How many sentences the search keeps; 1 is greedy.",
    )
    num_captions = gr.Slider(
        1,
        10,
        3 if candidates else 1,
        step=1,
        label="Captions",
        info="How many candidates to show.",
        visible=candidates,
    )
    max_length = gr.Slider(1, 40, 20, step=1, label="Length", info="At most this many words.")
    temperature = gr.Slider(
        0.1,
        2,
        0.7,
        step=0.05,
        label="Temperature",
        info="Below 1, likely words become likelier; above 1, less so.",
        visible=False,
    )
    top_p = gr.Slider(
        0.05,
        1,
        0.9,
        step=0.05,
        label="Top-p",
        info="Draw only from the likeliest words whose probabilities add up to this.",
        visible=False,
    )
    seed = gr.Textbox(
        "",
        label="Seed",
        info="A number draws the same sentence every time; empty draws a new one.",
        max_length=18,
        visible=False,
    )
    careful = gr.Checkbox(
        False,
        label="Careful wording",
        info="Leave out colours and numbers that the captioner is unsure of, and say nothing new in"
        " their place. Say “person” unless the gender is almost certain; other words may change"
        " with it.",
    )
    gender = gr.Radio(
        list(GENDERS),
        value="If clear",
        label="Man or woman",
        info="Whether to say man, woman, boy or girl: if it is clear, always (not with careful"
        " wording), or never, but “person” or “child”. Other words may change with it.",
    )
    prefix = gr.Textbox(
        "",
        label="Begin with",
        info="The caption begins with these words and goes on from them. Its confidence"
        " leaves them out.",
        placeholder="a photo of",
    )

    def visibility(chosen: str) -> list[Any]:
        sampling = chosen == SAMPLING
        return [gr.update(visible=not sampling), *[gr.update(visible=sampling)] * 3]

    method.change(
        visibility,
        method,
        [beam_size, temperature, top_p, seed],
        api_visibility="private",
        queue=False,
        show_progress="hidden",
    )
    return Options(
        method=method,
        beam_size=beam_size,
        num_captions=num_captions,
        max_length=max_length,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        careful=careful,
        prefix=prefix,
        gender=gender,
    )
