"""What the server keeps for its visitors between events, each under a token that only its visitor
holds.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from typing import Any, Generic, TypeVar

from rnnkit.errors import UserError

Thing = TypeVar("Thing")


class Kept(Generic[Thing]):
    """Things by token; the ones that were not used for the longest are forgotten.

    Args:
        missing: what a visitor is told whose thing is not there (any more).
    """

    def __init__(self, missing: str, *, limit: int = 200) -> None:
        self._things: OrderedDict[str, Thing] = OrderedDict()
        self._missing, self._limit = missing, limit

    def keep(self, thing: Thing) -> str:
        """Keep a thing; returns its token."""
        token = uuid.uuid4().hex
        self._things[token] = thing
        while len(self._things) > self._limit:
            self._things.popitem(last=False)
        return token

    def get(self, token: Any) -> Thing:
        """The thing of a token.

        Raises: UserError if there is none.
        """
        if not isinstance(token, str) or token not in self._things:
            raise UserError(self._missing)
        self._things.move_to_end(token)
        return self._things[token]
