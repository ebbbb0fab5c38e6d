"""Guesses of a password wait, and nobody else does."""

from __future__ import annotations

import pytest

from webui import logins
from webui.logins import Logins


class Clock:
    """Stands for the time module, and moves only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(logins, "time", clock)
    return clock


def test_after_three_wrong_passwords_each_further_guess_waits_twice_as_long(clock: Clock) -> None:
    attempts, waits = Logins(), []
    for _ in range(12):
        wait = attempts.attempt("here")
        assert wait is not None
        waits.append(wait)
        clock.now += wait
    assert waits == [0, 0, 0, 1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert attempts.attempt("elsewhere") == 0


def test_guesses_at_once_wait_for_each_other_and_too_many_are_refused(clock: Clock) -> None:
    attempts = Logins()
    waits = [attempts.attempt("here") for _ in range(20)]
    assert waits[:9] == [0, 0, 0, 1, 3, 7, 15, 31, None]
    assert set(waits[9:]) == {None}
    clock.now += 60
    assert attempts.attempt("here") == 1


def test_the_right_password_ends_the_waiting(clock: Clock) -> None:
    attempts = Logins()
    for _ in range(5):
        attempts.attempt("here")
    attempts.succeeded("here")
    assert [attempts.attempt("here") for _ in range(3)] == [0, 0, 0]


def test_no_more_than_the_latest_guessers_are_remembered(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "REMEMBERED", 2)
    attempts = Logins()
    for network in ("a", "a", "a", "b", "c"):
        attempts.attempt(network)
    assert attempts.attempt("a") == 0
