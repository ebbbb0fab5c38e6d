"""Characters to ids and back; streams and chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charlm.data import UNKNOWN, Vocabulary, chunks, read_text, streams
from rnnkit.errors import UserError


def test_ids_are_given_by_frequency_and_equal_counts_by_code_point() -> None:
    assert Vocabulary.of("bbbaacdd").symbols == ("b", "a", "d", "c")


@given(st.text(min_size=1))
def test_any_text_is_what_its_ids_decode_to(text: str) -> None:
    vocabulary = Vocabulary.of(text)
    ids = vocabulary.encode(text)
    assert ids.shape == (len(text),) and vocabulary.decode(ids) == text


@given(st.text(min_size=1), st.text())
def test_skip_drops_exactly_the_characters_that_were_never_seen(seen: str, prompt: str) -> None:
    vocabulary = Vocabulary.of(seen)
    assert vocabulary.decode(vocabulary.encode(prompt, unknown="skip")) == "".join(
        c for c in prompt if c in seen
    )


def test_rare_characters_become_the_unknown_symbol() -> None:
    vocabulary = Vocabulary.of("aaaabbbc", min_count=2)
    assert vocabulary.symbols == ("a", "b", UNKNOWN)
    assert (
        vocabulary.decode(vocabulary.encode("abcz", unknown="replace")) == f"ab{UNKNOWN}{UNKNOWN}"
    )


def test_a_stray_file_does_not_make_a_large_vocabulary() -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 9000)))
    assert len(Vocabulary.of(text, max_size=100)) == 101


def test_an_unknown_character_is_an_error_that_names_it() -> None:
    with pytest.raises(UserError, match=r"'é' \(U\+00E9\)"):
        Vocabulary.of("cafe").encode("café")
    with pytest.raises(UserError, match="never seen"):
        Vocabulary.of("cafe").encode("café", unknown="replace")


def test_a_wrong_byte_is_an_error_that_names_its_offset(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"\xef\xbb\xbfcaf\xe9 noir")
    with pytest.raises(UserError, match=r"0xe9 at offset 6"):
        read_text(path)


def test_line_ends_stay_as_they_are_and_a_byte_order_mark_goes(tmp_path: Path) -> None:
    path = tmp_path / "dos.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\n")
    assert read_text(path) == "one\r\ntwo\n"


@given(st.integers(2, 300), st.integers(1, 20), st.integers(0, 400), st.integers(1, 50))
def test_chunks_read_down_a_stream_give_the_text_in_order(
    characters: int, batch_size: int, offset: int, length: int
) -> None:
    ids = torch.arange(characters)
    if (characters - 1) // batch_size < 1:
        with pytest.raises(UserError):
            streams(ids, batch_size, offset)
        return
    inputs, targets = streams(ids, batch_size, offset)
    pieces = list(chunks(inputs, targets, length))
    assert all(len(x) <= length for x, _ in pieces)
    joined = torch.cat([x for x, _ in pieces]), torch.cat([y for _, y in pieces])
    per_stream = (characters - 1) // batch_size
    for stream in range(batch_size):
        expected = (np.arange(per_stream) + stream * per_stream + offset) % characters
        assert joined[0][:, stream].tolist() == expected.tolist()
        assert joined[1][:, stream].tolist() == ((expected + 1) % characters).tolist()


@pytest.mark.parametrize("symbols", [[], ["ab"], ["a", "a"], ["a", 1]])
def test_a_damaged_list_of_symbols_is_refused(symbols: list[str]) -> None:
    with pytest.raises(UserError):
        Vocabulary(symbols)
