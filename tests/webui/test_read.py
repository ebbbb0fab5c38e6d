"""The Read tab and its endpoints: what they say of a sentence, as it is typed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import webui
from rnnkit.errors import UserError
from sequences import Classifier, Tagger, Translator
from sequences.evaluation.entities import entities
from sequences.model import bundled_models
from tests.webui.conftest import Server, connect
from webui.readers import BUNDLED, Readers
from webui.sentences_html import marked_names, reading_curve
from webui.tabs import read

# Gives the size of every button and field of the tab that is too small for a finger.
SMALL_TARGETS = """() => [...document.querySelectorAll(
  '[role=tabpanel] button, [role=tabpanel] textarea',
)].filter((target) => target.checkVisibility())
  .map((target) => [target.innerText, ...Object.values(target.getBoundingClientRect().toJSON())])
  .filter(([text, x, y, width, height]) => width < 24 || height < 24)"""


def test_what_is_typed_is_read_at_once_and_an_example_takes_its_place(
    visit: Callable[..., Any],
) -> None:
    page = visit(390, tab="Read")
    words, numbers = page.locator("#classify-result .curve li"), page.locator("#classify-result b")
    words.nth(len(read.ENGLISH.split())).wait_for()  # the first example, with its comma
    box = page.get_by_label("English sentence")
    box.fill("")
    page.get_by_text("Type a sentence above").first.wait_for()
    box.press_sequentially("a warm film <img src=x> with  Anna, a joy to read")
    words.filter(has_text="read:").wait_for()
    read_aloud = [text.split(": ") for text in words.all_text_contents()]
    assert [word for word, _ in read_aloud][:4] == ["a", "warm", "film", "<"]
    assert all(re.fullmatch(r"(positive|negative) [\d.]+%", said) for _, said in read_aloud)
    assert numbers.count() == len(read_aloud) > 10
    verdict = page.locator("#classify-result .caption").inner_text()
    assert verdict.lower() == read_aloud[-1][1]
    # Whoever types sees where the curve has come to.
    page.wait_for_function(
        "() => { const area = document.querySelector('.curve');"
        " return area.scrollLeft + area.clientWidth >= area.scrollWidth - 2; }"
    )
    tags = page.locator("#tag-result .tagged li")
    assert tags.nth(2).inner_text().split() == ["film", "NOUN"]
    assert "noun" in page.locator("#tag-result .legend").inner_text()
    assert page.locator("[id$='-result'] img").count() == 0  # a visitor's text is text
    example = page.get_by_role("button", name=read.TAGS.examples[0])
    example.focus()
    page.keyboard.press("Enter")
    tags.filter(has_text="table").wait_for()
    assert box.input_value() == read.TAGS.examples[0]
    assert page.evaluate(SMALL_TARGETS) == []
    box.fill("word " * 120)
    page.get_by_text("The text has 120 words, more than the limit of 100: shorten it.").wait_for()
    assert tags.count() == 120  # what can be drawn is
    grid = page.locator("#translate-result tbody tr")
    rows = [list(map(int, cells.split()[1:])) for cells in grid.all_inner_texts()]
    assert len(rows) > 1 and all(95 <= sum(row) <= 105 for row in rows)
    # This translator has not learned the words of the example.
    page.get_by_text("The translator knows none of the 6 words, so this is a guess").wait_for()
    page.get_by_label("Indonesian sentence").fill("Dia membaca buku.")
    page.locator("#translate-result .notice").wait_for(state="detached")


def test_the_endpoints_say_what_the_models_say(server: Server, small_sequences: list[Path]) -> None:
    client, text = connect(server.address), "A warm film, but Anna is not in it."
    entity_tagger, translator = small_sequences
    found = client.predict(text, after_each_word=True, api_name="/classify")
    classifier = Classifier.load("sentiment")
    assert found["label"] == classifier.classify(text).label
    assert found["probabilities"] == pytest.approx(
        classifier.classify(text).probabilities, abs=1e-4
    )
    assert [row["word"] for row in found["reading"]] == [w for w, _ in classifier.as_read(text)]
    found = client.predict("Anna lives here", api_name="/tag")
    assert found["tags"] == [word.tag for word in Tagger.load("pos").tag("Anna lives here")]
    found = client.predict("Anna 's here", entities=True, tokens=True, api_name="/tag")
    own = [word.tag for word in Tagger.load(entity_tagger).tag(["Anna", "'s", "here"])]
    assert found["tags"] == own and len(found["entities"]) == len(entities(own))
    found = client.predict(
        "Dia membaca.", num_translations=2, attention=True, api_name="/translate"
    )
    best = Translator.load(translator).translate("Dia membaca.")
    assert found["translations"][0]["text"] == best.text and len(found["translations"]) == 2
    rows = found["translations"][0]["attention"]
    assert (len(rows), len(rows[0])) == (len(best.words), 3)
    for wrong, refusal in (
        ({"text": " "}, "The text has no words."),
        ({"text": "a" * 6000}, "The text has 6,000 characters, more than the limit of 5,000."),
        ({"text": "a " * 101, "after_each_word": True}, "The text has 101 words"),
    ):
        with pytest.raises(Exception, match=refusal):
            client.predict(**wrong, api_name="/classify")
    with pytest.raises(Exception, match="The beam size must be a whole number from 1 to 20"):
        client.predict("Dia", beam_size=10**6, api_name="/translate")


def test_a_folder_takes_the_place_of_its_task_and_two_of_one_task_are_refused(
    small_sequences: list[Path], tmp_path: Path
) -> None:
    readers = Readers(small_sequences)
    assert readers.own == {"entities", "translate"}
    assert readers.classifier and readers.tagger and readers.entity_tagger and readers.translator
    assert readers.entity_tagger.get().model.tags[-1] == "O"
    with pytest.raises(UserError, match="do the same: give one of them by --sequences"):
        Readers([*small_sequences, small_sequences[0]])
    with pytest.raises(UserError, match="no checkpoint at"):
        Readers([tmp_path])


def test_sequences_is_not_imported_before_a_visitor_needs_it() -> None:
    for path in Path(str(webui.__file__)).parent.rglob("*.py"):
        found = re.search(r"^(from|import) sequences\b", path.read_text("utf-8"), re.MULTILINE)
        assert found is None, path


def test_three_labels_have_a_curve_each_and_a_key() -> None:
    row = {"<em>": 0.2, "calm": 0.3, "sad": 0.5}
    drawn = reading_curve([("so", row), ("it", {"<em>": 0.1, "calm": 0.8, "sad": 0.1})])
    assert len(re.findall(r'<polyline class="curve-\d" points="0\.5', drawn)) == 3
    assert drawn.index("calm</li>") < drawn.index("sad</li>") < drawn.index("&lt;em&gt;</li>")
    assert "calm <span" in drawn and "<em>" not in drawn


def test_a_marked_name_keeps_the_text_as_it_was_written() -> None:
    meanings: dict[str, tuple[str, int | None]] = {"person": ("a person", 215)}
    drawn = marked_names(
        "I met  O\N{RIGHT SINGLE QUOTATION MARK}Neill, once.", [(7, 14, "person", 0.4)], meanings
    )
    assert "I met  <mark" in drawn and "Neill <small>person</small></mark>, once." in drawn
    assert "unsure" in drawn and "less than 50% sure" in drawn


@pytest.mark.parametrize(
    "view", [read.LABEL, read.TAGS, read.ENTITIES, read.TRANSLATION], ids=lambda view: view.task
)
def test_each_example_shows_what_its_view_is_about(view: read.View) -> None:
    name = BUNDLED[view.task]
    if name not in bundled_models():
        pytest.skip(f"there is no model '{name}' in this copy")
    for text in view.examples:
        if view.task == "classify":  # the answer turns round on the way
            sides = [row["positive"] > 0.5 for _, row in Classifier.load(name).as_read(text)]
            assert {True, False} == set(sides), text
        elif view.task == "tag":  # one word has two tags
            tagged = {(word.word, word.tag) for word in Tagger.load(name).tag(text)}
            assert len({word for word, _ in tagged}) < len(tagged), text
        elif view.task == "entities":
            assert len(entities([word.tag for word in Tagger.load(name).tag(text)])) > 1, text
        else:  # no word is copied for want of one
            best = Translator.load(name).translate(text)
            assert not {*best.words} & {*best.source} - set(".?,"), text
