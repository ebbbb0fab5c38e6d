"""A table with lines of text above and below it, as plain text, Markdown or LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_LATEX = str.maketrans({
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
    "<": r"\textless{}", ">": r"\textgreater{}",
})  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns, with lines of text above and below.

    The first column is aligned left, the others right. Columns without any content are left out.
    """

    above: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    below: Sequence[str]

    def text(self) -> str:
        """For a terminal."""
        grid = self._grid()
        widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
        cells = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in grid]
        lines = ["  ".join(row).rstrip() for row in cells]
        return "\n".join([*self.above, "", *lines, "", *self.below])

    def markdown(self) -> str:
        """A table of GitHub's Markdown between two paragraphs."""
        columns, *rows = [[cell.replace("|", r"\|") for cell in row] for row in self._grid()]
        rule = ["---", *["---:"] * (len(columns) - 1)]
        lines = [f"| {' | '.join(row)} |" for row in (columns, rule, *rows)]
        return "\n".join(
            [
                "\n".join(f"{line}  " for line in self.above),
                "",
                *lines,
                "",
                "\n".join(f"{line}  " for line in self.below),
            ]
        )

    def latex(self) -> str:
        """A tabular (of the package booktabs); the text above and below becomes comments."""
        grid = self._grid()
        head, *rows = [" & ".join(cell.translate(_LATEX) for cell in row) + r" \\" for row in grid]
        begin = rf"\begin{{tabular}}{{l{'r' * (len(grid[0]) - 1)}}}"
        tabular = [begin, r"\toprule", head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]
        return "\n".join(
            [*(f"% {line}" for line in self.above), *tabular, *(f"% {line}" for line in self.below)]
        )

    def _grid(self) -> list[tuple[str, ...]]:
        shown = [column for column in zip(self.columns, *self.rows, strict=True) if any(column[1:])]
        return list(zip(*shown, strict=True))
