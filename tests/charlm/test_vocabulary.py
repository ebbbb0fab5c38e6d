"""Characters to ids and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.vocabulary import UNKNOWN, CharacterVocabulary
from rnnkit.errors import UserError


def test_ids_are_given_by_frequency_and_equal_counts_by_code_point() -> None:
    assert CharacterVocabulary.of("bbbaacdd").symbols == ("b", "a", "d", "c")


@given(st.text(min_size=1))
def test_any_text_is_what_its_ids_decode_to(text: str) -> None:
    vocabulary = CharacterVocabulary.of(text)
    ids = vocabulary.encode(text)
    assert ids.shape == (len(text),) and vocabulary.decode(ids) == text


@given(st.text(min_size=1), st.text())
def test_skip_drops_exactly_the_characters_that_were_never_seen(seen: str, prompt: str) -> None:
    vocabulary = CharacterVocabulary.of(seen)
    assert vocabulary.decode(vocabulary.encode(prompt, unknown="skip")) == "".join(
        c for c in prompt if c in seen
    )


def test_rare_characters_become_the_unknown_symbol() -> None:
    vocabulary = CharacterVocabulary.of("aaaabbbc", min_count=2)
    assert vocabulary.symbols == ("a", "b", UNKNOWN)
    assert (
        vocabulary.decode(vocabulary.encode("abcz", unknown="replace")) == f"ab{UNKNOWN}{UNKNOWN}"
    )


def test_a_stray_file_does_not_make_a_large_vocabulary() -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 9000)))
    assert len(CharacterVocabulary.of(text, max_size=100)) == 101


def test_an_unknown_character_is_an_error_that_names_it() -> None:
    with pytest.raises(UserError, match=r"'é' \(U\+00E9\)"):
        CharacterVocabulary.of("cafe").encode("café")
    with pytest.raises(UserError, match="never seen"):
        CharacterVocabulary.of("cafe").encode("café", unknown="replace")


@pytest.mark.parametrize("symbols", [[], ["ab"], ["a", "a"], ["a", 1], ["a", "\ud800"]])
def test_a_damaged_list_of_symbols_is_refused(symbols: list[str]) -> None:
    with pytest.raises(UserError):
        CharacterVocabulary(symbols)
