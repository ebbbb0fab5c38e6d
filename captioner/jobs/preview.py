"""What a run would do, and which captions there are already; nothing is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from captioner.data.path_list import PathList
from captioner.jobs.progress import Summary, print_status
from captioner.outputs.text_around import TextAround
from captioner.outputs.text_formats import ROW_FORMATS
from captioner.types import Caption, CaptionResult


def print_plan(
    photos: PathList, todo: object, summary: Summary, refused: Mapping[Path, str]
) -> None:
    """Print a line for each photo; of the failures only missing photos are known, and those that
    are refused.
    """
    names = {str(photo) for photo in todo} if isinstance(todo, Sequence) else set(photos.names)
    unfit = {str(photo) for photo in refused}
    missing = 0
    for name in photos.names:
        if name in unfit:
            action = "fail"
        elif name not in names:
            action = "skip"
        elif os.path.exists(name):  # noqa: PTH110 - Path's raises for some names
            action = "caption"
        else:
            action = "fail"
            missing += 1
            summary.count(Path(name), "no such file")
        print(f"{action}\t{_shown(Path(name))}")
    failing = f", fail {missing + len(unfit)}" if missing or unfit else ""
    skipped = len(photos) - len(names) - len(unfit)
    print_status(f"would caption {len(names) - missing}, skip {skipped}{failing}; nothing was done")


def print_sample(
    row: CaptionResult, text_around: TextAround, old: Sequence[Caption], place: str
) -> None:
    """Print on stderr what the captions of a photo would be.

    Args:
        row: as the captioner gives it.
        old: captions that the photo has already and keeps.
        place: where the new ones would be, "before" or "after" the old ones.
    """
    if row.error is not None:
        print_status(f"{row.path}: {row.error}")
    for caption in row.captions:
        becomes = text_around.around(caption).text
        shown = f"'{caption.text}'"
        if becomes != caption.text:
            shown += f" would become '{becomes}'"
        if old:
            shown += f", {place} {', '.join(repr(other.text) for other in old)}"
        print_status(f"for example, {_shown(row.path)}: {shown}")


def print_existing(found: Iterable[tuple[Path, tuple[Caption, ...]]], photos: int) -> None:
    """Print a line of tsv for each caption, and one that ends after the tab for a photo without."""
    having = total = 0
    for photo, captions in found:
        having, total = having + bool(captions), total + len(captions)
        for text in [caption.text for caption in captions] or [""]:
            print(f"{_shown(photo)}\t{text}")
    print_status(f"photos with captions: {having} of {photos}; captions: {total}")


def _shown(photo: Path) -> str:
    return ROW_FORMATS["tsv"].key(photo)
