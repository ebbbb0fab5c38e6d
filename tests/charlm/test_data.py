"""Text files, streams and chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charlm.data import chunks, read_corpus, read_text, streams
from rnnkit.errors import UserError


def test_a_wrong_byte_is_an_error_that_names_its_offset(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"\xef\xbb\xbfcaf\xe9 noir")
    with pytest.raises(UserError, match=r"0xe9 at offset 6"):
        read_text(path)


def test_line_ends_stay_as_they_are_and_a_byte_order_mark_goes(tmp_path: Path) -> None:
    path = tmp_path / "dos.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\n")
    assert read_text(path) == "one\r\ntwo\n"


def test_a_folder_is_its_text_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    files = {
        "b.md": "B",
        "a.txt": "A",
        "c.bin": "C\0",
        ".hidden": "H",
        "deeper/d.txt": "D",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "e.png").write_bytes(b"\x89PNG")
    corpus = read_corpus([tmp_path, tmp_path / "a.txt"])
    assert corpus.text == "ABA" and [path.name for path in corpus.left_out] == ["c.bin", "e.png"]
    with pytest.raises(UserError, match="choose another --output"):
        read_corpus([tmp_path], leave_out=tmp_path)
    (tmp_path / "deeper" / "d.txt").unlink()
    with pytest.raises(UserError, match=r"no text file in '.*deeper' itself"):
        read_corpus([tmp_path / "deeper"])


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
