"""Tab 1: a photo in, a sentence out, with the other candidates and where the network looked for
each word.
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

from captioner import Caption, Captioner, Decoding
from captioner.confidence import UNSURE
from rnnkit.errors import UserError
from webui.decoding_options import chosen_decoding, options
from webui.errors import in_words, sentence
from webui.html import notice, percent, shaded_words, small_png
from webui.services.captioning import caption_photo
from webui.workers import Models

EXAMPLES = {"a tower": "tower.jpg", "a lion": "lion.jpg", "a cheetah": "cheetah1.jpg"}
PLACEHOLDER = "Drop a photo here\nor choose, paste or take one"
EMPTY = notice("Drop, choose, paste or take a photo, or pick an example: its caption appears here.")
# Gradio's example pictures have no names for those who cannot see them.
NAME_EXAMPLES = f"""() => document.querySelectorAll('#examples button').forEach(
  (button, index) => button.setAttribute(
    'aria-label', 'Example photo: ' + ({list(EXAMPLES)})[index]))"""
# Choosing a word lays its picture of attention over the photo.
SHOW_ATTENTION = """
const photo = () => document.querySelector('#photo');
const show = (mask) => {
  photo()?.style.setProperty('--look', mask ? `url("${mask}")` : 'none');
  photo()?.classList.toggle('looking', Boolean(mask));
};
element.addEventListener('change', (event) => show(event.target.dataset.mask));
watch('value', () => show(''));
"""


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
                js_on_load=SHOW_ATTENTION,
                container=False,
                apply_default_css=False,
            )
            with gr.Accordion("Options", open=False, elem_id="caption-options"):
                chosen = options()
                again = gr.Button("Caption again", size="md")

    gr.on(None, None, js=NAME_EXAMPLES, api_visibility="private")  # when the page opens

    @in_words
    def describe(photo: Any, *settings: Any) -> str:
        try:
            return draw_captions(photo, *settings) if photo is not None else EMPTY
        except UserError as error:  # in place of the caption, which is another photo's
            return notice(sentence(error), kind="problem")

    def draw_captions(photo: Any, *settings: Any) -> str:
        started = time.perf_counter()
        worker, decoding = models.captioner.get(), chosen_decoding(*settings)
        if decoding.sample and decoding.seed is None:
            decoding = replace(decoding, seed=random.randrange(10**6))
        attends = worker.captioner.decoder.attends
        captions = caption_photo(worker, photo, decoding, attention=attends)
        return _result(captions, _line(worker.captioner, decoding, time.perf_counter() - started))

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


def _line(captioner: Captioner, decoding: Decoding, seconds: float) -> str:
    """What computed the caption, how, and how long it took."""
    method = f"beam {max(decoding.beam_size, decoding.num_captions)}"
    if decoding.sample:
        method = (
            f"sampling, temperature {decoding.temperature:g}, top-p {decoding.top_p:g},"
            f" seed {decoding.seed}"
        )
    device = "GPU" if captioner.device.type == "cuda" else "CPU"
    return (
        f"{captioner.encoder_name} and attention LSTM · {device} ({captioner.backend.name})"
        f" · {method} · {1000 * seconds:.0f} ms"
    )


def _result(captions: list[Caption], line: str) -> str:
    best = captions[0]
    return (
        '<section class="sentence">'
        f'<p class="caption" aria-live="polite">{_shaded(best)}</p>'
        f'<p class="fine">{_how_sure(best)}</p>'
        f"{_chips(best)}{_candidates(captions[1:])}"
        f'<p class="fine line">{escape(line)}</p></section>'
    )


def _shaded(caption: Caption) -> str:
    if caption.word_confidence is None:
        return escape(caption.text)
    return shaded_words(caption.text, caption.words, caption.word_confidence, unsure_below=UNSURE)


def _how_sure(caption: Caption) -> str:
    """The confidence in words: of the sentence, of the words that are unsure, and a legend."""
    if caption.word_confidence is None or caption.confidence is None:
        return (
            f"The probability of exactly this sentence is {percent(math.exp(caption.log_prob))};"
            " the ranking allows for length. This model does not say how sure it is of its words."
        )
    pairs = zip(caption.words, caption.word_confidence, strict=True)
    unsure = [escape(word) for word, sure in pairs if sure is not None and sure < UNSURE]
    listed = f" Unsure: {', '.join(unsure)}." if unsure else ""
    verdict = "<strong>Unsure.</strong> " if caption.confidence < UNSURE else ""
    return (
        f"{verdict}People would use about {percent(caption.confidence)} of these words for this"
        " photo. The stronger a word's shading, the less sure it is; words below"
        f" {percent(UNSURE)} are unsure and have a dotted line."
        f"{listed}"
    )


def _candidates(captions: list[Caption]) -> str:
    if not captions:
        return ""
    items = "".join(
        f"<li><span>{escape(caption.text)}</span>"
        f'<span class="number">{_percentage(caption)}</span></li>'
        for caption in captions
    )
    known = captions[0].confidence is not None
    heading = "Other candidates, and how sure they are" if known else "Other candidates"
    return f"<h3>{heading}</h3><ol>{items}</ol>"


def _percentage(caption: Caption) -> str:
    """The confidence or, of a model that has none, the sentence's probability."""
    sure = caption.confidence
    return percent(math.exp(caption.log_prob) if sure is None else sure)


def _chips(caption: Caption) -> str:
    """The words to choose from, each with its attention as a small picture that darkens what was
    not looked at.
    """
    if caption.attention is None:
        return ""
    chips = [_chip("whole photo", "", checked=True)]
    for word, weights in zip(caption.words, caption.attention, strict=True):
        chips.append(_chip(word, _mask(weights)))
    legend = "<legend>Where the network looked, word by word</legend>"
    return f'<fieldset class="chips">{legend}{"".join(chips)}</fieldset>'


def _chip(label: str, mask: str, *, checked: bool = False) -> str:
    state = " checked" if checked else ""
    radio = f'<input type="radio" name="word" data-mask="{mask}"{state}>'
    return f'<label class="chip">{radio}<span>{escape(label)}</span></label>'


def _mask(weights: np.ndarray) -> str:
    """Attention (rows, columns) as a picture that is clear where it is highest."""
    dark = 1 - weights / max(float(weights.max()), 1e-9)
    layer = np.zeros((*weights.shape, 4), np.uint8)
    layer[..., 3] = np.rint(205 * dark)
    return small_png(layer)
