"""Reads one column of a CSV file as a series."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from rnnkit.errors import UserError
from sequences.data import read_lines


def read_series(path: Path, column: str | None) -> tuple[str, np.ndarray]:
    """A column of numbers of a CSV file with a header.

    Args:
        column: its name; None is the last one.

    Returns: the column's name and its values, (steps,).
    Raises: UserError naming the file, the column or the first row that is not a number.
    """
    rows = list(csv.reader(read_lines(path)))
    if len(rows) < 2:
        raise UserError(f"'{path}' needs a header and a row for each step")
    header = [name.strip() for name in rows[0]]
    if column is not None and column not in header:
        raise UserError(f"'{path}' has no column '{column}', only {', '.join(header)}")
    name = column if column is not None else header[-1]
    index = header.index(name)
    values = []
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        try:
            values.append(float(row[index]))
        except (ValueError, IndexError):
            found = row[index] if index < len(row) else ""
            raise UserError(
                f"row {number} of '{path}' has {found!r} in the column '{name}', not a number",
                hint="fill the gap, with the mean of its neighbours for instance",
            ) from None
    return name, np.array(values)
