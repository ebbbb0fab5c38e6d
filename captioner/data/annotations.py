"""Reads captioned photos: Karpathy's and COCO's JSON, Flickr8k's token file, CSV, sidecars."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from captioner.data.columns import IMAGE_FILES, read_csv
from captioner.data.images import EXTENSIONS
from captioner.data.text_files import read_text
from rnnkit.errors import UserError, problem
from rnnkit.metrics.tokenizer import tokenize

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """A photo and what people wrote about it."""

    path: Path
    captions: tuple[str, ...]
    split: str  # train, val or test
    image_id: int | str  # COCO's id if it has one, or else the file's stem


@dataclass
class Dataset:
    """Examples, and the rows that could not be used with their reasons."""

    name: str
    examples: list[Example]
    skipped: list[tuple[str, str]] = field(default_factory=list)  # (file or row, reason)
    has_splits: bool = False  # otherwise photos for validation were chosen by hash

    def split(self, name: str) -> list[Example]:
        """The examples of one split."""
        return [example for example in self.examples if example.split == name]


def with_names_of_their_own(datasets: Sequence[Dataset]) -> Sequence[Dataset]:
    """Data sets that are numbered if two have one name, because scores are kept by name."""
    if len({dataset.name for dataset in datasets}) == len(datasets):
        return datasets
    return [replace(d, name=f"{d.name}-{number}") for number, d in enumerate(datasets, 1)]


def image_id(path: Path) -> int | str:
    """COCO's id of a photo: the file's stem, as an integer if it is one.

    COCO_val2014_000000000042.jpg gives 42.
    """
    number = re.fullmatch(r"(?:COCO_\w+?_)?([0-9]+)", path.stem)
    return int(number[1]) if number else path.stem


def photo_path(images: Path, name: str, *, absolute_names: bool = False) -> Path:
    """Where a photo is that a data set names: in the folder of its photos.

    Args:
        absolute_names: follow an absolute name that leads elsewhere, too.

    Raises: ValueError saying why a name is not followed.
    """
    path = Path(os.path.normpath(name))
    if path.anchor:
        if absolute_names or path.is_relative_to(os.path.abspath(images)):  # noqa: PTH100
            return path
        raise ValueError("an absolute name outside of --images, which needs --absolute-names")
    if path.parts[:1] == ("..",):
        raise ValueError("its name leads outside of --images")
    return images / path


def read_dataset(
    annotations: Path,
    images: Path | None,
    *,
    validation_fraction: float = 0.1,
    absolute_names: bool = False,
) -> Dataset:
    """Read captions in whichever format they are; a folder is read as photos with sidecars.

    Rows without a caption, or whose photo is missing or outside of `images`, are skipped, counted
    and named. Karpathy's "restval" counts as training. If a format has no splits, a hash of a
    photo's name decides whether it is for validation, the same on every run.

    Args:
        images: the folder of the photos; None to read captions only, and look for no photo.
        validation_fraction: share of photos held out if the format has no splits.
        absolute_names: follow absolute names of photos, wherever they lead.

    Raises: UserError if the file cannot be read, its format is unknown, it lists a photo twice
        with different captions, or nothing in it is usable.
    """
    where = annotations.resolve()
    dataset = Dataset(
        where.parent.name if where.stem in ("dataset", "captions") else where.stem, []
    )
    groups = _read_groups(annotations, dataset.skipped)
    dataset.has_splits = any(split for _, split, _ in groups.values())
    for filename, (captions, split, number) in groups.items():
        path, astray = Path(filename), ""
        if images is not None:
            try:
                path = photo_path(images, filename, absolute_names=absolute_names)
            except ValueError as error:
                astray = str(error)
        kept = tuple(" ".join(caption.split()) for caption in captions if tokenize(caption))
        for _ in range(len(captions) - len(kept)):
            dataset.skipped.append((filename, "empty caption"))
        split = _SPLITS.get(split, split)
        if not kept:
            dataset.skipped.append((filename, "no caption"))
        elif split not in ("", "train", "val", "test"):
            dataset.skipped.append((filename, f"unknown split '{split}'"))
        elif astray:
            dataset.skipped.append((filename, astray))
        elif images is not None and not path.is_file():
            dataset.skipped.append((filename, "no such photo"))
        else:
            dataset.examples.append(
                Example(path, kept, split or _hashed_split(filename, validation_fraction), number)
            )
    if not dataset.examples:
        reasons = (
            "; ".join(f"{name}: {reason}" for name, reason in dataset.skipped[:3])
            or "it lists no photos"
        )
        raise UserError(f"nothing in '{annotations}' is usable ({reasons})", hint="check --images")
    if dataset.skipped:
        shown = ", ".join(f"{name} ({reason})" for name, reason in dataset.skipped[:5])
        logger.warning(
            "%s: %d rows skipped: %s%s",
            annotations,
            len(dataset.skipped),
            shown,
            " ..." if len(dataset.skipped) > 5 else "",
        )
    return dataset


Groups = dict[str, tuple[list[str], str, int | str]]  # file name -> captions, split, id
Skipped = list[tuple[str, str]]  # rows of no photo, with the reason
_SPLITS = {"restval": "train", "dev": "val", "valid": "val", "validation": "val"}


def _read_groups(annotations: Path, skipped: Skipped) -> Groups:
    if annotations.is_dir():
        return dict(_sidecars(annotations))
    text = read_text(annotations, "annotations")
    try:
        if text.lstrip()[:1] in ("{", "["):
            return _json_groups(json.loads(text), annotations, skipped)
        first = text.partition("\n")[0]
        if "#" in first and "\t" in first:
            return _token_groups(text, skipped)
        if any(mark in first for mark in ",;|"):
            return _csv_groups(text, skipped)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError, csv.Error) as error:
        raise UserError(
            f"'{annotations}' is damaged or not in a known format ({problem(error)})"
        ) from None
    raise UserError(
        f"'{annotations}' is not in a known format: use Karpathy's or COCO's JSON, Flickr8k's token"
        " file, or a CSV with image,caption"
    )


def _json_groups(data: Any, annotations: Path, skipped: Skipped) -> Groups:
    if isinstance(data, dict) and "annotations" in data:
        return _coco_groups(data, annotations, skipped)
    if isinstance(data, dict) and "images" in data:
        return _karpathy_groups(data, annotations)
    raise UserError(
        f"'{annotations}' is JSON but has neither 'annotations' (COCO) nor 'images' (Karpathy)"
    )


def _karpathy_groups(data: Mapping[str, Any], annotations: Path) -> Groups:
    groups: Groups = {}
    for image in data["images"]:
        path = Path(image.get("filepath", "")) / image["filename"]
        captions = [
            str(sentence.get("raw") or " ".join(sentence.get("tokens", [])))
            for sentence in image.get("sentences", [])
        ]
        group = (captions, str(image.get("split", "")), image.get("cocoid", image_id(path)))
        if groups.setdefault(str(path), group) != group:
            raise UserError(
                f"'{annotations}' lists '{path}' twice, with different captions, splits or ids:"
                " keep one of them"
            )
    return groups


def _coco_groups(data: Mapping[str, Any], annotations: Path, skipped: Skipped) -> Groups:
    names: dict[int | str, str] = {}
    groups: Groups = {}
    for image in data["images"]:
        number, name = image["id"], image.get("file_name", f"{image['id']}.jpg")
        if not isinstance(name, str):
            raise ValueError(f"the file_name of image {number} must be text, not {name!r}")
        if names.setdefault(number, name) != name:
            raise UserError(
                f"'{annotations}' gives image {number} two files, '{names[number]}' and '{name}':"
                " keep one of them"
            )
        if (other := groups.setdefault(name, ([], "", number))[2]) != number:
            raise UserError(
                f"'{annotations}' gives '{name}' two ids, {other} and {number}: keep one of them"
            )
    for annotation in data["annotations"]:
        number = annotation["image_id"]
        if number in names:
            groups[names[number]][0].append(str(annotation.get("caption") or ""))
        else:
            skipped.append((f"caption of image {number}", "the file lists no such image"))
    return groups


def _token_groups(text: str, skipped: Skipped) -> Groups:
    groups: Groups = {}
    for number, line in enumerate(text.split("\n"), start=1):
        key, tab, caption = line.partition("\t")
        name = key.rpartition("#")[0]
        if name and tab:
            groups.setdefault(name, ([], "", image_id(Path(name))))[0].append(caption)
        elif line.strip():
            skipped.append((f"line {number}", "not photo.jpg#0, tab, caption"))
    return groups


def _csv_groups(text: str, skipped: Skipped) -> Groups:
    groups: Groups = {}
    for row in read_csv(text, IMAGE_FILES):
        name = (row.image or "").strip()
        if name:
            captions, _, _ = groups.setdefault(name, ([], "", image_id(Path(name))))
            captions.append(row.caption or "")
        else:
            skipped.append((f"line {row.line}", "names no photo"))
    return groups


def _sidecars(folder: Path) -> Iterator[tuple[str, tuple[list[str], str, int | str]]]:
    for path in sorted(folder.iterdir()):
        sidecar = path.with_suffix(".txt")
        if path.suffix.lower() in EXTENSIONS and sidecar.is_file():
            captions = sidecar.read_text(encoding="utf-8-sig", errors="replace").strip().split("\n")
            yield path.name, (captions, "", image_id(path))


def _hashed_split(name: str, fraction: float) -> str:
    number = int.from_bytes(
        hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:4], "big"
    )
    return "val" if number < fraction * 2**32 else "train"
