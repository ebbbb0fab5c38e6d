"""Trees of tensors: what a decoder's step carries along, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from torch import Tensor

Tree = Any  # a tensor, or a (named) tuple of trees
T = TypeVar("T")
# (words (B, K), state, memory) -> (log-probabilities (B, K, vocabulary), state)
Step = Callable[[Tensor, Tree, Tree], tuple[Tensor, Tree]]


def map_tree(function: Callable[[Tensor], Tensor], tree: T) -> T:
    """The same tree with a function applied to each tensor."""
    return cast(T, _map(function, tree))


def _map(function: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    if isinstance(tree, Tensor):
        return function(tree)
    mapped = [_map(function, branch) for branch in tree]
    return type(tree)(*mapped) if hasattr(tree, "_fields") else type(tree)(mapped)


def first_tensor(tree: Tree) -> Tensor:
    """The leftmost tensor of a tree."""
    return tree if isinstance(tree, Tensor) else first_tensor(tree[0])
