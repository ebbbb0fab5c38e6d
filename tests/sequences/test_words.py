"""Text into words and back, and words into ids."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnkit.errors import UserError
from sequences.words import (
    MAX_SPELLING,
    PAD,
    UNKNOWN,
    WordVocabulary,
    join_words,
    split_words,
    word_spans,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat sat.", ["The", "cat", "sat", "."]),
        ("It's fine, isn't it?", ["It", "'s", "fine", ",", "is", "n't", "it", "?"]),
        ("I don\N{RIGHT SINGLE QUOTATION MARK}t", ["I", "do", "n't"]),
        ("They've left; we'll stay", ["They", "'ve", "left", ";", "we", "'ll", "stay"]),
        ("a well-known o'clock", ["a", "well-known", "o'clock"]),
        ("At 10:30 it cost $1,000.50!", ["At", "10:30", "it", "cost", "$", "1,000.50", "!"]),
        ("see http://a.b/c?d @anna #fun", ["see", "http://a.b/c?d", "@anna", "#fun"]),
        ("in the U.S. today", ["in", "the", "U.S.", "today"]),
        ("wait... what?!", ["wait", "...", "what", "?!"]),
        ("Mr. Lee's dog", ["Mr.", "Lee", "'s", "dog"]),
        ("", []),
    ],
)
def test_a_text_is_split_where_a_reader_would_split_it(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@pytest.mark.parametrize(
    "text",
    [
        "The cat sat.",
        "It's fine, isn't it?",
        'He said, "Come in!"',
        "We'll see (soon).",
        "10 % off",
    ],
)
def test_words_are_joined_as_they_were_written(text: str) -> None:
    assert join_words(split_words(text)).replace(" ", "") == text.replace(" ", "")
    if "%" not in text:
        assert join_words(split_words(text)) == text


@given(st.text())
def test_no_sign_of_a_text_is_lost_or_made_up(text: str) -> None:
    plain = text.translate({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'})
    assert "".join(split_words(text)) == "".join(plain.split())
    assert [plain[begin:end] for begin, end in word_spans(text)] == split_words(text)


def vocabulary(cased: bool = True) -> WordVocabulary:
    return WordVocabulary.of([["The", "cat"], ["the", "Dog"]], min_count=2, cased=cased)


def test_words_seen_too_rarely_have_only_their_spelling() -> None:
    assert vocabulary().words == ("the",)
    assert vocabulary().word_id("THE") == 2 and vocabulary().word_id("cat") == UNKNOWN


def test_characters_of_a_single_word_are_left_unknown_to_learn_from() -> None:
    assert set(vocabulary().characters) == {"h", "e", "t"}


def test_known_words_keep_their_ids_and_new_ones_follow() -> None:
    grown = WordVocabulary.of([["zoo", "zoo", "the"]], min_count=1, cased=True, known=vocabulary())
    assert grown.words == ("the", "zoo") and grown.characters[:3] == vocabulary().characters


def test_a_batch_spells_each_word_once_and_pads_the_rest() -> None:
    batch = vocabulary().encode([["the", "cat", "the"], ["the"]])
    assert batch.words.tolist() == [[2, 2], [UNKNOWN, PAD], [2, PAD]]
    assert batch.spellings.shape == (3, 2) and batch.lengths.tolist() == [3, 1]
    assert batch.spelling_of[:, 0].tolist() == [0, 1, 0]
    assert batch.mask.tolist() == [[True, True], [True, False], [True, False]]


def test_capitals_are_spelt_only_if_the_vocabulary_keeps_them() -> None:
    for cased, spellings in ((True, 2), (False, 1)):
        assert vocabulary(cased).encode([["The", "the"]]).spellings.shape[1] == spellings


def test_of_a_very_long_word_both_ends_are_read() -> None:
    word = "a" * 100 + "b" * 100
    batch = WordVocabulary([], ["a", "b"], cased=True).encode([[word]])
    half = MAX_SPELLING // 2
    assert torch.equal(batch.spellings[:, 0], torch.tensor([2] * half + [3] * half))


@pytest.mark.parametrize("words", [["a", "a"], ["a", 3]])
def test_a_vocabulary_with_something_else_in_it_is_refused(words: list[str]) -> None:
    with pytest.raises(UserError, match="words"):
        WordVocabulary(words, [], cased=True)
