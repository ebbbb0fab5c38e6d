"""The two models, loaded once for all visitors: never two forwards of one at a time, and waiting
photos share a batch.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch

from captioner import Caption, Captioner, Decoding
from captioner.data.images import LARGE_PIXELS, Source, pixel_count
from charlm import CharLM
from charlm.analysis.comparison_cells import load_cells
from rnnkit.errors import UserError

logger = logging.getLogger(__name__)
Model = TypeVar("Model")

PHOTOS_AT_ONCE = 32
# Searching sentences costs half as much a photo for 16 photos as for 4, and a computation while
# other photos are being received holds up both. So a batch waits until as many are there as were
# answered last, for their senders are likely to send the next; for as long as the last batch took
# and no longer than this. One who was alone does not wait.
LONGEST_WAIT = 0.5  # seconds
_LARGE = threading.BoundedSemaphore(2)  # very large pictures decoded at a time


@dataclass(eq=False)  # a job is itself and no other, whatever its pixels
class _Job:
    pixels: np.ndarray  # (B, size, size, 3) uint8
    decoding: Decoding
    attention: bool
    done: Future[list[list[Caption]]] = field(default_factory=Future)

    def fits(self, other: _Job) -> bool:
        return (self.decoding, self.attention) == (other.decoding, other.attention)


@contextmanager
def turn(image: Source) -> Iterator[None]:
    """A turn to decode a picture: a very large one takes hundreds of megabytes, and dozens of
    visitors may send one at once.
    """
    with _LARGE if pixel_count(image) > LARGE_PIXELS else nullcontext():
        yield


class SharedCaptioner:
    """A captioner that many threads may ask: one thread runs it, on all that wait for the same
    settings at once.

    It has the methods that `captioner.jobs.pipeline.caption_photos` uses.
    """

    def __init__(self, captioner: Captioner) -> None:
        self.captioner = captioner
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._answered, self._started, self._took = (
            0,
            0.0,
            0.0,
        )  # jobs of the last batch, when it was begun, seconds that it took
        threading.Thread(target=self._run, daemon=True, name="captioner").start()

    def prepare(self, image: Source) -> np.ndarray:
        """See `Captioner.prepare`; in the calling thread."""
        with turn(image):
            return self.captioner.prepare(image)

    def caption_pixels(
        self, pixels: np.ndarray, decoding: Decoding | None = None, *, attention: bool = False
    ) -> list[list[Caption]]:
        """See `Captioner.caption_pixels`; waits for its turn."""
        job = _Job(pixels, decoding or Decoding(), attention)
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()
        return job.done.result()

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Nothing yet: both halves of captioning are for the one thread, in `caption_features`."""
        return pixels

    caption_features = caption_pixels

    def _run(self) -> None:
        while True:
            jobs: list[_Job] = []
            try:
                features = []
                while arrived := self._next(jobs):
                    jobs += arrived
                    features.append(
                        self.captioner.encode(np.concatenate([job.pixels for job in arrived]))
                    )
                found = self.captioner.caption_features(
                    torch.cat(features), jobs[0].decoding, attention=jobs[0].attention
                )
                self._answered, self._took = len(jobs), time.monotonic() - self._started
                for job in jobs:
                    job.done.set_result(found[: len(job.pixels)])
                    found = found[len(job.pixels) :]
            except Exception as error:
                for job in jobs:
                    if not job.done.done():
                        job.done.set_exception(error)

    def _next(self, jobs: list[_Job]) -> list[_Job]:
        """Jobs to encode next: the one that waits the longest and those that can go with it, or
        with the jobs that are given.

        Returns: nothing if there are no such jobs (which can be only where some are given).
        """
        with self._changed:
            if not jobs:
                self._gather()
            room = PHOTOS_AT_ONCE - sum(len(job.pixels) for job in jobs)
            chosen: list[_Job] = []
            for job in list(self._waiting):
                together = [*jobs, *chosen]
                if not together or (job.fits(together[0]) and len(job.pixels) <= room):
                    self._waiting.remove(job)
                    chosen.append(job)
                    room -= len(job.pixels)
            return chosen

    def _gather(self) -> None:
        """Wait for a job, and for those that are likely to come with it."""

        def enough() -> bool:
            return (
                len(self._waiting) >= self._answered
                or sum(len(job.pixels) for job in self._waiting) >= PHOTOS_AT_ONCE
            )

        self._changed.wait_for(lambda: self._waiting)
        self._changed.wait_for(enough, timeout=min(self._took, LONGEST_WAIT))
        self._started = time.monotonic()


class SharedCharLM:
    """A language model with the lock under which every forward of it runs."""

    def __init__(self, lm: CharLM) -> None:
        self.lm, self.lock = lm, threading.Lock()


class Loading(Generic[Model]):
    """A model that is loaded in a thread of its own, from `start` on or when it is first asked for."""

    def __init__(self, load: Callable[[], Model]) -> None:
        self._load, self._loaded = load, Future[Model]()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin, if that has not been done."""
        with self._lock:
            if self._thread.ident is None:
                self._thread.start()

    def get(self) -> Model:
        """The model, as soon as it is there.

        Raises: UserError that says why it could not be loaded.
        """
        self.start()
        return self._loaded.result()

    def _run(self) -> None:
        try:
            self._loaded.set_result(self._load())
            # A model and the libraries that came with it stay; a collector that looked at them all
            # again and again would take a twentieth of the time of a busy page.
            gc.collect()
            gc.freeze()
        except UserError as error:
            self._loaded.set_exception(error)
        except Exception as error:
            logger.exception("a model could not be loaded")
            self._loaded.set_exception(
                UserError(f"the model could not be loaded ({type(error).__name__}: {error})")
            )


class Models:
    """Both models, and the three small ones to compare cells by; they load while the page is
    already there.

    Args:
        captioner, charlm: checkpoint folders; None are the bundled ones.
        device: auto, cpu, cuda or cuda:N. A single text is written no faster by a GPU, so auto
            leaves charlm on the CPU.
    """

    def __init__(
        self, captioner: Path | None = None, charlm: Path | None = None, device: str = "auto"
    ) -> None:
        threads = torch.get_num_threads()
        self.captioner = Loading(lambda: _warm_captioner(Captioner.load(captioner, device=device)))
        self.charlm = Loading(
            lambda: _warm_charlm(
                CharLM.load(charlm, device="cpu" if device == "auto" else device), threads
            )
        )
        self.cells = Loading(lambda: load_cells(self.charlm.get().lm.vocabulary))

    def start(self) -> None:
        """Begin to load what every visitor needs."""
        self.captioner.start()
        self.charlm.start()


def _warm_captioner(captioner: Captioner) -> SharedCaptioner:
    size = captioner.preprocessing.size
    captioner.caption_pixels(
        np.zeros((1, size, size, 3), np.uint8), attention=captioner.decoder.attends
    )
    return SharedCaptioner(captioner)


def _warm_charlm(lm: CharLM, threads: int) -> SharedCharLM:
    # While the captioner searches it leaves PyTorch one thread, and a thread that begins meanwhile
    # would keep to that.
    torch.set_num_threads(threads)
    lm.writer().likeliest(1)
    return SharedCharLM(lm)
