"""Tab 1: a photo in, a sentence out; the other candidates, and where the network looked for each
word.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr
import numpy as np

from captioner import Caption, Decoding
from captioner.data.images import ImageError
from rnnkit.errors import UserError
from webui.decoding_options import decoding, options
from webui.errors import in_words, sentence
from webui.html import notice, percent, small_png
from webui.uploads import Upload, received
from webui.workers import Models, SharedCaptioner

EXAMPLES = {"a tower": "tower.jpg", "a lion": "lion.jpg", "a cheetah": "cheetah1.jpg"}
PLACEHOLDER = "Drop a photo here\nor choose, paste, or take one"
EMPTY = notice(
    "Drop a photo on the left, paste one, or take an example: its sentence appears here."
)
# Gradio's example pictures have no names for those who cannot see them.
NAME_EXAMPLES = f"""() => document.querySelectorAll('#examples button').forEach(
  (button, index) => button.setAttribute('aria-label', 'Example photo: ' + ({list(EXAMPLES)})[index]))"""
# Choosing a word lays its picture of attention over the photo on the left.
LOOK = """
const photo = () => document.querySelector('#photo');
const show = (mask) => {
  photo()?.style.setProperty('--look', mask ? `url("${mask}")` : 'none');
  photo()?.classList.toggle('looking', Boolean(mask));
};
element.addEventListener('change', (event) => show(event.target.dataset.mask));
watch('value', () => show(''));
"""


def caption_photo(
    captioner: SharedCaptioner, upload: Upload, decoding: Decoding, *, attention: bool = False
) -> list[Caption]:
    """Captions of one upload, best first.

    Raises: UserError naming the upload and the reason.
    """
    try:
        pixels = captioner.prepare(upload.source)
    except ImageError as error:
        raise UserError(f"{upload.name} cannot be used: {error.reason}") from None
    return captioner.caption_pixels(pixels[None], decoding, attention=attention)[0]


def build(models: Models) -> None:
    """Draw the tab."""
    with gr.Row(equal_height=False, elem_id="caption-row"):
        with gr.Column(scale=6, min_width=300):
            photo = gr.Image(
                label="Photo",
                type="filepath",
                sources=["upload", "clipboard", "webcam"],
                elem_id="photo",
                buttons=[],
                placeholder=PLACEHOLDER,
            )
            gr.Examples(
                [gr.get_image(file) for file in EXAMPLES.values()],
                photo,
                label="Example photos",
                elem_id="examples",
                api_visibility="private",
            )
        with gr.Column(scale=5, min_width=300):
            result = gr.HTML(
                EMPTY,
                elem_id="caption-result",
                js_on_load=LOOK,
                container=False,
                apply_default_css=False,
            )
            with gr.Accordion("Options", open=False, elem_id="caption-options"):
                chosen = options()
                again = gr.Button("Caption again", size="md")

    gr.on(
        [gr.context.Context.root_block.load],
        None,
        None,
        None,
        js=NAME_EXAMPLES,
        api_visibility="private",
    )

    @in_words
    def describe(photo: Any, *settings: Any) -> str:
        try:
            return captioned(photo, *settings) if photo is not None else EMPTY
        except UserError as error:  # in the sentence's place: what stood there was of another photo
            return notice(sentence(error), kind="problem")

    def captioned(photo: Any, *settings: Any) -> str:
        started = time.perf_counter()
        captioner = models.captioner.get()
        choice = decoding(*settings)
        if choice.sample and choice.seed is None:
            choice = replace(choice, seed=random.randrange(10**6))
        upload = received(photo)
        attends = captioner.captioner.decoder.attends
        captions = caption_photo(captioner, upload, choice, attention=attends)
        return _result(captions, _line(captioner, choice, time.perf_counter() - started))

    for event in (photo.change, again.click):
        event(
            describe,
            [photo, *chosen.components],
            result,
            preprocess=False,
            api_visibility="private",
            concurrency_id="captioner",
            concurrency_limit=32,
            show_progress="minimal",
            trigger_mode="always_last" if event == photo.change else "once",
        )


def _line(captioner: SharedCaptioner, choice: Decoding, seconds: float) -> str:
    model, how = captioner.captioner, f"beam {max(choice.beam_size, choice.num_captions)}"
    if choice.sample:
        how = (
            f"sampling, temperature {choice.temperature:g}, top-p {choice.top_p:g}, seed"
            f" {choice.seed}"
        )
    device = "GPU" if model.device.type == "cuda" else "CPU"
    return (
        f"{model.encoder_name} and attention LSTM · {device} ({model.backend.name}) · {how} ·"
        f" {1000 * seconds:.0f} ms"
    )


def _result(captions: list[Caption], line: str) -> str:
    best = captions[0]
    others = "".join(
        f"<li><span>{escape(caption.text)}</span><span"
        f' class="number">{percent(math.exp(caption.log_prob))}</span></li>'
        for caption in captions[1:]
    )
    below = f"<h3>Other candidates</h3><ol>{others}</ol>" if others else ""
    return (
        f'<section class="sentence"><p class="caption" aria-live="polite">{escape(best.text)}</p>'
        f'<p class="fine">Probability of this very sentence: {percent(math.exp(best.log_prob))}; '
        "the ranking makes up for length.</p>"
        f'{_chips(best)}{below}<p class="fine line">{escape(line)}</p></section>'
    )


def _chips(caption: Caption) -> str:
    """The words to choose from, each with its attention as a small picture that darkens what was
    not looked at.
    """
    if caption.attention is None:
        return ""
    chips = [
        '<label class="chip"><input type="radio" name="word" data-mask="" checked><span>whole'
        " photo</span></label>"
    ]
    for word, weights in zip(caption.words, caption.attention, strict=True):
        chips.append(
            '<label class="chip"><input type="radio" name="word"'
            f' data-mask="{_mask(weights)}"><span>{escape(word)}</span></label>'
        )
    return (
        '<fieldset class="chips"><legend>Where it looked, word by'
        f" word</legend>{''.join(chips)}</fieldset>"
    )


def _mask(weights: np.ndarray) -> str:
    dark = 1 - weights / max(float(weights.max()), 1e-9)
    layer = np.zeros((*weights.shape, 4), np.uint8)
    layer[..., 3] = np.rint(205 * dark)
    return small_png(layer)
