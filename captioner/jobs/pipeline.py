"""Many photos to rows: decoded by threads, captioned in batches; one bad photo is one row."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from torch import Tensor

from captioner.captioner import Captioner
from captioner.data.images import ImageError
from captioner.types import CaptionResult, Decoding, EncodedPicture

# Batches in hand: one is searched while the next is encoded and the one after that is decoded.
BATCHES_HELD = 3
Encoded = tuple[
    list[str | None], Tensor | None
]  # for each photo None or its error; the features (B, R, C) of those without


def caption_photos(
    captioner: Captioner,
    photos: Iterable[Path | EncodedPicture],
    decoding: Decoding,
    *,
    batch_size: int = 32,
    workers: int = 2,
) -> Iterator[list[CaptionResult]]:
    """Rows of photos in their order, a batch at a time.

    Three stages work at the same time, each on another batch: `workers` threads decode and resize,
    one thread runs the encoder, and the caller's thread searches for sentences. At most three
    batches are held, so memory does not grow with the number of photos, which may come from an
    iterator.

    Args:
        batch_size: photos computed at once.
        workers: threads that decode photos while others are computed.
    """
    coming = iter(photos)
    pool, encoder = ThreadPoolExecutor(workers, "decode"), ThreadPoolExecutor(1, "encode")

    def start(batch: list[Path | EncodedPicture]) -> Future[Encoded]:
        pixels = [pool.submit(_prepare, captioner, photo) for photo in batch]
        return encoder.submit(_encode, captioner, pixels)

    held: deque[tuple[list[Path | EncodedPicture], Future[Encoded]]] = deque()
    try:
        while True:
            while len(held) < BATCHES_HELD and (batch := list(islice(coming, batch_size))):
                held.append((batch, start(batch)))
            if not held:
                return
            batch, encoded = held.popleft()
            errors, features = encoded.result()
            captions = iter(
                captioner.caption_features(features, decoding) if features is not None else []
            )
            yield [
                CaptionResult(path, error=error)
                if error is not None
                else CaptionResult(path, tuple(next(captions)))
                for path, error in zip(map(_path, batch), errors, strict=True)
            ]
    finally:  # also where the caller stops early
        for executor in (pool, encoder):
            executor.shutdown(cancel_futures=True)


def default_workers() -> int:
    """Threads for decoding: one a core, at most eight."""
    return min(8, os.cpu_count() or 1)


def _path(photo: Path | EncodedPicture) -> Path:
    return photo.path if isinstance(photo, EncodedPicture) else photo


def _prepare(captioner: Captioner, photo: Path | EncodedPicture) -> np.ndarray | str:
    """Pixels for the encoder, or the reason why there are none."""
    try:
        return captioner.prepare(photo.data if isinstance(photo, EncodedPicture) else photo)
    except ImageError as error:
        return error.reason


def _encode(captioner: Captioner, prepared: Sequence[Future[np.ndarray | str]]) -> Encoded:
    found = [future.result() for future in prepared]
    usable = [pixels for pixels in found if not isinstance(pixels, str)]
    errors = [pixels if isinstance(pixels, str) else None for pixels in found]
    return errors, captioner.encode(np.stack(usable)) if usable else None
