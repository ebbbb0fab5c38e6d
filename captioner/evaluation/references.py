"""References to judge captions by, and the split of them that is judged."""

from __future__ import annotations

import re
from pathlib import Path

from captioner.data.annotations import Dataset, Example, read_dataset
from captioner.data.columns import IMAGE_FILES, column
from captioner.data.text_files import read_text
from rnnkit.errors import UserError
from rnnkit.metrics.tokenizer import tokenize


def read_references(path: Path) -> Dataset:
    """What `read_dataset` reads, and plain text: a line for each image, with tabs between its
    references; the image's id is the line's number.

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
                f"line {number} of '{path}' has no reference: each line is for an image, with tabs"
                " between its references"
            )
        examples.append(Example(Path(str(number)), captions, "test", number))
    return Dataset(path.stem, examples)


def _plain_lines(path: Path) -> list[str] | None:
    """The lines of a file of plain text; None for a folder or a file in any other format."""
    if path.is_dir() or path.suffix.lower() in (".json", ".csv", ".tsv"):
        return None
    text = read_text(path, "annotations")
    first = text.partition("\n")[0]
    is_json = text.lstrip()[:1] in ("{", "[")
    is_token_file = re.match(r"[^\t]+#\d+\t", first) is not None
    is_csv = column(re.split(r"[,;|]", first), IMAGE_FILES) is not None
    if not text.strip() or is_json or is_token_file or is_csv:
        return None
    return text.removesuffix("\n").split("\n")


def choose_split(dataset: Dataset, split: str | None) -> tuple[list[Example], str]:
    """The examples to judge, and the name of their split.

    Args:
        split: train, val, test or all; None for test if the file names splits, otherwise all.

    Raises: UserError if the split has no examples.
    """
    chosen = split or ("test" if dataset.has_splits else "all")
    if chosen == "all":
        return dataset.examples, chosen
    if not dataset.has_splits:
        raise UserError(
            f"'{dataset.name}' has no split '{chosen}', because its format names none",
            hint="use --split all",
        )
    examples = dataset.split(chosen)
    if not examples:
        sizes = {name: len(dataset.split(name)) for name in ("train", "val", "test")}
        counts = ", ".join(f"{name} {size}" for name, size in sizes.items() if size)
        raise UserError(f"'{dataset.name}' has no split '{chosen}' (it has {counts})")
    return examples, chosen
