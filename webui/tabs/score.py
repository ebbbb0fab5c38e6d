"""Tab 6: captions scored against people's: BLEU, ROUGE-L and CIDEr-D with intervals, and the best
and worst photos.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import gradio as gr
import numpy as np

from captioner.evaluation.report import NAMES
from webui.errors import shown_by
from webui.html import interval_bars, notice
from webui.services.scoring import (
    SPLITS,
    Scored,
    photos_by_name,
    sample_files,
    score_files,
    thumbnail_of,
)
from webui.workers import Models

FILE_TYPES = [".json", ".jsonl", ".csv", ".tsv", ".txt", ".token"]
ROWS = 8  # of the best photos, and as many of the worst
EMPTY = """
<section class="sentence">
  <p class="lead">Drop or paste both files and press “Score”, or press “Try sample files”.</p>
  <h2>What goes in</h2>
  <ul class="steps">
    <li><strong>References</strong> are captions by people, several for each photo: COCO's or
    Karpathy's JSON, Flickr8k's token file, a CSV or plain text.</li>
    <li><strong>Predictions</strong> are captions by a network, one for each photo: a COCO results
    file, or JSONL, CSV or TSV as this page and the command line write them.</li>
    <li><strong>Photos</strong>, under Options, are only shown beside their scores.</li>
  </ul>
  <h2>What comes out</h2>
  <p>BLEU counts words and runs of words that both have, ROUGE-L the longest common sequence.
  CIDEr-D gives rare words more weight. Each score comes with a 95% interval: how much it would
  change with other photos of the same kind.</p>
</section>
"""


def build(models: Models) -> None:
    """Draw the tab."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=280):
            references = gr.File(
                label="References",
                file_types=FILE_TYPES,
                elem_id="references",
                elem_classes="takes-a-file",
                height=150,
            )
            predictions = gr.File(
                label="Predictions",
                file_types=FILE_TYPES,
                elem_id="predictions",
                elem_classes="takes-a-file",
                height=150,
            )
            with gr.Accordion("Options", open=False, elem_id="score-options"):
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
                photos = gr.File(
                    label="Photos (optional)",
                    file_types=["image"],
                    file_count="multiple",
                    elem_id="score-photos",
                    elem_classes="takes-photos",
                    height=150,
                )
            with gr.Row(elem_classes="buttons"):
                button = gr.Button("Score", variant="primary", elem_id="score")
                sample = gr.Button("Try sample files")
        with gr.Column(scale=7, min_width=300):
            result = gr.HTML(
                EMPTY, elem_id="score-result", container=False, apply_default_css=False
            )

    def problem(why: str) -> str:  # in place of scores, which are of other files
        return notice(why, kind="problem")

    @shown_by(problem)
    def score(
        references: Any, predictions: Any, split: Any, allow_missing: Any, photos: Any
    ) -> str:
        scored = score_files(references, predictions, split, allow_missing)
        return _draw(scored, photos_by_name(photos))

    @shown_by(lambda why: {result: problem(why)})
    def fill_in() -> dict[Any, Any]:
        files = sample_files(models.captioner.get())
        return {references: files[0], predictions: files[1], photos: files[2]}

    inputs = [references, predictions, split, missing, photos]
    limited: dict[str, Any] = {
        "preprocess": False,
        "api_visibility": "private",
        "concurrency_id": "score",
        "concurrency_limit": 1,
        "show_progress": "minimal",
    }
    button.click(score, inputs, result, **limited)
    sample.click(
        fill_in,
        None,
        [references, predictions, photos, result],
        api_visibility="private",
        concurrency_id="captioner",
        concurrency_limit=32,
        show_progress="minimal",
    ).success(score, inputs, result, **limited)


def _draw(scored: Scored, photos: Mapping[str, Any]) -> str:
    report, scores = scored.report, scored.report.scores
    rows = []
    for name, value in scores.values.items():
        low, high = scores.intervals.get(name, (np.nan, np.nan))
        full = max(1.0, *np.ceil(np.nan_to_num([value, high]))) if name == "cider_d" else 1.0
        rows.append((NAMES[name], 100 * value, 100 * low, 100 * high, 100 * full))
    summary = (
        f"{report.heading}; {report.distinct} different captions."
        f" The captions have {scores.prediction_length} words, their references"
        f" {scores.reference_length}. Scores are multiplied by 100, as in papers. BLEU and ROUGE-L"
        " reach at most 100; CIDEr-D can be more, so its bar has a scale of its own."
    )
    head = f'<p class="fine">{escape(summary)}</p>'
    bars = interval_bars(rows, label="Scores") + head
    return f'<section class="sentence">{bars}{_best_and_worst(scored, photos)}</section>'


def _best_and_worst(scored: Scored, photos: Mapping[str, Any]) -> str:
    values = scored.report.scores.per_image["cider_d"]
    order = np.argsort(-values, kind="stable").tolist()
    half = min(ROWS, len(order) // 2)
    best = _table("Best by CIDEr-D", scored, photos, order[:half])
    return best + _table("Worst by CIDEr-D", scored, photos, order[::-1][:half])


def _table(title: str, scored: Scored, photos: Mapping[str, Any], rows: list[int]) -> str:
    values, body = scored.report.scores.per_image["cider_d"], ""
    for row in rows:
        example = scored.examples[row]
        image = str(example.image_id)
        picture = thumbnail_of(photos, example)
        shown = f'<img src="{picture}" alt="">' if picture else ""
        texts = (scored.captions[image], example.captions[0])
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in texts)
        body += (
            f'<tr><td class="photo">{shown}<span>{escape(image)}</span></td>{cells}'
            f'<td class="number">{100 * values[row]:.0f}</td></tr>'
        )
    names = ("Photo", "Prediction", "A reference", "CIDEr-D")
    columns = "".join(f'<th scope="col">{name}</th>' for name in names)
    head = f"<caption>{title}</caption><thead><tr>{columns}</tr></thead>"
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        f'<table class="plain">{head}<tbody>{body}</tbody></table></div>'
    )
