"""Tab 1: a photo in, a sentence out, with the other candidates and where the network looked for
each word.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from captioner import Caption, Captioner, Decoding
from captioner.confidence import UNSURE
from rnnkit.errors import UserError
from webui.client_values import whole_number
from webui.decoding_options import chosen_decoding, options
from webui.errors import shown_by
from webui.example_photos import EXAMPLES, ExamplePhoto
from webui.html import (
    notice,
    percent,
    shaded_words,
    shades_legend,
    small_png,
    thumbnail_url,
)
from webui.page_scripts import script
from webui.services.captioning import caption_photo
from webui.workers import Models

PLACEHOLDER = "Drop a photo here\nor choose, paste or take one"
EXAMPLE_SIZE = 192  # pixels; drawn half as wide
# Full attention leaves the photo as it is, none darkens it by this much of 255.
DARKEST = 140
EMPTY = """
<section class="sentence">
  <p class="lead">Drop, choose, paste or take a photo, or pick an example: its caption appears
  here.</p>
  <h2>How it works</h2>
  <ol class="steps">
    <li><strong>See.</strong> A convolutional network turns the photo into a grid of regions.</li>
    <li><strong>Look.</strong> For each word, an attention layer decides which regions matter.</li>
    <li><strong>Write.</strong> An LSTM chooses the next word from what it sees and what it has
    written. Beam search follows several sentences at a time and keeps the one that is both
    likely and sure.</li>
  </ol>
  <p class="fine">Afterwards, point at a word of the caption to see where the network looked for
  it.</p>
</section>
"""
# The button is far below, on a phone several screens.
SHOW_RESULT = """
() => bring(document.querySelector('#caption-result :is(.caption, .notice)'), 'nearest')
"""
CHOOSE_EXAMPLE = """
element.addEventListener('click', ({target}) => {
  const example = target.closest('[data-index]');
  if (example) trigger('select', {index: Number(example.dataset.index)});
});
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
                elem_classes="takes-a-photo",
                buttons=[],
                placeholder=PLACEHOLDER,
            )
            examples = gr.HTML(
                _examples(EXAMPLES),
                elem_id="examples",
                js_on_load=CHOOSE_EXAMPLE,
                container=False,
                apply_default_css=False,
            )
        with gr.Column(scale=5, min_width=300):
            result = gr.HTML(
                EMPTY,
                elem_id="caption-result",
                js_on_load=script("attention"),
                container=False,
                apply_default_css=False,
            )
            with gr.Accordion(
                "Options", open=False, elem_id="caption-options", elem_classes="remembered"
            ):
                chosen = options()
                comparing = gr.Checkbox(
                    False,
                    label="Compare with other settings",
                    info="Caption the photo twice, side by side.",
                    elem_id="comparing",
                )
                with gr.Column(elem_id="other-options"):  # style.css shows it with the checkbox
                    gr.HTML("<h2>The other settings</h2>", container=False, apply_default_css=False)
                    compared = options()
                gr.HTML(
                    '<p class="fine">Changes hold for the next photo, and for this one once you'
                    " press “Caption again”.</p>",
                    container=False,
                    apply_default_css=False,
                )
                again = gr.Button("Caption again", size="md")

    def look(photo: Any, decoding: Decoding) -> tuple[list[Caption], str, bool]:
        started = time.perf_counter()
        worker = models.captioner.get()
        if decoding.sample and decoding.seed is None:
            decoding = replace(decoding, seed=random.randrange(10**6))
        attends = worker.captioner.decoder.attends
        captions = caption_photo(worker, photo, decoding, attention=attends)
        line = _line(worker.captioner, decoding, time.perf_counter() - started)
        return captions, line, decoding.sample

    @shown_by(lambda why: notice(why, kind="problem"))  # the old caption is another photo's
    def describe(photo: Any, comparing: Any, *settings: Any) -> str:
        if photo is None:
            return EMPTY
        half = len(settings) // 2
        first = chosen_decoding(*settings[:half])
        if not comparing:
            return _result(*look(photo, first))
        second = chosen_decoding(*settings[half:])
        captions, line, sampled = look(photo, first)
        pair = _result(captions, line, sampled, "These settings")
        pair += _result(*look(photo, second), "The other settings")
        key = _key(captions[0])
        pair += key and f'<section class="sentence">{key}</section>'
        return f'<div class="side-by-side">{pair}</div>'

    @shown_by(lambda why: notice(why, kind="problem"))
    def recaption(photo: Any, *settings: Any) -> str:
        if photo is None:
            raise UserError("there is no photo yet: drop one, or pick an example")
        return describe(photo, *settings)

    def take_example(event: gr.EventData) -> str:
        index = whole_number(getattr(event, "index", None), "the example", 0, len(EXAMPLES) - 1)
        return str(EXAMPLES[index].lend())

    def on(event: Any, handler: Callable[..., str]) -> Any:
        return event(
            handler,
            [photo, comparing, *chosen.components, *compared.components],
            result,
            preprocess=False,
            api_visibility="private",
            concurrency_id="captioner",
            concurrency_limit=32,
            show_progress="minimal",
            trigger_mode="always_last",
        )

    on(photo.change, describe)
    on(again.click, recaption).then(
        None, js=SHOW_RESULT, api_visibility="private", queue=False, show_progress="hidden"
    )
    examples.select(
        take_example, None, photo, api_visibility="private", queue=False, show_progress="hidden"
    )


def _examples(photos: tuple[ExamplePhoto, ...]) -> str:
    items = "".join(_example(index, photo) for index, photo in enumerate(photos))
    return f'<section><h2>Example photos</h2><ul class="examples">{items}</ul></section>'


def _example(index: int, photo: ExamplePhoto) -> str:
    with Image.open(photo.path) as picture:
        picture.draft("RGB", (2 * EXAMPLE_SIZE, 2 * EXAMPLE_SIZE))
        thumbnail = thumbnail_url(picture, EXAMPLE_SIZE)
    licence = escape(photo.licence).replace(" ", "\N{NO-BREAK SPACE}")
    failure = '<span class="failure">An honest failure</span>' if photo.fails else ""
    return (
        f'<li><button type="button" data-index="{index}">'
        f'<img src="{thumbnail}" alt="Example photo: {escape(photo.name, quote=True)}"></button>'
        f'{failure}<span class="credit"><a href="{escape(photo.source, quote=True)}"'
        ' target="_blank" rel="noreferrer">Photographer<span class="unseen"> of'
        f" {escape(photo.name)},</span> on Flickr</a>, {licence}</span></li>"
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
        f" · {method} · {1000 * seconds:.0f}\N{NO-BREAK SPACE}ms"
    )


def _result(captions: list[Caption], line: str, sampled: bool = False, title: str = "") -> str:
    """The best caption with all that belongs to it.

    Args:
        sampled: the captions were drawn, and are in the order of their likelihood alone.
        title: what tells it from another one beside it, with which it shares a key.
    """
    best, own = captions[0], "-".join(["caption", *title.lower().split()])
    play = ""
    if best.attention is not None:
        name = "Play where it looked"
        play = f'<button type="button" class="small-button play" data-name="{name}">{name}</button>'
    heading = f"<h2>{escape(title)}</h2>" if title else ""
    return (
        f'<section class="sentence">{heading}'
        f'<div class="caption" id="{own}" role="group" aria-label="Caption">{_shaded(best)}</div>'
        f'<div class="actions"><button type="button" class="small-button" data-copies="{own}">Copy'
        f"</button>{play}</div>"
        f'<p class="fine">{_how_sure(best)}</p>{"" if title else _key(best)}'
        f"{_candidates(captions[1:], sampled)}"
        f'<p class="fine line" role="status">{escape(line)}</p></section>'
    )


def _key(caption: Caption) -> str:
    """What can be done with a caption's words, and what their shades mean."""
    hint = legend = ""
    if caption.attention is not None:
        hint = "Point at a word, or choose it, to see where the network looked for it."
    if caption.word_confidence is not None:
        hint += " A word's shade says how sure the network is that people would use it."
        legend = shades_legend()
    return hint and f'<p class="fine">{hint}</p>{legend}'


def _shaded(caption: Caption) -> str:
    masks = () if caption.attention is None else [_mask(weights) for weights in caption.attention]
    sure = caption.word_confidence or (None,) * len(caption.words)
    return shaded_words(caption.text, caption.words, sure, masks=masks)


def _how_sure(caption: Caption) -> str:
    """The confidence in words: of the sentence, and which of its words are unsure."""
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
        f" photo.{listed}"
    )


def _candidates(captions: list[Caption], sampled: bool) -> str:
    if not captions:
        return ""
    rated = captions[0].confidence is not None
    items = "".join(
        f"<li><span>{escape(caption.text)}</span>"
        f'<span class="number">{_percentage(caption)}{" sure" if rated else ""}</span></li>'
        for caption in captions
    )
    order = "likelihood" if sampled or not rated else "likelihood and confidence together"
    return f'<h2>Other candidates, by {order}</h2><ol class="candidates">{items}</ol>'


def _percentage(caption: Caption) -> str:
    """The confidence or, of a model that has none, the sentence's probability."""
    sure = caption.confidence
    return percent(math.exp(caption.log_prob) if sure is None else sure)


def _mask(weights: np.ndarray) -> str:
    """Attention (rows, columns) as a picture that is clear where it is highest."""
    dark = 1 - weights / max(float(weights.max()), 1e-9)
    layer = np.zeros((*weights.shape, 4), np.uint8)
    layer[..., 3] = np.rint(DARKEST * dark)
    return small_png(layer)
