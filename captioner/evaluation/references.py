"""References to judge captions by, and the split of them that is judged."""

from __future__ import annotations

import re
from pathlib import Path

from captioner.data.annotations import Dataset, Example, read_dataset
from captioner.metrics.scores import tokenize
from rnnkit.errors import UserError


def read_references(path: Path) -> Dataset:
    """What `read_dataset` reads, and plain text: a line an image, with tabs between its references;
    the id is the line's number.

    Raises: UserError as `read_dataset` does, or naming a line of plain text without a reference.
    """
    lines = _plain_lines(path)
    if lines is None:
        return read_dataset(path, None)
    examples = []
    for number, line in enumerate(lines, start=1):
        captions = tuple(
            " ".join(caption.split()) for caption in line.split("\t") if tokenize(caption)
        )
        if not captions:
            raise UserError(
                f"line {number} of '{path}' has no reference: a line is an image, tabs stand"
                " between its references"
            )
        examples.append(Example(Path(str(number)), captions, "test", number))
    return Dataset(path.stem, examples)


def _plain_lines(path: Path) -> list[str] | None:
    """The lines of a file of plain text; None for any other file or folder, and for one that cannot
    be read.
    """
    try:
        text = (
            ""
            if path.suffix.lower() in (".json", ".csv", ".tsv")
            else path.read_text(encoding="utf-8-sig")
        )
    except (OSError, UnicodeDecodeError):
        return None
    first = text.partition("\n")[0]
    cells = {cell.strip().lower() for cell in re.split(r"[,|]", first)}
    token_file = re.match(r"[^\t]+#\d+\t", first)
    if (
        not text.strip()
        or text.lstrip()[0] in "[{"
        or token_file
        or cells & {"image", "image_name", "filename", "file_name", "path"}
    ):
        return None
    return text.removesuffix("\n").split("\n")


def choose_split(dataset: Dataset, split: str | None) -> tuple[list[Example], str]:
    """The examples to judge on.

    Args:
        split: train, val, test or all; None takes test where the file names splits, else
            everything.

    Raises: UserError if the split has no examples.
    """
    chosen = split or ("test" if dataset.has_splits else "all")
    examples = (
        dataset.examples if chosen == "all" else dataset.split(chosen) if dataset.has_splits else []
    )
    if not examples:
        counts = ", ".join(
            f"{name} {len(dataset.split(name))}"
            for name in ("train", "val", "test")
            if dataset.split(name)
        )
        known = (
            f"it has {counts}"
            if dataset.has_splits
            else "its format names no splits: use --split all"
        )
        raise UserError(f"'{dataset.name}' has no split '{chosen}' ({known})")
    return examples, chosen
