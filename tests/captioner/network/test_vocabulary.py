"""Words, ids, and sentences as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.metrics.tokenizer import tokenize
from captioner.network.vocabulary import (
    END,
    PAD,
    SPECIAL,
    START,
    UNKNOWN,
    Vocabulary,
    repeatable_words,
)


def vocabulary_of(*captions: str, min_count: int = 1) -> Vocabulary:
    return Vocabulary.from_captions(
        (tokenize(caption) for caption in captions), min_count=min_count
    )


def test_the_special_tokens_come_first_and_padding_is_zero() -> None:
    assert vocabulary_of("a dog").words[:4] == SPECIAL == ("<pad>", "<start>", "<end>", "<unk>")
    assert (PAD, START, END, UNKNOWN) == (0, 1, 2, 3)


def test_words_are_kept_from_the_threshold_on_the_most_frequent_first_then_by_name() -> None:
    captions = ("a dog a cat", "a dog a zebra", "a cat a bird")
    assert vocabulary_of(*captions).words[4:] == ("a", "cat", "dog", "bird", "zebra")
    assert vocabulary_of(*captions, min_count=2).words[4:] == ("a", "cat", "dog")
    assert len(vocabulary_of(*captions, min_count=3)) == 5


def test_the_order_of_captions_does_not_change_the_ids() -> None:
    captions = ["two dogs run", "a dog runs", "two cats", "zebras eat grass"]
    assert vocabulary_of(*captions).words == vocabulary_of(*reversed(captions)).words


def test_a_caption_is_enclosed_and_a_word_never_seen_is_unknown() -> None:
    words = vocabulary_of("a dog runs")
    ids = words.encode(["a", "zebra", "runs"])
    assert (ids[0], ids[2], ids[-1]) == (START, UNKNOWN, END)
    assert words.encode(tokenize("A zebra, runs!")) == ids
    assert words.tokens(ids) == ["a", "runs"]


def test_what_follows_the_end_is_not_read() -> None:
    words = vocabulary_of("a dog runs")
    a, dog = words.encode(["a", "dog"])[1:3]
    assert words.tokens([START, a, END, dog, PAD]) == ["a"]
    assert words.tokens([END]) == [] and words.decode([]) == ""


@pytest.mark.parametrize(
    "sentence",
    [
        "the man's dog doesn't run",
        "it's a dog and they're its owners",
        "a t-shirt that says 80s rock 'n' roll",
        "a dog (on the left) and a cat",
        "at 5:30 mr. smith of the u.s. eats 1/2 an apple",
    ],
)
def test_a_sentence_is_written_as_people_write_it(sentence: str) -> None:
    words = vocabulary_of(sentence)
    assert words.decode(words.encode(tokenize(sentence))) == sentence


PIECES = (
    "a", "dog", "cat's", "isn't", "they'll", "(red)", "[two]", "o'clock", "t-shirt",
    "5:30pm", "1,000", "1/2", "u.s.", "mr.", "smith",
    "'n'", "cannot", "gonna", "#", "&", "$5", "!!", "...", "--", "20%", "3rd",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=8).map(" ".join))
def test_tokenising_a_decoded_caption_gives_its_tokens_again(text: str) -> None:
    words = vocabulary_of(text)
    assert tokenize(words.decode(words.encode(tokenize(text)))) == tokenize(text)


def test_words_that_people_repeat_are_those_above_the_share() -> None:
    captions = ["a dog and a cat", "a dog", "the dog sees the dog", "a cat"]
    split = [caption.split() for caption in captions]
    assert repeatable_words(split, share=0.3) == ["a", "dog", "the"]
    assert repeatable_words(split, share=0.34) == ["the"]
    assert repeatable_words([["one", "word"]]) == []


@pytest.mark.parametrize(
    "words",
    [
        ["a", "b"],
        ["<start>", "<pad>", "<end>", "<unk>"],
        [*SPECIAL, "a", "a"],
        [*SPECIAL, "<unk>"],
        [],
    ],
)
def test_a_list_that_is_not_a_vocabulary_is_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match="vocabulary starts with"):
        Vocabulary(words)


@pytest.mark.parametrize("word", ["a\nb", "\r", "a\u2028b", "a\tb", "\ud800", "", 5])
def test_words_that_no_row_can_hold_are_refused_and_not_learned(word: str) -> None:
    with pytest.raises(ValueError, match=r"which is not a word|must be text"):
        Vocabulary([*SPECIAL, "a", word])
    if isinstance(word, str):
        assert Vocabulary.from_captions([["a", word]]).words == (*SPECIAL, "a")
