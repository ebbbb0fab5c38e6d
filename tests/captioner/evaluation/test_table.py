"""One table in three notations."""

from __future__ import annotations

import pytest

from captioner.evaluation.table import Table

TABLE = Table(
    ["what_1"],
    ["", "score", "interval"],
    [["BLEU-4", "7.10", "6 to 8"], ["CIDEr|D", "60.00", ""]],
    ["100 % sure"],
)


def test_text_stands_in_columns() -> None:
    assert TABLE.text().split("\n") == [
        "what_1",
        "",
        "         score  interval",
        "BLEU-4    7.10    6 to 8",
        "CIDEr|D  60.00",
        "",
        "100 % sure",
    ]


def test_markdown_is_a_table_of_as_many_cells_in_every_row() -> None:
    lines = TABLE.markdown().split("\n")
    assert lines[2:6] == [
        "|  | score | interval |",
        "| --- | ---: | ---: |",
        "| BLEU-4 | 7.10 | 6 to 8 |",
        r"| CIDEr\|D | 60.00 |  |",
    ]
    assert lines[0] == "what_1  " and lines[-1] == "100 % sure  "


def test_latex_is_a_tabular_with_its_words_in_comments_and_its_special_characters_escaped() -> None:
    latex = Table(["a_b"], ["", "A & B"], [["x_1", "5 %"]], ["done"]).latex()
    head, *rest = latex.split("\n")
    assert head == "% a_b"
    assert rest[:5] == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r" & A \& B \\",
        r"\midrule",
        r"x\_1 & 5 \% \\",
    ]
    assert rest[5:] == [r"\bottomrule", r"\end{tabular}", "% done"]


@pytest.mark.parametrize("notation", ["text", "markdown", "latex"])
def test_a_column_without_anything_in_it_is_left_out(notation: str) -> None:
    table = Table([], ["", "score", "interval"], [["BLEU-4", "7.10", ""]], [])
    assert "interval" not in getattr(table, notation)()
