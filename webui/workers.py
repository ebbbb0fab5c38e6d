"""The models, loaded once for all visitors. Only one computation of each runs at a time, and photos
that wait share a batch.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from captioner import Caption, Captioner, Decoding
from captioner.data.images import LARGE_PIXELS, Source, pixel_count
from charlm import CharLM
from charlm.analysis.comparison_cells import load_cells
from webui.lazy_model import LazyModel
from webui.readers import Readers

PHOTOS_AT_ONCE = 32
WAIT = 0.01  # seconds that a batch waits for more photos after the first
_LARGE = threading.BoundedSemaphore(2)  # very large pictures decoded at a time


@contextmanager
def decoding_turn(image: Source) -> Iterator[None]:
    """A turn to decode a picture: a very large one takes hundreds of megabytes, and dozens of
    visitors may send one at once.
    """
    with _LARGE if pixel_count(image) > LARGE_PIXELS else nullcontext():
        yield


@dataclass(eq=False)  # compare jobs by identity
class _Job:
    pixels: np.ndarray  # (size, size, 3) uint8
    decoding: Decoding
    attention: bool
    run: object  # the run that it belongs to
    done: Future[list[Caption]] = field(default_factory=Future)

    def fits(self, other: _Job) -> bool:
        return (self.decoding, self.attention) == (other.decoding, other.attention)


class CaptionWorker:
    """A captioner that many threads may ask: one thread runs it, a batch at a time.

    A batch waits a moment for more photos after the first, and takes those that wait for the same
    settings. The first photo of each run comes before the second of any, so that one photo does not
    wait for those who sent hundreds.
    """

    def __init__(self, captioner: Captioner) -> None:
        self.captioner = captioner
        self._waiting: list[_Job] = []
        self._arrived = threading.Condition()
        threading.Thread(target=self._run, daemon=True, name="captioner").start()

    def caption(
        self,
        photo: Source,
        decoding: Decoding,
        *,
        attention: bool = False,
        run: object | None = None,
    ) -> list[Caption]:
        """Captions of one photo, best first. The photo is decoded in the calling thread.

        Args:
            run: anything that the photos of one run have in common; None for a single photo.

        Raises: ImageError if the photo cannot be used.
        """
        with decoding_turn(photo):
            pixels = self.captioner.prepare(photo)
        job = _Job(pixels, decoding, attention, object() if run is None else run)
        with self._arrived:
            self._waiting.append(job)
            self._arrived.notify()
        return job.done.result()

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            try:
                captions = self.captioner.caption_pixels(
                    np.stack([job.pixels for job in batch]),
                    batch[0].decoding,
                    attention=batch[0].attention,
                )
            except Exception as error:
                for job in batch:
                    job.done.set_exception(error)
            else:
                for job, found in zip(batch, captions, strict=True):
                    job.done.set_result(found)

    def _next_batch(self) -> list[_Job]:
        with self._arrived:
            self._arrived.wait_for(lambda: self._waiting)
        time.sleep(WAIT)
        with self._arrived:
            line = _taking_turns(self._waiting)
            batch = [job for job in line if job.fits(line[0])][:PHOTOS_AT_ONCE]
            self._waiting = [job for job in self._waiting if job not in batch]
            return batch


def _taking_turns(jobs: list[_Job]) -> list[_Job]:
    """The first job of each run, then the second of each, and so on."""
    ranks: Counter[int] = Counter()

    def rank(job: _Job) -> int:
        ranks[id(job.run)] += 1
        return ranks[id(job.run)]

    return sorted(jobs, key=rank)


class TextWorker:
    """A language model, and the lock to hold while it computes."""

    def __init__(self, lm: CharLM) -> None:
        self.lm, self.lock = lm, threading.Lock()


class Models:
    """All models: those for photos, texts and sentences, and the three small ones to compare cells
    by. They load while the page is already there.

    Args:
        captioner, charlm: checkpoint folders; None means the bundled ones.
        device: auto, cpu, cuda or cuda:N. A GPU writes a single text no faster, so auto leaves
            charlm on the CPU, and the small models for sentences with it.
        sequences: checkpoint folders of models for sentences; see `Readers`.

    Raises: UserError if a folder of `sequences` cannot be used.
    """

    def __init__(
        self,
        captioner: Path | None = None,
        charlm: Path | None = None,
        device: str = "auto",
        sequences: Sequence[Path] = (),
    ) -> None:
        threads = torch.get_num_threads()
        text_device = "cpu" if device == "auto" else device
        self.captioner = LazyModel(lambda: _load_captioner(captioner, device))
        self.charlm = LazyModel(lambda: _load_charlm(charlm, text_device, threads))
        self.readers = Readers(sequences, text_device)
        self.cells = LazyModel(lambda: load_cells(self.charlm.get().lm.vocabulary))

    def start(self) -> None:
        """Begin to load what every visitor needs."""
        self.captioner.start()
        self.charlm.start()


def _load_captioner(folder: Path | None, device: str) -> CaptionWorker:
    captioner = Captioner.load(folder, device=device)
    size = captioner.preprocessing.size
    # The first computation compiles, which no visitor should have to wait for.
    captioner.caption_pixels(
        np.zeros((1, size, size, 3), np.uint8), attention=captioner.decoder.attends
    )
    return CaptionWorker(captioner)


def _load_charlm(folder: Path | None, device: str, threads: int) -> TextWorker:
    lm = CharLM.load(folder, device=device)
    # While the captioner searches it leaves PyTorch one thread, and a thread that begins meanwhile
    # would keep to that.
    torch.set_num_threads(threads)
    lm.session([""]).likeliest(1)  # the first step compiles
    return TextWorker(lm)
