"""How a CSV file of captions is laid out: as we write it, or as a spreadsheet has saved it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from captioner.data.columns import FORMER_ROW_COLUMNS, ROW_COLUMNS

MARKS = ",;\t"  # between cells; spreadsheets write semicolons where numbers have decimal commas


@dataclass(frozen=True)
class CsvLayout:
    """The columns of a file, and what stands between its cells and its lines.

    Attributes:
        header: the first line, with a byte-order mark if there is one.
        columns: their names: `ROW_COLUMNS`, in any order (files of earlier versions have no
            confidence), and columns that somebody has added.
    """

    header: bytes = ",".join(ROW_COLUMNS).encode() + b"\n"
    columns: tuple[str, ...] = ROW_COLUMNS
    mark: str = ","
    newline: str = "\n"

    @classmethod
    def of(cls, header: bytes) -> CsvLayout:
        """The layout of the file that begins with this line.

        Raises: ValueError if a column of ours is missing or comes twice.
        """
        text = header.decode("utf-8-sig")
        newline = "\r\n" if text.endswith("\r\n") else "\n"
        for mark in MARKS:
            names = tuple(cell.strip().lower() for cell in _cells(text, mark))
            twice = names.count("confidence") > 1
            if not twice and all(names.count(name) == 1 for name in FORMER_ROW_COLUMNS):
                return cls(header, names, mark, newline)
        raise ValueError(f"the first line must name the columns {', '.join(FORMER_ROW_COLUMNS)}")

    def split(self, line: bytes) -> tuple[list[str], tuple[str, ...]]:
        """The cells of a line: those of `ROW_COLUMNS` in their order, and those of added columns.

        The confidence is empty if the file has no column for it.

        Raises: ValueError for more cells than columns, or quotation marks in wrong places.
        """
        cells = _cells(line.decode(), self.mark)
        if len(cells) > len(self.columns):
            raise ValueError(f"a row has {len(cells)} cells for {len(self.columns)} columns")
        cells += [""] * (len(self.columns) - len(cells))
        named = list(zip(self.columns, cells, strict=True))
        ours = dict(named)
        added = tuple(cell for name, cell in named if name not in ROW_COLUMNS)
        return [ours.get(name, "") for name in ROW_COLUMNS], added

    def is_whole(self, line: bytes) -> bool:
        """Whether a line without its line break has all of its row.

        A row that we wrote ends with a number, which may have lost digits.

        Raises: ValueError as for `split`.
        """
        cells = _cells(line.decode(), self.mark)
        if len(cells) != len(self.columns):
            return False
        row = dict(zip(self.columns, cells, strict=True))
        if self.columns[-1] != "confidence" or row["status"] == "error":
            return True
        return not row["score"] or bool(re.fullmatch(r"\d[.,]\d{4}", row["confidence"]))

    def join(self, cells: Sequence[str], added: Iterable[str] = ()) -> bytes:
        """The line of these cells; see `split`."""
        ours, rest = dict(zip(ROW_COLUMNS, cells, strict=True)), iter(added)
        placed = [ours[name] if name in ours else next(rest, "") for name in self.columns]
        return self._line(placed) + self.newline.encode()

    def beginning(self, path: str) -> bytes:
        """The beginning of a line up to the path, if the cells before it are empty."""
        return self._line([*[""] * self.columns.index("path"), path, ""])

    def _line(self, cells: Iterable[str]) -> bytes:
        # Python's csv writes a lone carriage return without the quotation marks that it needs when
        # it reads.
        quoted = (
            '"' + cell.replace('"', '""') + '"' if re.search(f'["\r\n{self.mark}]', cell) else cell
            for cell in cells
        )
        return self.mark.join(quoted).encode("utf-8", "backslashreplace")


OURS = CsvLayout()


def _cells(line: str, mark: str) -> list[str]:
    try:
        (cells,) = csv.reader(io.StringIO(line, newline=""), delimiter=mark, strict=True)
    except csv.Error as error:
        raise ValueError(str(error)) from None
    except ValueError:
        raise ValueError("a row is not a line of its own") from None
    return cells


# --- cells that a spreadsheet would compute -------------------------------------------------------

_FORMULA = re.compile(r"'*[=+\-@\t\r]")  # with the apostrophes that it may have already


def defused(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: with an apostrophe before = + - @."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def as_it_was(cell: str) -> str:
    """What was `defused`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
