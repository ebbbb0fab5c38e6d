"""Reads captions to judge from COCO results, jsonl, csv, tsv or plain text."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.data.annotations import Example, image_id
from captioner.data.columns import CAPTIONS, IMAGE_FILES, IMAGE_IDS, STATUS, column, read_csv
from captioner.data.text_files import read_text
from rnnkit.errors import UserError, problem
from rnnkit.metrics.tokenizer import tokenize

IMAGES = IMAGE_IDS + IMAGE_FILES


@dataclass(frozen=True)
class _Prediction:
    image: str  # an id, a file's path, or for plain text the number of the line
    caption: str | None  # None where captioning failed or is unsure
    place: str  # where in the file it is
    unsure: bool = False  # why there is no caption


def read_predictions(
    path: Path,
    examples: Sequence[Example],
    *,
    others: Sequence[Example] = (),
    allow_missing: bool = False,
) -> dict[str, str]:
    """Captions by image id, for the examples.

    COCO results ([{"image_id", "caption"}, ...]), jsonl, csv and tsv (what `captioner caption`
    writes) are matched by image id or the name of the photo's file; plain text, a caption a line,
    by its order.

    Args:
        others: images that are not judged and may have captions too (other splits).
        allow_missing: an image may have no caption.

    Raises: UserError for a file in none of these formats; images with two captions; captions that
        are empty, or of images that are not in the references; images without a caption.
    """
    predictions = _read(path, examples)
    ids = _Images([*examples, *others])
    judged = {str(example.image_id) for example in examples}
    captions: dict[str, str] = {}
    places: dict[str, str] = {}
    unknown: list[str] = []
    failed: set[str] = set()
    unsure: set[str] = set()
    for prediction in predictions:
        image = ids.find(prediction.image)
        if image is None:
            if prediction.caption is not None:
                unknown.append(f"'{prediction.image}' ({prediction.place})")
        elif prediction.caption is None:
            (unsure if prediction.unsure else failed).add(image)
        elif image in places:
            raise UserError(
                f"'{path}' has two captions for image {image} ({places[image]} and"
                f" {prediction.place})",
                hint="keep one",
            )
        else:
            places[image] = prediction.place
            if image in judged:
                captions[image] = prediction.caption
    if unknown:
        few = ", ".join(unknown[:3])
        raise UserError(
            f"'{path}' has captions of images that are not in the references ({len(unknown)}), for"
            f" example {few}"
        )
    empty = [image for image, caption in captions.items() if not tokenize(caption)]
    if empty:
        raise UserError(
            f"'{path}' has captions without a word ({len(empty)}), for example of image {empty[0]}"
            f" ({places[empty[0]]})",
            hint="correct them, or take them out and use --allow-missing",
        )
    missing = [
        str(example.image_id) for example in examples if str(example.image_id) not in captions
    ]
    if missing and not allow_missing:
        raise _missing(path, missing, len(examples), {"failed": failed, "unsure": unsure})
    return {
        str(example.image_id): captions[str(example.image_id)]
        for example in examples
        if str(example.image_id) in captions
    }


def _missing(
    path: Path, missing: Sequence[str], images: int, marked: Mapping[str, set[str]]
) -> UserError:
    """The error for images without a caption.

    Args:
        marked: by status, images that the file says have none.
    """
    counts = {status: len(having.intersection(missing)) for status, having in marked.items()}
    told = [f"{count} marked as {status}" for status, count in counts.items() if count]
    why = f" ({', '.join(told)})" if told else ""
    return UserError(
        f"'{path}' has no captions for {len(missing)} of {images} images, for example"
        f" {', '.join(missing[:3])}{why}",
        hint="use --split if it is of another split, or --allow-missing to score the rest",
    )


class _Images:
    """Finds an image's id from what a file calls it."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._ids = {str(example.image_id) for example in examples}
        self._names: dict[str, str | None] = {}
        for example in examples:
            # A name that two images have, in two folders, identifies neither.
            name, number = example.path.name, str(example.image_id)
            self._names[name] = number if self._names.get(name, number) == number else None

    def find(self, image: str) -> str | None:
        named = self._names.get(Path(image).name)
        candidates = (image, named, str(image_id(Path(image))))
        return next((candidate for candidate in candidates if candidate in self._ids), None)


def _read(path: Path, examples: Sequence[Example]) -> list[_Prediction]:
    text = read_text(path, "predictions")
    kind = _format(path, text)
    if kind == "text":
        return _text(path, text, examples)
    try:
        return list(_READERS[kind](text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        raise UserError(f"'{path}' is not {_NAMES[kind]} ({problem(error)})") from None


def _format(path: Path, text: str) -> str:
    """The format of the text; the ending of the name decides only where the text does not."""
    first = text.lstrip().partition("\n")[0]
    if first.startswith("["):
        return "coco"
    if first.startswith("{"):
        return "coco" if path.suffix.lower() == ".json" else "jsonl"
    cells = re.split("[,;]", first)
    if column(cells, CAPTIONS) is not None and column(cells, IMAGES) is not None:
        return "csv"
    if "\t" in first:
        return "tsv"
    return {".json": "coco", ".jsonl": "jsonl", ".csv": "csv", ".tsv": "tsv"}.get(
        path.suffix.lower(), "text"
    )


def _coco(text: str) -> Iterator[_Prediction]:
    for number, result in enumerate(json.loads(text), start=1):
        yield _Prediction(str(result["image_id"]), _caption(result["caption"]), f"entry {number}")


def _jsonl(text: str) -> Iterator[_Prediction]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            record = json.loads(line)
            image = next((record[key] for key in IMAGES if key in record), None)
            if image is None:
                raise ValueError(f"line {number} names no image: it needs image_id or path")
            status = record.get(STATUS, "ok")
            caption = next((record[key] for key in CAPTIONS if key in record), None)
            kept = _caption(caption) if status == "ok" else None
            yield _Prediction(str(image), kept, f"line {number}", status == "unsure")


def _csv(text: str) -> Iterator[_Prediction]:
    for row in read_csv(text, IMAGES):
        if row.image is None or row.caption is None:
            raise ValueError(f"line {row.line} has no image or no caption")
        kept = row.caption if row.status in ("", "ok") else None
        yield _Prediction(row.image, kept, f"line {row.line}", row.status == "unsure")


def _tsv(text: str) -> Iterator[_Prediction]:
    for number, line in enumerate(text.split("\n"), start=1):
        image, tab, caption = line.rstrip("\r").partition("\t")
        if not tab and line.strip():
            raise ValueError(f"line {number} has no tab between photo and caption")
        heading = number == 1 and image in IMAGES and caption in CAPTIONS
        if tab and not heading:
            yield _Prediction(image, caption, f"line {number}")


def _text(path: Path, text: str, examples: Sequence[Example]) -> list[_Prediction]:
    lines = text.removesuffix("\n").split("\n") if text else []
    if len(lines) != len(examples):
        raise UserError(
            f"'{path}' has {len(lines)} lines for {len(examples)} images: plain text needs a"
            " caption on each line, in the images' order"
        )
    return [
        _Prediction(str(example.image_id), line, f"line {number}")
        for number, (example, line) in enumerate(zip(examples, lines, strict=True), start=1)
    ]


def _caption(caption: Any) -> str:
    if not isinstance(caption, str):
        raise ValueError(f"a caption must be text, not {caption!r}")
    return caption


_READERS = {"coco": _coco, "jsonl": _jsonl, "csv": _csv, "tsv": _tsv}
_NAMES = {
    "coco": 'a COCO results file, [{"image_id", "caption"}, ...]',
    "jsonl": 'jsonl with {"path", "caption"} on each line',
    "csv": "csv with the columns path and caption",
    "tsv": "tsv with path<TAB>caption on each line",
}
