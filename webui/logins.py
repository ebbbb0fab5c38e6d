"""Slows down those who guess passwords."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

FREE = 3  # wrong passwords in a row without a pause
LONGEST = 30.0  # seconds between two guesses
PATIENCE = 60.0  # seconds that a guess is kept waiting; one that would wait longer is refused
REMEMBERED = 10_000  # networks


@dataclass
class _Guesses:
    count: int = 0
    next_at: float = 0.0  # on the monotonic clock


class Logins:
    """How long each network has to wait for its next attempt to log in: after the third wrong
    password one second, and twice as long after each further one.
    """

    def __init__(self) -> None:
        self._guesses: OrderedDict[str, _Guesses] = OrderedDict()

    def attempt(self, network: str) -> float | None:
        """Count an attempt, as wrong until `succeeded` is called; returns the seconds that it must
        wait, or None if too many wait already.
        """
        guesses = self._guesses.setdefault(network, _Guesses())
        self._guesses.move_to_end(network)
        if len(self._guesses) > REMEMBERED:
            self._guesses.popitem(last=False)
        now = time.monotonic()
        wait = max(0.0, guesses.next_at - now)
        if wait > PATIENCE:
            return None
        guesses.count += 1
        doublings = min(guesses.count - FREE, 10)
        pause = min(LONGEST, 2.0**doublings) if doublings >= 0 else 0.0
        guesses.next_at = now + wait + pause
        return wait

    def succeeded(self, network: str) -> None:
        """Forget the wrong passwords of a network."""
        self._guesses.pop(network, None)
