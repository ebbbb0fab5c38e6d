"""Scores captions against references, for the Score tab and for /score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.data.annotations import Example
from captioner.evaluation.predictions import read_predictions
from captioner.evaluation.references import choose_split, read_references
from captioner.evaluation.report import Report, judge
from rnnkit.errors import UserError
from webui.uploads import MAX_FILE, receive

SPLITS = ("automatic", "test", "val", "train", "all")


@dataclass(frozen=True)
class Scored:
    """A report, with the examples and captions that it is about."""

    report: Report
    examples: Sequence[Example]
    captions: dict[str, str]  # by image id


def score_files(
    references: Any, predictions: Any, split: Any = "automatic", allow_missing: Any = False
) -> Scored:
    """Score one uploaded file against another.

    Args:
        split: one of SPLITS; automatic, or nothing, is test if the references name splits, else
            all.
        allow_missing: leave out the images that have no caption.

    Raises: UserError naming what is wrong with which file.
    """
    if not references or not predictions:
        raise UserError("two files are needed: references and predictions")
    split = split or "automatic"
    if split not in SPLITS:
        raise UserError(f"the split must be one of {', '.join(SPLITS)}")
    uploads = [receive(value, limit=MAX_FILE) for value in (references, predictions)]
    if any(isinstance(upload.source, bytes) for upload in uploads):
        raise UserError("references and predictions must be uploaded as files")
    references_file, predictions_file = (Path(str(upload.source)) for upload in uploads)
    dataset = read_references(references_file)
    examples, chosen = choose_split(dataset, None if split == "automatic" else split)
    captions = read_predictions(
        predictions_file, examples, others=dataset.examples, allow_missing=bool(allow_missing)
    )
    captioned = [example for example in examples if str(example.image_id) in captions]
    report = judge(
        captions,
        captioned,
        data=uploads[0].name,
        split=chosen,
        decoding=uploads[1].name,
        missing=len(examples) - len(captioned),
        java=False,
    )
    return Scored(report, captioned, captions)
