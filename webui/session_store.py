"""What the server keeps for its visitors between events, each thing under a token that only its
visitor holds.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from typing import Any, Generic, TypeVar

from rnnkit.errors import UserError

T = TypeVar("T")


class SessionStore(Generic[T]):
    """Things by token; those that have not been used for the longest time are forgotten.

    Args:
        missing: the error for a visitor whose thing is not here, or no longer.
    """

    def __init__(self, missing: str, *, limit: int = 200) -> None:
        self._things: OrderedDict[str, T] = OrderedDict()
        self._missing, self._limit = missing, limit

    def keep(self, thing: T) -> str:
        """Keep a thing; returns its token."""
        token = uuid.uuid4().hex
        self._things[token] = thing
        while len(self._things) > self._limit:
            self._things.popitem(last=False)
        return token

    def get(self, token: Any) -> T:
        """The thing with a token.

        Raises: UserError if there is none.
        """
        if not isinstance(token, str) or token not in self._things:
            raise UserError(self._missing)
        self._things.move_to_end(token)
        return self._things[token]
