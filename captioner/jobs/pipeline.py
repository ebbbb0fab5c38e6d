"""Many photos to rows: decoded by threads, captioned in batches; one bad photo is one row."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from captioner.data.images import ImageError
from captioner.outputs.text_around import TextAround
from captioner.types import Caption, CaptionResult, Decoding, EncodedPicture
from rnnkit.errors import UserError

Features = TypeVar("Features")
Encoded = TypeVar("Encoded", covariant=True)
Photo = Path | EncodedPicture

# Batches in hand: one is searched while the next is encoded and the one after that is decoded.
BATCHES_HELD = 3


class PhotoEncoder(Protocol[Encoded]):
    """What the first two stages need of a captioner."""

    def prepare(self, photo: Path | bytes, /) -> np.ndarray:
        """Pixels (size, size, 3) uint8; called from several threads.

        Raises: ImageError.
        """

    def encode(self, pixels: np.ndarray, /) -> Encoded:
        """What is captioned, from pixels (B, size, size, 3); called from one thread."""


class BatchCaptioner(PhotoEncoder[Features], Protocol[Features]):
    """What the pipeline needs of a captioner: one method for each stage."""

    def caption_features(self, features: Features, decoding: Decoding, /) -> list[list[Caption]]:
        """For each of the B photos its captions, best first."""


def caption_photos(
    captioner: BatchCaptioner[Features],
    photos: Iterable[Photo],
    decoding: Decoding,
    *,
    batch_size: int = 32,
    workers: int = 2,
    min_confidence: float | None = None,
    text_around: TextAround = TextAround(),  # noqa: B008 - it cannot be changed
) -> Iterator[list[CaptionResult]]:
    """Rows of photos in their order, a batch at a time.

    The caller's thread searches for sentences while `encode_photos` encodes the next batches.

    Args:
        batch_size: photos computed at once.
        workers: threads that decode photos while others are computed.
        min_confidence: photos whose best caption is less sure than this are marked unsure.
        text_around: what is put around every caption.
    """
    encoded = encode_photos(captioner, photos, batch_size=batch_size, workers=workers)
    with closing(encoded):
        for batch, errors, features in encoded:
            captions: list[list[Caption]] = []
            if features is not None:
                captions = [
                    [text_around.around(caption) for caption in group]
                    for group in captioner.caption_features(features, decoding)
                ]
            yield _results(batch, errors, captions, min_confidence or 0)


def encode_photos(
    encoder: PhotoEncoder[Features],
    photos: Iterable[Photo],
    *,
    batch_size: int = 32,
    workers: int = 2,
) -> Generator[tuple[list[Photo], list[str | None], Features | None], None, None]:
    """Features of photos in their order, a batch at a time.

    Stages work at the same time, each on another batch: `workers` threads decode and resize, one
    thread runs the encoder, and the caller does what it does. At most three batches are held, so
    memory does not grow with the number of photos, which may come from an iterator.

    Yields: the photos of a batch; for each of them None, or the reason why it cannot be used; the
        features of those that can, or None if none can.
    Raises: UserError if batch_size is less than 1.
    """
    if batch_size < 1:
        raise UserError(f"batch-size must be at least 1, not {batch_size}")
    coming = iter(photos)
    pool, second = ThreadPoolExecutor(workers, "decode"), ThreadPoolExecutor(1, "encode")

    def prepare(photo: Photo) -> np.ndarray | str:
        """Pixels for the encoder, or the reason why there are none."""
        try:
            return encoder.prepare(photo.data if isinstance(photo, EncodedPicture) else photo)
        except ImageError as error:
            return error.reason

    def encode(futures: list[Future[np.ndarray | str]]) -> tuple[list[str | None], Features | None]:
        """For each photo None or its error, and the features of the photos without errors."""
        prepared = [future.result() for future in futures]
        usable = [pixels for pixels in prepared if not isinstance(pixels, str)]
        errors = [pixels if isinstance(pixels, str) else None for pixels in prepared]
        return errors, encoder.encode(np.stack(usable)) if usable else None

    held: deque[tuple[list[Photo], Future[tuple[list[str | None], Features | None]]]] = deque()
    try:
        while True:
            while len(held) < BATCHES_HELD and (batch := list(islice(coming, batch_size))):
                pixels = [pool.submit(prepare, photo) for photo in batch]
                held.append((batch, second.submit(encode, pixels)))
            if not held:
                return
            batch, encoded = held.popleft()
            errors, features = encoded.result()
            yield batch, errors, features
    finally:  # also if the caller stops early
        for executor in (pool, second):
            executor.shutdown(cancel_futures=True)


def _results(
    batch: Sequence[Photo],
    errors: Sequence[str | None],
    captions: Iterable[list[Caption]],
    min_confidence: float,
) -> list[CaptionResult]:
    """The results of a batch; captions are those of the photos without errors."""
    coming = iter(captions)
    results = []
    for photo, error in zip(batch, errors, strict=True):
        path, source = (photo.path, photo) if isinstance(photo, EncodedPicture) else (photo, None)
        own = () if error is not None else tuple(next(coming))
        sure = own[0].confidence if own else None
        unsure = sure is not None and sure < min_confidence
        results.append(CaptionResult(path, own, error, source, unsure))
    return results


def default_workers() -> int:
    """Threads for decoding: one for each core, at most eight."""
    return min(8, os.cpu_count() or 1)
