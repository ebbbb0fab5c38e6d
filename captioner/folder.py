"""Many photos to rows: found in a stable order, decoded by threads, captioned in batches; one bad photo is one row."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from captioner.images import EXTENSIONS, ImageError
from captioner.model import Caption, Captioner, Decoding
from rnnkit.errors import UserError


@dataclass(frozen=True)
class Row:
    """What became of one photo: captions, best first, or the reason why there are none."""

    path: Path
    captions: tuple[Caption, ...] = ()
    error: str | None = None


def find_photos(paths: Sequence[str], *, recursive: bool = False) -> list[Path]:
    """The photos meant by paths, each an image, a folder or a glob; a folder's are sorted by name.

    Args:
        recursive: look into folders inside folders too.

    Raises: UserError naming a path at which nothing is, or a folder without photos.
    """
    found: list[Path] = []
    for text in paths:
        path = Path(text)
        if path.is_dir():
            inside = sorted(file for file in (path.rglob("*") if recursive else path.iterdir()) if _is_photo(file))
            if not inside:
                deeper = "" if recursive else "; folders inside need --recursive"
                raise UserError(f"no photos in '{path}' (looked for {', '.join(sorted(EXTENSIONS))}{deeper})")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            matches = [Path(match) for match in sorted(glob.glob(text, recursive=recursive))]  # noqa: PTH207 - absolute patterns too
            files = [match for match in matches if match.is_file()]
            if not files:
                raise UserError(f"nothing at '{text}': give an image, a folder or a glob")
            found += files
    return list(dict.fromkeys(found))


def caption_photos(
    captioner: Captioner, photos: Sequence[Path], decoding: Decoding, *, batch_size: int = 32, workers: int = 2
) -> Iterator[list[Row]]:
    """Rows of photos in their order, a batch at a time.

    Args:
        batch_size: photos computed at once.
        workers: threads that decode photos while others are computed.

    At most three batches are held at a time, so memory does not grow with the number of photos.
    """

    def prepare(photo: Path) -> np.ndarray | str:
        try:
            return captioner.prepare(photo)
        except ImageError as error:
            return error.reason

    batches = [photos[start : start + batch_size] for start in range(0, len(photos), batch_size)]
    with ThreadPoolExecutor(workers) as pool:
        ahead = [[pool.submit(prepare, photo) for photo in batch] for batch in batches[:2]]
        for number, batch in enumerate(batches):
            if number + 2 < len(batches):
                ahead.append([pool.submit(prepare, photo) for photo in batches[number + 2]])
            prepared = [future.result() for future in ahead.pop(0)]
            usable = [pixels for pixels in prepared if not isinstance(pixels, str)]
            captions = iter(captioner.caption_pixels(np.stack(usable), decoding) if usable else [])
            yield [
                Row(photo, error=pixels) if isinstance(pixels, str) else Row(photo, tuple(next(captions)))
                for photo, pixels in zip(batch, prepared, strict=True)
            ]


def default_workers() -> int:
    """Threads for decoding: one a core, at most eight."""
    return min(8, os.cpu_count() or 1)


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and path.is_file() and not path.name.startswith(".")
