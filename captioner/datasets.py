"""Captioned photos from any of the field's formats: Karpathy's JSON, COCO annotations, Flickr8k's token file, a CSV, sidecars."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captioner.images import EXTENSIONS
from captioner.metrics import tokenize
from rnnkit.errors import UserError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """A photo and what people wrote about it."""

    path: Path
    captions: tuple[str, ...]
    split: str  # train, val or test
    image_id: int | str  # COCO's id where there is one, else the file's stem


@dataclass
class Dataset:
    """Examples, and the rows that could not be used with their reasons."""

    name: str
    examples: list[Example]
    skipped: list[tuple[str, str]] = field(default_factory=list)  # (file or row, reason)
    has_splits: bool = False  # the file names splits; otherwise photos for validation were chosen by hash

    def split(self, name: str) -> list[Example]:
        """The examples of one split."""
        return [example for example in self.examples if example.split == name]


def read_dataset(annotations: Path, images: Path | None, *, validation_fraction: float = 0.1) -> Dataset:
    """Read captions in whichever format the file is in; a folder is read as photos with .txt sidecars.

    Rows with a missing photo or without a caption are skipped, counted and named. Karpathy's "restval" counts as
    training. Where a format knows no splits, a photo is for validation by a hash of its name, the same on every run.

    Args:
        images: the folder of the photos; None to read captions only (then no photo is looked for).
        validation_fraction: share of photos held out where the format has no splits.

    Raises: UserError if the file cannot be read, its format is not known, or nothing in it is usable.
    """
    dataset = Dataset(annotations.parent.name if annotations.stem in ("dataset", "captions") else annotations.stem, [])
    groups = _read_groups(annotations)
    dataset.has_splits = any(split for _, split, _ in groups.values())
    for filename, (captions, split, image_id) in groups.items():
        path = (images if images is not None else Path()) / filename
        kept = tuple(caption.strip() for caption in captions if tokenize(caption))
        for _ in range(len(captions) - len(kept)):
            dataset.skipped.append((filename, "empty caption"))
        if not kept:
            dataset.skipped.append((filename, "no caption"))
        elif images is not None and not path.is_file():
            dataset.skipped.append((filename, "no such photo"))
        else:
            split = {"restval": "train"}.get(split, split) or _hashed_split(filename, validation_fraction)
            dataset.examples.append(Example(path, kept, split, image_id))
    if not dataset.examples:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in dataset.skipped[:3]) or "it lists no photos"
        raise UserError(f"nothing in '{annotations}' is usable ({reasons}); check --images")
    if dataset.skipped:
        shown = ", ".join(f"{name} ({reason})" for name, reason in dataset.skipped[:5])
        logger.warning("%s: %d rows skipped: %s%s", annotations, len(dataset.skipped), shown, " ..." if len(dataset.skipped) > 5 else "")
    return dataset


Groups = dict[str, tuple[list[str], str, int | str]]  # file name -> captions, split, id


def _read_groups(annotations: Path) -> Groups:
    if annotations.is_dir():
        return dict(_sidecars(annotations))
    try:
        text = annotations.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"no annotations at '{annotations}'") from None
    except UnicodeDecodeError as error:
        raise UserError(f"'{annotations}' is not UTF-8 text (byte {error.start})") from None
    try:
        if text.lstrip()[:1] in ("{", "["):
            return _json_groups(json.loads(text), annotations)
        first = text.partition("\n")[0]
        if "#" in first and "\t" in first:
            return _token_groups(text)
        if "," in first or "|" in first:
            return _csv_groups(text)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"'{annotations}' is damaged or not in a known format ({type(error).__name__}: {error})") from None
    raise UserError(
        f"'{annotations}' is in no known format: use Karpathy's or COCO's JSON, Flickr8k's token file, or a CSV with image,caption"
    )


def _json_groups(data: Any, annotations: Path) -> Groups:
    if isinstance(data, dict) and "annotations" in data:
        return _coco_groups(data)
    if isinstance(data, dict) and "images" in data:
        return _karpathy_groups(data)
    raise UserError(f"'{annotations}' is JSON but has neither 'annotations' (COCO) nor 'images' (Karpathy)")


def _karpathy_groups(data: Mapping[str, Any]) -> Groups:
    groups: Groups = {}
    for image in data["images"]:
        name = str(Path(image.get("filepath", "")) / image["filename"])
        captions = [sentence.get("raw") or " ".join(sentence.get("tokens", [])) for sentence in image.get("sentences", [])]
        groups[name] = (captions, image.get("split", ""), image.get("cocoid", Path(name).stem))
    return groups


def _coco_groups(data: Mapping[str, Any]) -> Groups:
    names = {image["id"]: image.get("file_name", f"{image['id']}.jpg") for image in data["images"]}
    groups: Groups = {name: ([], "", index) for index, name in names.items()}
    for annotation in data["annotations"]:
        if annotation["image_id"] in names:
            groups[names[annotation["image_id"]]][0].append(str(annotation.get("caption", "")))
    return groups


def _token_groups(text: str) -> Groups:
    groups: Groups = {}
    for line in text.splitlines():
        key, _, caption = line.partition("\t")
        name = key.rpartition("#")[0]
        if name:
            groups.setdefault(name, ([], "", Path(name).stem))[0].append(caption)
    return groups


def _csv_groups(text: str) -> Groups:
    lines = text.splitlines()
    rows = csv.reader(lines, delimiter="|" if lines[0].count("|") > lines[0].count(",") else ",", skipinitialspace=True)
    header = [cell.strip().lower() for cell in next(rows)]
    image = next((index for index, cell in enumerate(header) if cell in ("image", "image_name", "filename", "file_name", "path")), None)
    caption = next((index for index, cell in enumerate(header) if cell in ("caption", "comment", "text")), None)
    if image is None or caption is None:
        raise ValueError(f"the first line must name the columns image and caption, not {lines[0]!r}")
    groups: Groups = {}
    for row in rows:
        if row:
            name = row[image].strip()
            groups.setdefault(name, ([], "", Path(name).stem))[0].append(row[caption].strip() if len(row) > caption else "")
    return groups


def _sidecars(folder: Path) -> Iterator[tuple[str, tuple[list[str], str, int | str]]]:
    for path in sorted(folder.iterdir()):
        sidecar = path.with_suffix(".txt")
        if path.suffix.lower() in EXTENSIONS and sidecar.is_file():
            yield path.name, (sidecar.read_text(encoding="utf-8", errors="replace").splitlines(), "", path.stem)


def _hashed_split(name: str, fraction: float) -> str:
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return "val" if number < fraction * 2**32 else "train"
