"""Checks this package's scores against published ones: those of the 1,000 captions that ship with
coco-caption as its example.

    python scripts/check_golden_scores.py REFERENCES PREDICTIONS [EXPECTED]

REFERENCES are COCO's val2014 captions (the whole file or those of the 1,000 photos), PREDICTIONS
coco-caption's captions_val2014_fakecap_results.json. EXPECTED is a JSON file with other values to
check: "guess" and "correct" (n-grams in the predictions, and those that match, for n = 1..4),
"testlen" and "reflen" (words), "bleu", "rouge_l", "cider_d". Counts must be equal, and scores equal
to three decimals. The exit code is 1 if anything differs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from captioner.evaluation.predictions import read_predictions
from captioner.evaluation.references import read_references
from captioner.evaluation.report import judge
from rnnkit.command_line import run_app
from rnnkit.errors import SOME_FAILED, UserError

RECORD: dict[str, Any] = {
    "guess": [9893, 8893, 7893, 6893],
    "correct": [5732, 2510, 1043, 423],
    "testlen": 9893,
    "reflen": 9855,
    "bleu": [0.579, 0.404, 0.279, 0.191],
    "rouge_l": 0.396,
    "cider_d": 0.600,
}


def check(
    references: Annotated[
        Path, typer.Argument(help="COCO's val2014 captions, all or those of the 1,000 photos.")
    ],
    predictions: Annotated[
        Path, typer.Argument(help="coco-caption's captions_val2014_fakecap_results.json.")
    ],
    expected: Annotated[Path | None, typer.Argument(help="JSON file with other values.")] = None,
) -> None:
    """Score the predictions and compare the scores with the expected ones."""
    wanted = RECORD if expected is None else _read(expected)
    examples = read_references(references).examples
    captions = read_predictions(predictions, examples, allow_missing=True)
    kept = [example for example in examples if str(example.image_id) in captions]
    report = judge(
        captions,
        kept,
        data=str(references),
        split="all",
        decoding=str(predictions),
        bootstrap=0,
        java=False,
    )
    scores = report.scores
    actual = {
        "guess": scores.totals,
        "correct": scores.matches,
        "testlen": scores.prediction_length,
        "reflen": scores.reference_length,
        "bleu": [scores.values[f"bleu_{order}"] for order in (1, 2, 3, 4)],
        "rouge_l": scores.values["rouge_l"],
        "cider_d": scores.values["cider_d"],
    }
    different = 0
    for name, value in wanted.items():
        here, there = _rounded(actual[name]), _rounded(value)
        if here == there:
            print(f"same  {name}: {here}")
        else:
            print(f"DIFFERENT  {name}: {here}, should be {there}")
            different += 1
    print(f"{len(kept)} images, {different} of {len(wanted)} values differ")
    if different:
        raise typer.Exit(SOME_FAILED)


def _read(path: Path) -> dict[str, Any]:
    try:
        wanted = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read ({error})") from None
    if not isinstance(wanted, dict) or not wanted or not wanted.keys() <= RECORD.keys():
        raise UserError(f"'{path}' must be a JSON object with some of {', '.join(RECORD)}")
    return wanted


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    run_app("check_golden_scores", check)
