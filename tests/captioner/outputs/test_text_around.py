"""Text around captions: joined as people would, and put there once where that is asked for."""

from __future__ import annotations

import pytest

from captioner.outputs.text_around import TextAround
from captioner.types import Caption
from rnnkit.errors import UserError


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("sks", "", "sks a dog"),
        ("sks, ", "", "sks, a dog"),
        ("", ", oil on canvas", "a dog, oil on canvas"),
        ("photo of", "by night", "photo of a dog by night"),
        ("", "", "a dog"),
    ],
)
def test_a_space_joins_text_and_caption_where_one_is_missing(
    before: str, after: str, expected: str
) -> None:
    around = TextAround(before, after)
    assert around("a dog") == expected == around.once(around("a dog"))


def test_only_whole_words_count_as_text_that_is_there() -> None:
    around = TextAround("art", "sea").once
    assert around("artist at work overseas") == "art artist at work overseas sea"
    assert around("art, on the sea") == "art, on the sea"
    assert TextAround("sks,", ", oil").once("sks,a dog, oil") == "sks,a dog, oil"
    assert TextAround("a", "").once("animals in a field") == "a animals in a field"


def test_words_that_were_put_around_a_caption_have_no_confidence() -> None:
    caption = Caption("a dog", -1.0, ("a", "dog"), word_confidence=(None, 0.5), confidence=0.5)
    found = TextAround("by sks,", "now").around(caption)
    assert (found.text, found.words) == ("by sks, a dog now", ("by", "sks,", "a", "dog", "now"))
    assert found.word_confidence == (None, None, None, 0.5, None)
    assert (found.score, found.confidence) == (-1.0, 0.5)


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\n", "a\u2028b", "\udcff"])
def test_text_that_would_break_a_row_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="the text of --append"):
        TextAround("", text)
