"""Scores captions against references: `captioner evaluate` for those who prefer scripts.

    python scripts/evaluate_bleu.py REFERENCES PREDICTIONS [--compare OTHER]
        [--json | --markdown | --latex]

docs/scores.md describes which files are read and what the numbers mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from captioner.cli import (
    PREDICTIONS,
    REFERENCES,
    AllowMissing,
    AsJson,
    AsLatex,
    AsMarkdown,
    Bootstrap,
    BootstrapSeed,
    Compare,
    Java,
    Split,
    evaluate_command,
)
from rnnkit.command_line import run_app


def evaluate(
    references: Annotated[Path, typer.Argument(help=REFERENCES)],
    predictions: Annotated[Path, typer.Argument(help=PREDICTIONS)],
    compare: Compare = None,
    split: Split = None,
    allow_missing: AllowMissing = False,
    as_json: AsJson = False,
    markdown: AsMarkdown = False,
    latex: AsLatex = False,
    bootstrap: Bootstrap = 1000,
    seed: BootstrapSeed = 0,
    java: Java = True,
) -> None:
    """Score captions with BLEU-1 to 4, ROUGE-L and CIDEr-D, and with METEOR and SPICE where Java
    and the metrics extra are installed.
    """
    evaluate_command(
        references,
        predictions,
        compare=compare,
        split=split,
        allow_missing=allow_missing,
        as_json=as_json,
        markdown=markdown,
        latex=latex,
        bootstrap=bootstrap,
        seed=seed,
        java=java,
    )


if __name__ == "__main__":
    run_app("evaluate_bleu", evaluate)
