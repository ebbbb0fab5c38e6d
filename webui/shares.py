"""Fair shares of a queue: how much of it one visitor may hold, and whose turn is next."""

from __future__ import annotations

import ipaddress
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

NETWORK, SESSION = 0.75, 0.5  # the most of a queue that one network and one session may hold


class Visitor(NamedTuple):
    """Who asks for something.

    Attributes:
        network: see `network_of`.
        session: of a tab of the page or of a client; empty for calls that name none.
    """

    network: str
    session: str


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the first 64 bits, because anybody who has one such
    address has all of those.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))


def refusal(visitor: Visitor, held: Sequence[Visitor], places: int) -> str | None:
    """Why a visitor gets no place in a queue, as a sentence; None if there is one.

    Args:
        held: the visitors who hold its places, each as often as they do.
        places: that the queue has.
    """
    if len(held) >= places:
        return "The page is busy with other visitors: try again in a moment."
    mine = held.count(visitor)
    if mine >= _share(places, SESSION):
        return f"You have {mine} requests under way, the most allowed: wait for some to finish."
    if sum(other.network == visitor.network for other in held) >= _share(places, NETWORK):
        return "The page is busy with other visitors at your address: try again in a moment."
    return None


class Rota:
    """Whose turn it is in one queue: networks take turns, and within a network its sessions."""

    def __init__(self) -> None:
        self._turns = itertools.count(1)
        self._last: dict[str | Visitor, int] = {}  # the last turn of each who still waits

    def choose(
        self, waiting: Sequence[Visitor], running: Sequence[Visitor], places: int | None
    ) -> int | None:
        """Who of those waiting is next, as an index; None while each has as much as it may have.

        Args:
            places: how many may run at a time, a share of which each visitor may hold; None is no
                limit.
        """
        networks, sessions = Counter(other.network for other in running), Counter(running)
        able = [
            (self._last.get(visitor.network, 0), self._last.get(visitor, 0), index)
            for index, visitor in enumerate(waiting)
            if places is None
            or (
                networks[visitor.network] < _share(places, NETWORK)
                and sessions[visitor] < _share(places, SESSION)
            )
        ]
        if not able:
            return None
        index = min(able)[-1]
        chosen = waiting[index]
        present = {*waiting, *(visitor.network for visitor in waiting)}
        self._last = {key: turn for key, turn in self._last.items() if key in present}
        self._last[chosen.network] = self._last[chosen] = next(self._turns)
        return index


def _share(places: int, part: float) -> int:
    return max(1, int(places * part))
