"""Texts written for several visitors at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from charlm import CharLM
from charlm.network import Architecture, Network
from charlm.vocabulary import CharacterVocabulary
from rnnkit.errors import UserError
from webui.services import writing
from webui.services.writing import Turn, begin, write
from webui.workers import TextWorker


@pytest.fixture
def lm() -> TextWorker:
    vocabulary = CharacterVocabulary("abcdefgh \n")
    return TextWorker(CharLM(Network(Architecture(len(vocabulary), "lstm", 16, 1, 8)), vocabulary))


def test_texts_of_many_visitors_at_once_are_each_what_they_are_alone(lm: TextWorker) -> None:
    def text(seed: int) -> list[str]:
        return list(write(lm, begin(lm, "abc", seed), length=300))[-1]

    alone = [text(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(text, range(8))) == alone
    assert len({text for (text,) in alone}) == 8


def test_after_stop_no_character_is_written_and_going_on_gives_the_text_of_one_go(
    lm: TextWorker,
) -> None:
    whole = list(write(lm, begin(lm, "a", 1), length=2000))[-1]
    draft, turn = begin(lm, "a", 1), Turn()
    for _ in write(lm, draft, length=2000, turn=turn):
        turn.stopped = True
    (stopped,) = draft.written
    assert 0 < len(stopped) < 2000
    assert list(write(lm, draft, length=2000 - len(stopped)))[-1] == whole


def test_a_stream_ends_silently_when_its_turn_is_over(lm: TextWorker) -> None:
    whole = list(write(lm, begin(lm, "a", 1), length=2000))[-1]
    draft, turn = begin(lm, "a", 1), Turn()
    earlier = write(lm, draft, length=2000, turn=turn)
    next(earlier)
    turn.over = True
    later = write(lm, draft, length=2000 - draft.characters)
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
    lm: TextWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(writing, "time", clock)
    texts, times = [], [clock.now]
    for (text,) in write(lm, begin(lm, "a", 1), length=5000):
        texts.append(text)
        times.append(clock.now)
    assert len(texts[0]) == 1 and times[1] - times[0] < 0.01
    assert (
        all(0.05 <= later - sooner < 0.1 for sooner, later in pairwise(times[1:]))
        and len(texts) > 5
    )


@pytest.mark.parametrize("prompt", [None, 3, "a" * 5001])
def test_a_prompt_that_is_not_text_or_too_long_is_refused(lm: TextWorker, prompt: Any) -> None:
    with pytest.raises(UserError, match="prompt"):
        begin(lm, prompt, 1)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"length": "many"}, "the length must be a whole number from 1 to 20,000"),
        ({"length": 1.7}, "the length must be a whole number from 1 to 20,000, not 1.7"),
        ({"length": 10, "temperature": None}, "the temperature must be a number"),
        ({"length": 10, "top_k": "x"}, "top-k must be a whole number"),
    ],
)
def test_a_setting_that_is_not_a_number_is_named(
    lm: TextWorker, setting: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        list(write(lm, begin(lm, "a", 1), **setting))
    assert str(error.value) == message
