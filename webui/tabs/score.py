"""Tab 5: captions judged against people's: BLEU, ROUGE-L, CIDEr-D with intervals, and the photos at
both ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from captioner.data.annotations import Example
from captioner.evaluation.predictions import read_predictions
from captioner.evaluation.references import choose_split, read_references
from captioner.evaluation.report import NAMES, Report, judge
from rnnkit.errors import UserError
from webui.errors import in_words
from webui.html import interval_bars, notice
from webui.uploads import MAX_FILE, received

FORMATS = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".token")
SPLITS = ("automatic", "test", "val", "train", "all")
ROWS = 8
LENGTH = (
    "{scores.prediction_length} words against {scores.reference_length}. Scores are times 100, as"
    " papers print them."
)
EMPTY = notice("Drop both files and press Score.")


@dataclass(frozen=True)
class Judged:
    """Scores, with the captions that they are of."""

    report: Report
    examples: Sequence[Example]
    captions: dict[str, str]


def score_files(
    references: Any, predictions: Any, split: Any = None, allow_missing: Any = False
) -> Judged:
    """Judge two uploads.

    Raises: UserError naming what is wrong with which.
    """
    if not references or not predictions:
        raise UserError("two files are needed: references, and predictions")
    if split not in (*SPLITS, "", None):
        raise UserError(f"the split must be one of {', '.join(SPLITS)}")
    uploads = [received(value, limit=MAX_FILE) for value in (references, predictions)]
    if any(isinstance(upload.source, bytes) for upload in uploads):
        raise UserError("references and predictions must be uploaded as files")
    known, judged = (Path(str(upload.source)) for upload in uploads)
    dataset = read_references(known)
    examples, chosen = choose_split(
        dataset, None if split in ("automatic", "", None) else str(split)
    )
    captions = read_predictions(
        judged, examples, others=dataset.examples, allow_missing=bool(allow_missing)
    )
    kept = [example for example in examples if str(example.image_id) in captions]
    about: dict[str, Any] = {"data": uploads[0].name, "split": chosen, "decoding": uploads[1].name}
    return Judged(
        judge(captions, kept, **about, missing=len(examples) - len(kept), java=False),
        kept,
        captions,
    )


def build() -> None:
    """Draw the tab."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=280):
            references = gr.File(
                label="References: COCO, Karpathy, CSV, text",
                file_types=list(FORMATS),
                elem_id="references",
                height=180,
            )
            predictions = gr.File(
                label="Predictions: COCO results, JSONL, CSV",
                file_types=list(FORMATS),
                elem_id="predictions",
                height=180,
            )
            split = gr.Dropdown(
                list(SPLITS),
                value="automatic",
                label="Split",
                info="Automatic takes test where the file names splits.",
            )
            missing = gr.Checkbox(
                False,
                label="Allow missing",
                info="Score the photos that have a caption, though others have none.",
            )
            button = gr.Button("Score", variant="primary")
        with gr.Column(scale=7, min_width=300):
            result = gr.HTML(
                EMPTY, elem_id="score-result", container=False, apply_default_css=False
            )

    @in_words
    def score(references: Any, predictions: Any, split: Any, allow_missing: Any) -> str:
        return _drawn(score_files(references, predictions, split, allow_missing))

    button.click(
        score, [references, predictions, split, missing], result,
        preprocess=False, api_visibility="private", concurrency_id="score", concurrency_limit=1, show_progress="minimal",
    )  # fmt: skip


def _drawn(judged: Judged) -> str:
    report, scores = judged.report, judged.report.scores
    rows = []
    for name, value in scores.values.items():
        low, high = scores.intervals.get(name, (np.nan, np.nan))
        rows.append(
            (
                NAMES[name],
                100 * value,
                100 * low,
                100 * high,
                100.0 if name != "cider_d" else 100.0 * max(1.0, value, high),
            )
        )
    what = f"{report.heading}; {report.distinct} different captions."
    head = f'<p class="fine">{escape(what)} {LENGTH.format(scores=scores)}</p>'
    return interval_bars(rows, label="Scores") + head + _ends(judged)


def _ends(judged: Judged) -> str:
    """The best and the worst captions by CIDEr-D."""
    values = judged.report.scores.per_image["cider_d"]
    order = np.argsort(-values, kind="stable").tolist()
    half = min(ROWS, len(order) // 2)
    tables = []
    for title, rows in (
        ("Best by CIDEr-D", order[:half]),
        ("Worst by CIDEr-D", order[::-1][:half]),
    ):
        cells = "".join(
            f"<tr><td>{escape(str(example.image_id))}</td><td>{escape(judged.captions[str(example.image_id)])}</td>"
            f"<td>{escape(example.captions[0])}</td><td"
            f' class="number">{100 * values[row]:.0f}</td></tr>'
            for row in rows
            for example in [judged.examples[row]]
        )
        columns = "".join(
            f'<th scope="col">{name}</th>'
            for name in ("Photo", "Predicted", "A reference", "CIDEr-D")
        )
        head = f"<caption>{title}</caption><thead><tr>{columns}</tr></thead>"
        tables.append(
            f'<div class="scroll"><table class="plain">{head}<tbody>{cells}</tbody></table></div>'
        )
    return "".join(tables)
