"""Tab 4: a sentence in; its label as it is read, tags and names in colour, and a translation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from rnnkit.errors import UserError
from webui.errors import in_words, sentence
from webui.html import notice
from webui.lazy_model import LazyModel
from webui.sentences_html import marked_names, reading_curve, tagged_words, translation_grid
from webui.services import reading
from webui.workers import Models

ENGLISH, INDONESIAN = (
    "slow and strange, yet I could not look away",
    "Besok saya akan membeli mobil baru.",
)
EMPTY = notice("Type a sentence above, or choose an example.")
# While somebody types, a curve that is wider than the page shows its end.
FOLLOW = """
watch('value', () => requestAnimationFrame(() => {
  const curve = element.querySelector('.curve');
  if (curve && document.activeElement?.closest('#sentence')) curve.scrollLeft = curve.scrollWidth;
}));
"""
# Of each tag that the bundled models give: what it means, and a hue, or None for grey.
PARTS: dict[str, tuple[str, int | None]] = {
    "NOUN": ("noun", 172),
    "PROPN": ("name", 125),
    "PRON": ("pronoun", 215),
    "VERB": ("verb", 275),
    "AUX": ("auxiliary verb", 310),
    "ADJ": ("adjective", 28),
    "ADV": ("adverb", 48),
    "DET": ("determiner", 240),
    "ADP": ("preposition", 80),
    "NUM": ("number", 195),
    "PART": ("particle", 340),
    "CCONJ": ("and, or, but", 0),
    "SCONJ": ("if, because, that", 355),
    "INTJ": ("interjection", 60),
    "PUNCT": ("punctuation", None),
    "SYM": ("symbol", None),
    "X": ("other", None),
}
NAMES: dict[str, tuple[str, int | None]] = {
    "person": ("a person", 215),
    "location": ("a place", 125),
    "corporation": ("a company", 28),
    "group": ("a band, team or other group", 275),
    "product": ("a product", 50),
    "creative-work": ("a film, song or book", 340),
}


@dataclass(frozen=True)
class View:
    """A part of the tab: one model's, with its examples.

    Attributes:
        task: as in `webui.readers.BUNDLED`.
        examples: sentences for the bundled model.
    """

    task: str
    title: str
    words: str
    examples: tuple[str, ...]


LABEL = View(
    "classify",
    "A label for the sentence",
    "What the network would say if the sentence ended after each word. A word can turn it around.",
    (ENGLISH, "The actors are superb and the story is dull.", "funny at first, then tiresome"),
)
TAGS = View(
    "tag",
    "A tag for each word",
    "The part of speech of each word, which depends on its neighbours: a word may be both a"
    " noun and a verb.",
    (
        "They will book a table and read a book.",
        "Please record a new record.",
        "She will watch the birds with her new watch.",
    ),
)
ENTITIES = View(
    "entities",
    "Names",
    "Stretches of words that name somebody or something; the network decides for the sentence as a"
    " whole.",
    (
        "Anna met Barack Obama in New York.",
        "Twitter is down again in Canada",
        "Lady Gaga sings at Wembley on Friday",
    ),
)
TRANSLATION = View(
    "translate",
    "A translation",
    "English for an Indonesian sentence. Each row of the grid is a word that the network wrote: the"
    " stronger the colour, the more it looked at the Indonesian word above.",
    (INDONESIAN, "Rumah ini sangat besar.", "Apakah kamu lapar?"),
)


def build(models: Models, tab: gr.Tab) -> None:
    """Draw the tab, with the parts that there are models for."""
    readers = models.readers
    english: dict[Any, Callable[[str], str]] = {}
    if readers.classifier or readers.tagger or readers.entity_tagger:
        text = _sentence("English sentence", ENGLISH, "sentence")
    if readers.classifier:
        english[_part(LABEL, text, models)] = _label(readers.classifier)
    if readers.tagger:
        english[_part(TAGS, text, models)] = _tags(readers.tagger)
    if readers.entity_tagger:
        english[_part(ENTITIES, text, models)] = _names(readers.entity_tagger)
    if english:
        _draw_as_typed(text, english, tab)
    if readers.translator:
        foreign = _sentence("Indonesian sentence", INDONESIAN, "foreign-sentence")
        part = _part(TRANSLATION, foreign, models)
        _draw_as_typed(foreign, {part: _translation(readers.translator)}, tab)
    elif not english:
        gr.HTML(notice("There is no model that reads sentences.", kind="problem"))


def _sentence(label: str, example: str, name: str) -> gr.Textbox:
    return gr.Textbox(
        example,
        label=label,
        lines=2,
        max_lines=5,
        max_length=reading.MAX_TEXT,
        info="It is read as you type.",
        elem_id=name,
    )


def _part(view: View, text: gr.Textbox, models: Models) -> gr.HTML:
    """A view's title, its examples, and the place for what it draws."""
    with gr.Column(elem_classes="view"):
        words = f'<div class="words"><h2>{view.title}</h2><p>{view.words}</p></div>'
        gr.HTML(words, container=False, apply_default_css=False)
        if view.task not in models.readers.own:
            gr.Examples(
                list(view.examples),
                text,
                label="Examples",
                elem_id=f"{view.task}-examples",
                api_visibility="private",
            )
        return gr.HTML(
            EMPTY,
            elem_id=f"{view.task}-result",
            js_on_load=FOLLOW,
            container=False,
            apply_default_css=False,
        )


def _draw_as_typed(
    text: gr.Textbox, parts: Mapping[Any, Callable[[str], str]], tab: gr.Tab
) -> None:
    """Draw the parts when the tab is opened and whenever the text changes."""

    @in_words
    def draw(text: Any) -> dict[Any, str]:
        if isinstance(text, str) and not text.strip():
            return dict.fromkeys(parts, EMPTY)
        return {part: _or_why_not(drawn, text) for part, drawn in parts.items()}

    gr.on(
        [tab.select, text.change],
        draw,
        text,
        list(parts),
        preprocess=False,
        api_visibility="private",
        concurrency_id="sequences",
        concurrency_limit=8,
        show_progress="hidden",
        trigger_mode="always_last",
    )


def _or_why_not(drawn: Callable[[str], str], text: str) -> str:
    """What a part draws of a text, or why it cannot: in its place, so that the others still do."""
    try:
        return drawn(text)
    except UserError as error:
        return notice(sentence(error), kind="problem")


def _label(model: LazyModel[Any]) -> Callable[[str], str]:
    return lambda text: reading_curve(reading.as_read(model.get(), text))


def _tags(model: LazyModel[Any]) -> Callable[[str], str]:
    def draw(text: str) -> str:
        reader = model.get()
        found = reading.tag(reader, text)
        return tagged_words(
            [(word.word, word.tag, word.probability) for word in found],
            _meanings(reader.model.tags, PARTS),
        )

    return draw


def _names(model: LazyModel[Any]) -> Callable[[str], str]:
    def draw(text: str) -> str:
        from sequences.evaluation.entities import entities
        from sequences.words import word_spans

        reader, spans = model.get(), word_spans(text)
        found = reading.tag(reader, text)
        names = [
            # A name is as sure as its least sure word.
            (
                spans[first][0],
                spans[last][1],
                kind,
                min(w.probability for w in found[first : last + 1]),
            )
            for first, last, kind in entities([word.tag for word in found])
        ]
        kinds = sorted({tag[2:] for tag in reader.model.tags if tag != "O"})
        return marked_names(text, names, _meanings(kinds, NAMES))

    return draw


def _translation(model: LazyModel[Any]) -> Callable[[str], str]:
    def draw(text: str) -> str:
        reader = model.get()
        (best,) = reading.translate(reader, text, with_attention=True)
        words = [*best.words[:-1], "(end)"]
        doubt = reading.doubt(reader, text)
        return translation_grid(best.text, best.source, words, best.attention, doubt=doubt)

    return draw


def _meanings(
    tags: list[str], known: Mapping[str, tuple[str, int | None]]
) -> Mapping[str, tuple[str, int | None]]:
    """What tags mean; those of another model mean themselves, with hues around the circle."""
    if set(tags) <= set(known):
        return known
    return {tag: ("", 360 * place // len(tags)) for place, tag in enumerate(tags)}
