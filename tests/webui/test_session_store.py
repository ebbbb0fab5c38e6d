"""What the server keeps for its visitors between events."""

from __future__ import annotations

import pytest

from rnnkit.errors import UserError
from webui.session_store import SessionStore


def test_things_that_were_not_used_for_the_longest_are_forgotten() -> None:
    kept: SessionStore[str] = SessionStore("press Write first", limit=2)
    tokens = [kept.keep("one"), kept.keep("two")]
    kept.get(tokens[0])
    tokens.append(kept.keep("three"))
    assert kept.get(tokens[0]) == "one" and kept.get(tokens[2]) == "three"
    for token in (tokens[1], "x", None):
        with pytest.raises(UserError, match="press Write first"):
            kept.get(token)
