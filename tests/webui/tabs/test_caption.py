"""What the Caption tab says of a caption."""

from __future__ import annotations

import re
from html import unescape

from captioner import Caption
from webui.html import shaded_words
from webui.tabs.caption import _result

TEXT = "a man's <blue> shirt"
WORDS = ("a", "man", "'s", "<blue>", "shirt")
SURE = (None, 0.95, None, 0.2, 0.6)


def test_words_are_shaded_by_how_unsure_they_are_and_the_text_stays_whole() -> None:
    html = shaded_words(TEXT, WORDS, SURE)
    assert unescape(re.sub(r"<[^>]*>", "", html)) == TEXT
    shares = {word: int(share) for share, word in re.findall(r"--share:(\d+)%[^>]*>([^<]*)<", html)}
    assert shares["man"] == 0 < shares["shirt"] < shares["&lt;blue&gt;"] <= 100
    assert re.findall(r'class="word unsure"[^>]*>([^<]*)<', html) == ["&lt;blue&gt;"]


def test_a_word_that_the_text_writes_otherwise_stays_plain() -> None:
    assert shaded_words("a (red", ("a", "-lrb-", "red"), (None, 0.3, None)) == "a (red"


def test_the_page_says_in_words_how_sure_the_caption_and_its_candidates_are() -> None:
    best = Caption(TEXT, -1.0, WORDS, word_confidence=SURE, confidence=0.583)
    other = Caption("a dog", -2.0, ("a", "dog"), word_confidence=(None, 0.31), confidence=0.31)
    html = _result([best, other], "by nobody")
    assert "People would use about 58% of these words" in html and "Unsure: &lt;blue&gt;." in html
    assert ">31% sure<" in html and "probability" not in html
    assert "candidates, by likelihood and confidence together</h2>" in html
    assert "candidates, by likelihood</h2>" in _result([best, other], "by nobody", True)
    assert ">under 40%: unsure<" in html and ">70% to 90%<" in html and "shade: over 90%" in html
    assert "<strong>Unsure.</strong>" not in html
    assert "<strong>Unsure.</strong>" in _result([other], "by nobody")


def test_a_model_that_does_not_know_how_sure_it_is_says_so_on_the_page() -> None:
    html = _result([Caption("a dog", -1.0, ("a", "dog"))], "by nobody")
    assert "This model does not say how sure it is" in html and "shade" not in html
