"""Tab 6: captions scored against people's: BLEU, ROUGE-L and CIDEr-D with intervals, and the best
and worst photos.
"""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr
import numpy as np

from captioner.evaluation.report import NAMES
from webui.errors import in_words
from webui.html import interval_bars, notice
from webui.services.scoring import SPLITS, Scored, score_files

FILE_TYPES = [".json", ".jsonl", ".csv", ".tsv", ".txt", ".token"]
ROWS = 8  # of the best photos, and as many of the worst
EMPTY = notice("Drop both files and press “Score”.")


def build() -> None:
    """Draw the tab."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=280):
            references = gr.File(
                label="References: COCO, Karpathy, CSV, text",
                file_types=FILE_TYPES,
                elem_id="references",
                height=180,
            )
            predictions = gr.File(
                label="Predictions: COCO results, JSONL, CSV",
                file_types=FILE_TYPES,
                elem_id="predictions",
                height=180,
            )
            split = gr.Dropdown(
                list(SPLITS),
                value="automatic",
                label="Split",
                info="Automatic: the test split if there are splits, otherwise everything.",
            )
            missing = gr.Checkbox(
                False,
                label="Allow missing captions",
                info="Score only the photos that have a caption.",
            )
            button = gr.Button("Score", variant="primary")
        with gr.Column(scale=7, min_width=300):
            result = gr.HTML(
                EMPTY, elem_id="score-result", container=False, apply_default_css=False
            )

    @in_words
    def score(references: Any, predictions: Any, split: Any, allow_missing: Any) -> str:
        return _draw(score_files(references, predictions, split, allow_missing))

    button.click(
        score,
        [references, predictions, split, missing],
        result,
        preprocess=False,
        api_visibility="private",
        concurrency_id="score",
        concurrency_limit=1,
        show_progress="minimal",
    )


def _draw(scored: Scored) -> str:
    report, scores = scored.report, scored.report.scores
    rows = []
    for name, value in scores.values.items():
        low, high = scores.intervals.get(name, (np.nan, np.nan))
        full = max(1.0, value, high) if name == "cider_d" else 1.0
        rows.append((NAMES[name], 100 * value, 100 * low, 100 * high, 100 * full))
    summary = (
        f"{report.heading}; {report.distinct} different captions."
        f" {scores.prediction_length} words, references of {scores.reference_length}."
        " Scores are multiplied by 100, as in papers."
    )
    head = f'<p class="fine">{escape(summary)}</p>'
    return interval_bars(rows, label="Scores") + head + _best_and_worst(scored)


def _best_and_worst(scored: Scored) -> str:
    values = scored.report.scores.per_image["cider_d"]
    order = np.argsort(-values, kind="stable").tolist()
    half = min(ROWS, len(order) // 2)
    return _table("Best by CIDEr-D", scored, order[:half]) + _table(
        "Worst by CIDEr-D", scored, order[::-1][:half]
    )


def _table(title: str, scored: Scored, rows: list[int]) -> str:
    values, body = scored.report.scores.per_image["cider_d"], ""
    for row in rows:
        example = scored.examples[row]
        image = str(example.image_id)
        cells = (image, scored.captions[image], example.captions[0])
        texts = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        body += f'<tr>{texts}<td class="number">{100 * values[row]:.0f}</td></tr>'
    names = ("Photo", "Prediction", "A reference", "CIDEr-D")
    columns = "".join(f'<th scope="col">{name}</th>' for name in names)
    head = f"<caption>{title}</caption><thead><tr>{columns}</tr></thead>"
    return f'<div class="scroll"><table class="plain">{head}<tbody>{body}</tbody></table></div>'
