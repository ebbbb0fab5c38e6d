"""A contact sheet: photos with their captions on one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from captioner.data.images import ImageError, open_image
from captioner.types import Caption, CaptionResult
from rnnkit.errors import UserError
from rnnkit.files import replace_file

SIDE = 320  # pixels of a picture's longer side
_MARK = "<!DOCTYPE html>\n<!-- captioner: contact sheet -->\n"
_HEAD = """<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Captions</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem;
 padding: 0 1rem; }
ul { display: grid; gap: 1.5rem 1rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr));
 list-style: none; padding: 0; }
li { content-visibility: auto; contain-intrinsic-size: auto 20rem; }
img { background: #8883; display: block; height: 12rem; object-fit: contain; width: 100%; }
p { margin: .4rem 0 0; overflow-wrap: anywhere; }
.sure, .path { font-size: .85rem; opacity: .8; }
.sure { white-space: nowrap; }
.error { color: light-dark(#b00020, #ff8a80); }
</style></head><body>
"""


@dataclass(frozen=True)
class SheetEntry:
    """A photo with its captions, or the reason why it has none."""

    photo: Path
    captions: tuple[Caption, ...] = ()
    error: str | None = None

    @property
    def confidence(self) -> float:
        """Of the least sure caption; infinite if nobody knows."""
        return min((_sure(caption) for caption in self.captions), default=math.inf)


class Sheet:
    """Notes what a run finds out about its photos, and writes the contact sheet at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[Path, CaptionResult] = {}

    def noting(self, batches: Iterator[list[CaptionResult]]) -> Iterator[list[CaptionResult]]:
        """The same batches."""
        for rows in batches:
            self._found |= {row.path: row for row in rows}
            yield rows

    def write(
        self,
        photos: Sequence[Path],
        existing: Callable[[Sequence[Path]], Iterable[tuple[Path, tuple[Caption, ...]]]] | None,
        refused: Mapping[Path, str],
    ) -> None:
        """Write the sheet of all photos.

        Args:
            existing: reads captions from the output, where that is possible: those of earlier runs.
            refused: photos that have no place in the output, and why.
        """
        known = existing(photos) if existing is not None else ((photo, ()) for photo in photos)
        write_sheet(self._path, (self._entry(photo, old, refused) for photo, old in known))

    def _entry(
        self, photo: Path, old: tuple[Caption, ...], refused: Mapping[Path, str]
    ) -> SheetEntry:
        row = self._found.get(photo)
        new = () if row is None else row.captions
        # The run knows how sure it was; most files of captions do not.
        known = {caption.text: caption for caption in (*old, *new)}
        captions = tuple(known[caption.text] for caption in old) or new
        return SheetEntry(photo, captions, refused.get(photo, None if row is None else row.error))


def check_sheet(path: Path) -> None:
    """Raises: UserError if a file that is no contact sheet would be written over."""
    if path.exists():
        with path.open("rb") as file:
            if file.read(len(_MARK)) != _MARK.encode():
                raise UserError(
                    f"--review '{path}' exists and is no contact sheet: give another name"
                )


def write_sheet(path: Path, entries: Iterable[SheetEntry]) -> None:
    """Write the page: photos that failed first, then the others, the least sure first, and those
    that nobody knows of how sure they are last. It is written as a whole or not at all.
    """
    ordered = sorted(entries, key=lambda entry: (entry.error is None, entry.confidence))
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(_MARK + _HEAD)
        file.write(f"<h1>Captions</h1>\n<p>{_count(ordered)}</p>\n<ul>\n")
        for entry in ordered:
            file.writelines(_item(entry))
        file.write("</ul>\n</body></html>\n")


def _count(entries: Sequence[SheetEntry]) -> str:
    failed = sum(entry.error is not None for entry in entries)
    without = sum(entry.error is None and not entry.captions for entry in entries)
    parts = [f"{len(entries)} {'photo' if len(entries) == 1 else 'photos'}, the least sure first"]
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{without} without a caption"] if without else []
    return "; ".join(parts)


def _item(entry: SheetEntry) -> Iterator[str]:
    alt = entry.captions[0].text if entry.captions else "no caption"
    yield "<li>"
    picture = _picture(entry.photo)
    if picture is not None:
        yield f'<img loading="lazy" decoding="async" alt="{_escaped(alt)}" src="{picture}">'
    for caption in entry.captions:
        sure = _sure(caption)
        known = "" if sure == math.inf else f' <span class="sure">{sure:.0%} sure</span>'
        yield f"<p>{_escaped(caption.text)}{known}</p>"
    if entry.error is not None:
        yield f'<p class="error">{_escaped(entry.error)}</p>'
    elif not entry.captions:
        yield '<p class="error">no caption</p>'
    yield f'<p class="path">{_escaped(str(entry.photo))}</p></li>\n'


def _sure(caption: Caption) -> float:
    return math.inf if caption.confidence is None else caption.confidence


def _escaped(text: str) -> str:
    return html.escape(text.encode("utf-8", "backslashreplace").decode())


def _picture(photo: Path) -> str | None:
    try:
        image = open_image(photo, size=(SIDE, SIDE))
    except ImageError:
        return None
    image.thumbnail((SIDE, SIDE))
    data = BytesIO()
    image.save(data, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
