"""Training photos as batches, made while the step before is computed.

Every process draws the same order, captions and views, and takes its share of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captioner.data.annotations import Example
from captioner.network.vocabulary import PAD, Vocabulary
from captioner.training.config import TrainingConfig
from captioner.training.feature_cache import PhotoRows
from rnnkit.metrics.tokenizer import tokenize


class TrainingSet:
    """Training or validation photos with encoded captions, and their cached rows."""

    def __init__(
        self,
        examples: Sequence[Example],
        rows: PhotoRows,
        indices: Sequence[int],
        vocabulary: Vocabulary,
        longest: int,
    ) -> None:
        self.examples, self.rows, self.indices = list(examples), rows, np.asarray(indices)
        self.tokens = [[tokenize(caption) for caption in example.captions] for example in examples]
        self.ids = [
            [vocabulary.encode(tokens[:longest]) for tokens in captions] for captions in self.tokens
        ]
        # In a mirror image, a caption that says "left" would be wrong.
        self.mirrorable = np.array(
            [
                not any({"left", "right"} & set(tokens) for tokens in captions)
                for captions in self.tokens
            ]
        )

    def __len__(self) -> int:
        return len(self.examples)

    def inputs(self, chosen: np.ndarray, views: np.ndarray | None = None) -> Tensor:
        """Rows of chosen photos, (B, R, channels) or (B, h, w, C).

        Args:
            views: (B,); None takes the photos as they are.
        """
        seen = np.zeros(len(chosen), dtype=int) if views is None else views
        return torch.from_numpy(
            np.stack(
                [
                    self.rows.rows[index, view]
                    for index, view in zip(self.indices[chosen], seen, strict=True)
                ]
            )
        )

    def draw_views(
        self, chosen: np.ndarray, generator: np.random.Generator, mirror: bool
    ) -> np.ndarray:
        """A random view (B,) of each photo; odd ones are mirrored."""
        views = generator.integers(0, self.rows.rows.shape[1], len(chosen))
        return np.where(self.mirrorable[chosen] & mirror, views, views - views % 2)


def epoch_batches(
    photos: TrainingSet, config: TrainingConfig, epoch: int, rank: int, world: int
) -> Iterator[tuple[np.ndarray, Tensor, Tensor, int]]:
    """One process's share of an epoch.

    Yields: chosen photos (B,), their inputs, words (B, K, T + 1) with each photo's longest sentence
        first, and the
    number of target words in the whole step. Every process draws the same order, captions and views
    and takes every world-th photo, so one process with the whole batch and several with a share
    each see the same data.
    """
    generator = np.random.default_rng((config.seed, epoch))
    order = generator.permutation(len(photos))
    size = min(config.batch_size, len(order))
    mine = slice(rank, None, world)

    def drawn() -> Iterator[tuple[np.ndarray, list[list[list[int]]], np.ndarray]]:
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            picks = [
                _pick(generator, len(photos.ids[photo]), config.captions_per_photo)
                for photo in chosen
            ]
            sentences = [
                sorted((photos.ids[photo][i] for i in pick), key=len, reverse=True)
                for photo, pick in zip(chosen, picks, strict=True)
            ]
            yield chosen, sentences, photos.draw_views(chosen, generator, config.mirror)

    def build(
        chosen: np.ndarray, sentences: list[list[list[int]]], views: np.ndarray
    ) -> tuple[np.ndarray, Tensor, Tensor, int]:
        targets = sum(len(ids) - 1 for group in sentences for ids in group)
        longest = max(len(group[0]) for group in sentences)
        words = torch.tensor(
            [[ids + [PAD] * (longest - len(ids)) for ids in group] for group in sentences[mine]]
        )
        return chosen[mine], photos.inputs(chosen[mine], views[mine]), words, targets

    yield from _ahead(build, drawn())


def _pick(generator: np.random.Generator, available: int, wanted: int) -> np.ndarray:
    if available >= wanted:
        return generator.choice(available, wanted, replace=False)
    return np.concatenate(
        [np.arange(available), generator.integers(0, available, wanted - available)]
    )


def _ahead(build: Callable[..., Any], arguments: Iterator[tuple[Any, ...]]) -> Iterator[Any]:
    """The results of build(*arguments), each computed by a thread while the last one is used."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for argument in arguments:
            following = pool.submit(build, *argument)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
