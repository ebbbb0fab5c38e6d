"""The shared models: one forward at a time, waiting photos in one batch, and each visitor's own
result.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from captioner import Caption, Captioner, Decoding
from rnnkit.errors import UserError
from webui import workers
from webui.lazy_model import LazyModel
from webui.workers import CaptionWorker


class Slow:
    """Stands in for a captioner: says the number of each picture, takes its time, and counts who is
    in it.
    """

    def __init__(self) -> None:
        self.inside, self.most, self.batches = 0, 0, list[tuple[int, Decoding]]()
        self.pace = 0.015  # seconds
        self.may_begin = threading.Event()
        self.may_begin.set()

    def prepare(self, image: Any) -> np.ndarray:
        return np.full((2, 2, 3), image, np.uint8)

    def caption_pixels(
        self, pixels: np.ndarray, decoding: Decoding, *, attention: bool = False
    ) -> list[list[Caption]]:
        with self.entered():
            self.batches.append((len(pixels), decoding))
            self.may_begin.wait(120)
            if (pixels == 255).any():
                raise ValueError("a picture that breaks the model")
            return [
                [Caption(f"{int(picture.flatten()[0])} beam {decoding.beam_size}", 0.0, ())]
                for picture in pixels
            ]

    @contextmanager
    def entered(self) -> Iterator[None]:
        self.inside += 1
        self.most = max(self.most, self.inside)
        time.sleep(self.pace)
        try:
            yield
        finally:
            self.inside -= 1


class SlowDecoder(Slow):
    """Takes its time to decode pictures too."""

    def prepare(self, image: Any) -> np.ndarray:
        with self.entered():
            return np.zeros((2, 2, 3), np.uint8)

    def caption_pixels(
        self, pixels: np.ndarray, decoding: Decoding, *, attention: bool = False
    ) -> list[list[Caption]]:
        return [[Caption("", 0.0, ())] for _ in pixels]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    monkeypatch.setattr(workers, "pixel_count", lambda image: 1)
    return Slow()


@pytest.fixture
def worker(slow: Slow) -> CaptionWorker:
    return CaptionWorker(cast(Captioner, slow))


def ask(worker: CaptionWorker, number: int, beam_size: int = 3, run: object | None = None) -> str:
    return worker.caption(cast(Any, number), Decoding(beam_size=beam_size), run=run)[0].text


def test_visitors_who_come_together_share_batches_one_at_a_time_and_get_their_own(
    slow: Slow, worker: CaptionWorker
) -> None:
    slow.may_begin.clear()
    with ThreadPoolExecutor(100) as pool:
        jobs = [pool.submit(ask, worker, number) for number in range(100)]
        while not slow.batches or slow.batches[0][0] + len(worker._waiting) < 100:
            time.sleep(0.01)
        slow.may_begin.set()
        assert [job.result() for job in jobs] == [f"{number} beam 3" for number in range(100)]
    assert slow.most == 1
    assert len(slow.batches) <= 5 and max(size for size, _ in slow.batches) <= 32


def test_only_jobs_of_the_same_settings_go_together(slow: Slow, worker: CaptionWorker) -> None:
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda number: ask(worker, number, 1 + number % 3), range(60)))
    assert answers == [f"{number} beam {1 + number % 3}" for number in range(60)]
    assert max(size for size, _ in slow.batches) > 1


def test_photos_that_come_within_the_wait_share_a_batch(
    slow: Slow, worker: CaptionWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WAIT", 2.0)
    with ThreadPoolExecutor(6) as pool:
        jobs = []
        for number in range(6):
            jobs.append(pool.submit(ask, worker, number))
            time.sleep(0.05)
        assert [job.result(timeout=120) for job in jobs] == [f"{n} beam 3" for n in range(6)]
    assert [size for size, _ in slow.batches] == [6]


def test_what_waits_during_a_batch_is_the_next_one(slow: Slow, worker: CaptionWorker) -> None:
    slow.may_begin.clear()
    with ThreadPoolExecutor(41) as pool:
        jobs = [pool.submit(ask, worker, 0)]
        while not slow.batches:
            time.sleep(0.01)
        jobs += [pool.submit(ask, worker, number) for number in range(1, 41)]
        while len(worker._waiting) < 40:
            time.sleep(0.01)
        slow.may_begin.set()
        assert [job.result(timeout=120) for job in jobs] == [f"{n} beam 3" for n in range(41)]
    assert [size for size, _ in slow.batches] == [1, 32, 8]


def test_one_photo_does_not_wait_for_those_who_sent_hundreds(
    slow: Slow, worker: CaptionWorker
) -> None:
    slow.may_begin.clear()
    with ThreadPoolExecutor(70) as pool:
        jobs = [pool.submit(ask, worker, 0)]
        while not slow.batches:
            time.sleep(0.01)
        jobs += [pool.submit(ask, worker, 1, run="many") for _ in range(65)]
        while len(worker._waiting) < 65:
            time.sleep(0.01)
        single = pool.submit(ask, worker, 2)
        while len(worker._waiting) < 66:
            time.sleep(0.01)
        slow.may_begin.set()
        assert single.result(timeout=120) == "2 beam 3"
        assert len(slow.batches) <= 3
    assert [size for size, _ in slow.batches] == [1, 32, 32, 2]


def test_an_error_reaches_who_caused_it_and_the_next_are_served(worker: CaptionWorker) -> None:
    with pytest.raises(ValueError, match="breaks the model"):
        ask(worker, 255)
    with pytest.raises(UserError, match="beam-size"):
        ask(worker, 1, beam_size=0)
    assert ask(worker, 7) == "7 beam 3"


def test_a_model_is_loaded_once_for_all_who_ask_and_each_gets_its_error() -> None:
    loads: list[int] = []

    def load() -> str:
        loads.append(1)
        time.sleep(0.05)
        return "model"

    loading = LazyModel(load)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: loading.get(), range(8))) == {"model"}
    assert loads == [1]
    broken = LazyModel(lambda: cast(str, 1 / 0))
    for _ in range(2):
        with pytest.raises(UserError, match="could not be loaded"):
            broken.get()


@pytest.mark.parametrize(("limit", "most"), [(99, {2}), (100, {3, 4, 5, 6})])
def test_at_most_two_very_large_pictures_are_decoded_at_a_time(
    limit: int, most: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "LARGE_PIXELS", limit)
    slow, photos = SlowDecoder(), [Image.new("RGB", (10, 10))] * 24
    worker = CaptionWorker(cast(Captioner, slow))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda photo: worker.caption(photo, Decoding()), photos))
    assert slow.most in most
