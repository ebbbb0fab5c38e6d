"""Examples are read from files, and a line that does not fit is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rnnkit.errors import UserError
from sequences.data import Labelled, Pair, Tagged, read_labelled, read_pairs, read_tagged
from sequences.series import read_series


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        (tmp_path / "file").write_text(text, encoding="utf-8")
        return tmp_path / "file"

    return write


def test_labels_and_texts_are_found_by_the_header(written: Callable[[str], Path]) -> None:
    path = written("id\ttext\tlabel\r\n1\ta \u2028 b\tgood\r\n")
    assert read_labelled(path) == [Labelled("a \u2028 b", "good")]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "header"),
        ("text\ta\nb\tc\n", "header"),
        ("label\ttext\ngood\n", "line 2"),
        ("label\ttext\na\tb\n\tc\n", "line 3"),
        ("label\ttext\n", "no examples"),
    ],
)
def test_a_file_that_is_not_labelled_is_refused_by_its_line(
    text: str, named: str, written: Callable[[str], Path]
) -> None:
    with pytest.raises(UserError, match=named):
        read_labelled(written(text))


def test_sentences_end_at_blank_lines_and_further_columns_are_left_out(
    written: Callable[[str], Path],
) -> None:
    path = written("\nThe\tDET\tDT\ncat\tNOUN\tNN\n\n\nHi\tINTJ\n")
    assert read_tagged(path) == [
        Tagged(("The", "cat"), ("DET", "NOUN")),
        Tagged(("Hi",), ("INTJ",)),
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The\tDET\ncat\n", "line 2 of .* but 'cat'"),
        ("label\ttext\ngood\ta good film\n", "line 2 of .* but 'good.ta good film'"),
        (101 * "Arabic\tAbadi\n", "has 101 lines and no blank line between them"),
    ],
)
def test_a_file_that_is_not_conll_is_refused_with_what_it_has(
    text: str, found: str, written: Callable[[str], Path]
) -> None:
    with pytest.raises(UserError, match=found):
        read_tagged(written(text))


def test_pairs_are_taken_from_the_columns_that_are_named(written: Callable[[str], Path]) -> None:
    path = written("Hi!\tHai!\tby someone\n")
    assert read_pairs(path, source=2, target=1) == [Pair("Hai!", "Hi!")]
    with pytest.raises(UserError, match="no column 4"):
        read_pairs(path, target=4)


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9\tx")
    with pytest.raises(UserError, match="latin"):
        read_pairs(tmp_path / "latin")


def test_a_series_is_the_column_that_is_named_or_the_last(written: Callable[[str], Path]) -> None:
    path = written('"Month","A","B"\n"1949-01",1,2.5\n"1949-02",3,4e1\n')
    assert np.array_equal(read_series(path, "A")[1], [1, 3])
    name, values = read_series(path, None)
    assert name == "B" and np.array_equal(values, [2.5, 40])


@pytest.mark.parametrize(("column", "named"), [("C", "A, B"), ("B", "row 3"), ("A", "row 4")])
def test_a_gap_in_a_series_is_named(
    column: str, named: str, written: Callable[[str], Path]
) -> None:
    with pytest.raises(UserError, match=named):
        read_series(written("A,B\n1,2\n3,\nx,4\n"), column)
