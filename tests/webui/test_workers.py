"""The shared models: one forward at a time, waiting photos in one batch, and each visitor's own
result.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from captioner import Caption, Captioner, Decoding
from charlm import CharLM
from charlm.network import Architecture, Network
from charlm.sampling import SamplingParams
from charlm.vocabulary import Vocabulary
from rnnkit.errors import UserError
from webui import workers as models
from webui.session_store import Kept
from webui.tabs import write as write_tab
from webui.tabs.write import Turn, begin, stream
from webui.workers import Loading, SharedCaptioner, SharedCharLM


class Slow:
    """Stands for a captioner: says of each picture its number, takes its time, and counts who is in
    it.
    """

    def __init__(self) -> None:
        self.inside, self.most, self.batches = 0, 0, list[tuple[int, Decoding]]()
        self.encoded: list[int] = []  # pictures of each call
        self.pace = 0.015  # seconds
        self.may_encode = threading.Event()
        self.may_encode.set()

    def prepare(self, image: Any) -> np.ndarray:
        with self.entered():
            return np.zeros((1, 1, 3), np.uint8)

    def encode(self, pixels: np.ndarray) -> torch.Tensor:
        with self.entered():
            self.encoded.append(len(pixels))
            self.may_encode.wait(120)
            if (pixels == 255).any():
                raise ValueError("a picture that breaks the model")
            return torch.from_numpy(pixels)

    def caption_features(
        self, features: list[torch.Tensor], decoding: Decoding, *, attention: bool = False
    ) -> list[list[Caption]]:
        with self.entered():
            pictures = torch.cat(features)
            self.batches.append((len(pictures), decoding))
            return [
                [Caption(f"{int(picture.flatten()[0])} beam {decoding.beam_size}", 0.0, ())]
                for picture in pictures
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


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def shared(slow: Slow) -> SharedCaptioner:
    return SharedCaptioner(cast(Captioner, slow))


def ask(shared: SharedCaptioner, number: int, beam_size: int = 3) -> str:
    return shared.caption_pixels(
        np.full((1, 2, 2, 3), number, np.uint8), Decoding(beam_size=beam_size)
    )[0][0].text


def test_visitors_who_come_together_share_batches_one_at_a_time_and_get_their_own(
    slow: Slow, shared: SharedCaptioner
) -> None:
    with ThreadPoolExecutor(40) as pool:
        found = list(pool.map(lambda number: ask(shared, number), range(100)))
    assert found == [f"{number} beam 3" for number in range(100)]
    assert slow.most == 1
    assert len(slow.batches) < 20 and max(size for size, _ in slow.batches) <= 32


def test_only_jobs_of_the_same_settings_go_together(slow: Slow, shared: SharedCaptioner) -> None:
    with ThreadPoolExecutor(30) as pool:
        found = list(pool.map(lambda number: ask(shared, number, 1 + number % 3), range(60)))
    assert found == [f"{number} beam {1 + number % 3}" for number in range(60)]


def test_one_who_is_alone_does_not_wait_for_others(
    shared: SharedCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "LONGEST_WAIT", 600)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ask, shared, 1).result(timeout=120) == "1 beam 3"


def test_who_was_answered_together_is_waited_for_but_not_for_long(
    slow: Slow, shared: SharedCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "LONGEST_WAIT", 600)
    with ThreadPoolExecutor(6) as pool:
        slow.pace = 2.0  # and twice as long the next would wait
        slow.may_encode.clear()
        first = [pool.submit(ask, shared, number) for number in range(6)]
        while sum(slow.encoded) + len(shared._waiting) < 6:
            time.sleep(0.01)
        slow.may_encode.set()
        assert [job.result(timeout=120) for job in first] == [
            f"{number} beam 3" for number in range(6)
        ]
        before = len(slow.encoded)
        again = []
        for number in range(6):
            again.append(pool.submit(ask, shared, number))
            time.sleep(0.05)
        assert [job.result(timeout=120) for job in again] == [
            f"{number} beam 3" for number in range(6)
        ]
        assert [size for size, _ in slow.batches] == [6, 6] and slow.encoded[before:] == [6]
        slow.pace = 0.015
        monkeypatch.setattr(models, "LONGEST_WAIT", 0.1)
        begun = time.monotonic()
        assert pool.submit(ask, shared, 7).result(timeout=120) == "7 beam 3"
        assert time.monotonic() - begun < 3


def test_an_error_reaches_who_caused_it_and_the_next_are_served(shared: SharedCaptioner) -> None:
    with pytest.raises(ValueError, match="breaks the model"):
        ask(shared, 255)
    with pytest.raises(UserError, match="beam-size"):
        ask(shared, 1, beam_size=0)
    assert ask(shared, 7) == "7 beam 3"


def test_a_model_is_loaded_once_for_all_who_ask_and_its_error_is_told_to_each() -> None:
    loads: list[int] = []

    def load() -> str:
        loads.append(1)
        time.sleep(0.05)
        return "model"

    loading = Loading(load)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: loading.get(), range(8))) == {"model"}
    assert loads == [1]
    broken = Loading(lambda: cast(str, 1 / 0))
    for _ in range(2):
        with pytest.raises(UserError, match="could not be loaded"):
            broken.get()


@pytest.fixture
def lm() -> SharedCharLM:
    vocabulary = Vocabulary("abcdefgh \n")
    return SharedCharLM(
        CharLM(Network(Architecture(len(vocabulary), "lstm", 16, 1, 8)), vocabulary)
    )


def test_texts_of_many_visitors_at_once_are_each_what_they_are_alone(lm: SharedCharLM) -> None:
    def text(seed: int) -> str:
        return list(stream(lm, begin(lm, "abc", seed), 300, SamplingParams(), ""))[-1]

    alone = [text(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(text, range(8))) == alone
    assert len(set(alone)) == 8


def test_after_stop_no_character_is_written_and_going_on_gives_the_text_of_one_go(
    lm: SharedCharLM,
) -> None:
    whole = list(stream(lm, begin(lm, "a", 1), 2000, SamplingParams(), ""))[-1]
    draft, turn = begin(lm, "a", 1), Turn()
    for _ in stream(lm, draft, 2000, SamplingParams(), "", turn):
        turn.stopped = True
    stopped = draft.session.texts[0]
    assert 1 < len(stopped) < 2001
    assert list(stream(lm, draft, 2001 - len(stopped), SamplingParams(), ""))[-1] == whole


def test_a_stream_ends_silently_when_its_turn_is_over(lm: SharedCharLM) -> None:
    whole = list(stream(lm, begin(lm, "a", 1), 2000, SamplingParams(), ""))[-1]
    draft, turn = begin(lm, "a", 1), Turn()
    earlier = stream(lm, draft, 2000, SamplingParams(), "", turn)
    next(earlier)
    turn.over = True
    later = stream(lm, draft, 2000 - len(draft.session.written[0]), SamplingParams(), "")
    assert list(earlier) == []
    assert list(later)[-1] == whole


class Clock:
    """Stands for the time module: every look at it takes a tenth of a millisecond."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        self.now += 0.0001
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_the_first_character_comes_at_once_and_the_rest_at_most_twenty_times_a_second(
    lm: SharedCharLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(write_tab, "time", clock)
    texts, times = [], [clock.now]
    for text in stream(lm, begin(lm, "a", 1), 5000, SamplingParams(), ""):
        texts.append(text)
        times.append(clock.now)
    assert len(texts[0]) == 2 and times[1] - times[0] < 0.01
    assert (
        all(0.05 <= later - sooner < 0.1 for sooner, later in pairwise(times[1:]))
        and len(texts) > 5
    )


@pytest.mark.parametrize("prompt", [None, 3, "a" * 5001])
def test_a_prompt_that_is_no_text_or_too_long_is_refused(lm: SharedCharLM, prompt: Any) -> None:
    with pytest.raises(UserError, match="prompt"):
        begin(lm, prompt, 1)


def test_things_that_were_not_used_for_the_longest_are_forgotten() -> None:
    kept: Kept[str] = Kept("press Write first", limit=2)
    tokens = [kept.keep("one"), kept.keep("two")]
    kept.get(tokens[0])
    tokens.append(kept.keep("three"))
    assert kept.get(tokens[0]) == "one" and kept.get(tokens[2]) == "three"
    for token in (tokens[1], "x", None):
        with pytest.raises(UserError, match="press Write first"):
            kept.get(token)


@pytest.mark.parametrize(("limit", "most"), [(99, {2}), (100, {3, 4, 5, 6})])
def test_at_most_two_very_large_pictures_are_decoded_at_a_time(
    limit: int, most: set[int], slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "LARGE_PIXELS", limit)
    shared = SharedCaptioner(cast(Captioner, slow))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(shared.prepare, [Image.new("RGB", (10, 10))] * 24))
    assert slow.most in most
