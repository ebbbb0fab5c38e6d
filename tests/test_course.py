"""The notebook of the documents runs from top to bottom and shows what it says."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import rnnkit

COURSE = Path(rnnkit.__file__).parents[1] / "docs" / "course.ipynb"


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell's code; returns the value of its last line, which a notebook would show."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(COURSE), "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), str(COURSE), "eval"), names)
    return None


def test_the_course_runs_and_its_views_show_what_it_teaches() -> None:
    cells = json.loads(COURSE.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell.get("outputs") for cell in cells)  # so that the file stays small
    names: dict[str, Any] = {}
    shown = [run_cell(source, names) for source in code]
    assert [type(value).__name__ for value in shown] == ["NoneType", *["Picture"] * 4, "Caption"]
    assert all(view._repr_png_().startswith(b"\x89PNG") for view in shown[1:-1])
    assert shown[-1]._repr_html_().count("<img") == 1 + len(shown[-1].words)
    kept = {
        name: flow.norms[0, 0, 0] / flow.norms[0, 0, -1] for name, flow in names["flows"].items()
    }
    assert kept["RNN"] < kept["LSTM"]
    assert any(flow.weight_norm > flow.clip_norm for flow in names["scaled"].values())
