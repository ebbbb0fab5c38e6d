"""Scores captions against references, for the Score tab and for /score; and a sample of both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner import Decoding, ImageError
from captioner.data.annotations import Example
from captioner.data.images import open_image
from captioner.evaluation.predictions import read_predictions
from captioner.evaluation.references import choose_split, read_references
from captioner.evaluation.report import Report, judge
from rnnkit.errors import UserError, either
from webui.example_photos import EXAMPLES
from webui.html import thumbnail_url
from webui.uploads import MAX_FILE, Upload, new_folder, receive
from webui.workers import CaptionWorker, decoding_turn

SPLITS = ("automatic", "test", "val", "train", "all")
THUMBNAIL = 144  # pixels; drawn half as wide


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
        raise UserError(f"the split must be {either(SPLITS)}")
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


def photos_by_name(photos: Any) -> dict[str, Upload]:
    """Uploaded photos by their file's name and by its stem."""
    uploads = [receive(photo) for photo in photos or ()]
    stems = {Path(upload.name).stem: upload for upload in uploads}
    return stems | {upload.name: upload for upload in uploads}


def thumbnail_of(photos: Mapping[str, Upload], example: Example) -> str | None:
    """The data URL of an example's photo, if there is one that can be read."""
    names = (example.path.name, str(example.image_id), example.path.stem)
    upload = next((photos[name] for name in names if name in photos), None)
    if upload is None:
        return None
    try:
        with decoding_turn(upload.source):
            picture = open_image(upload.source, size=(THUMBNAIL, THUMBNAIL))
    except ImageError:
        return None
    return thumbnail_url(picture, THUMBNAIL)


def sample_files(worker: CaptionWorker) -> tuple[str, str, list[str]]:
    """References and predictions of the example photos, and the photos: what people said, and what
    the captioner says now.
    """
    photos = [example.lend() for example in EXAMPLES]
    run = object()
    captions = [worker.caption(photo, Decoding(), run=run)[0].text for photo in photos]
    numbers = range(1, len(EXAMPLES) + 1)
    references = {
        "images": [
            {"id": number, "file_name": photo.name}
            for number, photo in zip(numbers, photos, strict=True)
        ],
        "annotations": [
            {"image_id": number, "caption": reference}
            for number, example in zip(numbers, EXAMPLES, strict=True)
            for reference in example.references
        ],
    }
    predictions = [
        {"image_id": number, "caption": caption}
        for number, caption in zip(numbers, captions, strict=True)
    ]
    folder = new_folder()
    paths = folder / "references.json", folder / "predictions.json"
    for path, content in zip(paths, (references, predictions), strict=True):
        path.write_text(json.dumps(content, indent=2), encoding="utf-8")
    return str(paths[0]), str(paths[1]), [str(photo) for photo in photos]
