"""Words of a caption that people use for the same photo."""

from __future__ import annotations

import pytest

from captioner.metrics.truth import (
    References,
    content_words,
    people_support,
    score_support,
    singular,
)
from rnnkit.metrics.tokenizer import tokenize


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("dog", "dogs"), ("woman", "women"), ("bench", "benches"), ("puppy", "puppies"),
        ("dress", "dresses"), ("leaf", "leaves"), ("person", "people"), ("grey", "gray"),
        ("frisbee", "frisbees"), ("box", "boxes"), ("ride", "rides"), ("bus", "buses"),
        ("policeman", "policemen"), ("gentleman", "gentlemen"),
    ],
)  # fmt: skip
def test_both_numbers_of_a_word_count_as_one(one: str, many: str) -> None:
    assert singular(one) == singular(many)


@pytest.mark.parametrize("word", ["glass", "bus", "tennis", "grass"])
def test_a_word_that_only_looks_like_a_plural_stays_as_it_is(word: str) -> None:
    assert singular(word) == word


def test_content_words_are_those_that_say_something() -> None:
    said = content_words(tokenize("Two men in the red shirts are riding one of his bikes"))
    assert said == ["two", "man", "red", "shirt", "riding", "bike"]


def test_a_word_is_supported_if_any_reference_uses_it_in_either_number() -> None:
    references = References([tokenize("a dog runs"), tokenize("two brown dogs outside")])
    caption = tokenize("brown dogs and a white cat")
    judged = references.judge(caption)
    assert judged["content"] == [("brown", True), ("dog", True), ("white", False), ("cat", False)]
    assert judged["colour"] == [("brown", True), ("white", False)]
    assert references.share(caption) == 0.5
    assert references.support("cats") is False and references.support("dogs") is True
    assert references.share(tokenize("it is")) == 0


def test_a_gendered_word_is_judged_by_its_gender_and_only_where_one_is_told() -> None:
    told = References([tokenize("a boy jumps"), tokenize("a person jumping")])
    assert told.judge(["man"]) == {
        "content": [("man", False)], "colour": [], "gendered": [("man", True)],
    }  # fmt: skip
    assert told.judge(["woman"])["gendered"] == [("woman", False)]
    assert told.judge(["policemen", "mom"])["gendered"] == [("policeman", True), ("mom", False)]
    assert References([tokenize("a person jumping")]).judge(["woman"])["gendered"] == []


def test_shares_are_over_all_words_of_all_photos_and_words_without_support_are_listed() -> None:
    references = [[tokenize("a red car")], [tokenize("a girl with a hat")]]
    captions = [tokenize("a blue car"), tokenize("a girl with a red hat and blue shoes")]
    found = score_support(captions, references, bootstrap=100)
    assert found.values == {"content": 3 / 7, "colour": 0, "gendered": 1}
    assert found.judged == {"content": 7, "colour": 3, "gendered": 1}
    assert found.content_words == 3.5
    assert found.unsupported[0] == ("blue", 2, 2)
    low, high = found.intervals["content"]
    assert low == pytest.approx(2 / 5) and high == pytest.approx(1 / 2)
    assert found.intervals["gendered"] == (1, 1)


def test_a_kind_of_word_that_no_caption_has_is_left_out() -> None:
    found = score_support([["car"], ["dog"]], [[["car"]], [["cat"]]], bootstrap=5)
    assert found.values == {"content": 0.5} and found.intervals.keys() == {"content"}


def test_people_are_judged_by_the_others_and_photos_with_one_reference_say_nothing() -> None:
    photos = [[["dog"], ["cat"], ["dog"]], [["boat"], ["lake"]], [["tree"]]]
    found = people_support(photos)
    assert found is not None and found.values == {"content": 0.5} and found.judged["content"] == 2
    assert people_support([[["dog"], ["cat"]], [["tree"]]]) is None
