"""Whole entities from BIO tags, and how many were found (as CoNLL's conlleval counts them)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Entity(NamedTuple):
    """A stretch of words: from first to last, both included."""

    first: int
    last: int
    kind: str


class EntityScores(NamedTuple):
    """Counts over some sentences."""

    right: int
    found: int
    wanted: int

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 where there is nothing."""
        return 2 * self.right / max(self.found + self.wanted, 1)


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of a sentence. An I that continues none of its kind begins one."""
    found: list[Entity] = []
    open_kind = ""
    for index, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        if prefix == "I" and kind == open_kind:
            found[-1] = found[-1]._replace(last=index)
        elif prefix in ("B", "I"):
            found.append(Entity(index, index, kind))
        open_kind = kind if prefix in ("B", "I") else ""
    return found


def entity_scores(found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]) -> EntityScores:
    """Entities of the right stretch and kind, found and wanted, over all sentences."""
    right = ours = theirs = 0
    for mine, true in zip(found, wanted, strict=True):
        mine_set, true_set = set(entities(mine)), set(entities(true))
        right += len(mine_set & true_set)
        ours += len(mine_set)
        theirs += len(true_set)
    return EntityScores(right, ours, theirs)
