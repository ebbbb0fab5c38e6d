"""Training photos as batches, made while the step before is computed.

Every process draws the same order, captions and views, and takes its share of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
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

    def with_captions(self, count: int) -> TrainingSet:
        """The photos that have at least so many captions."""
        kept = [index for index, captions in enumerate(self.ids) if len(captions) >= count]
        part = copy(self)
        part.examples = [self.examples[index] for index in kept]
        part.tokens = [self.tokens[index] for index in kept]
        part.ids = [self.ids[index] for index in kept]
        part.indices, part.mirrorable = self.indices[kept], self.mirrorable[kept]
        return part

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
    """One process's share of an epoch: a part of a pass over all photos, one of `epoch_parts`.

    Photos with as many captions share a batch, which is larger where they have few: so each step
    learns from about as many captions, each of them once, and few lines are empty.

    Yields: chosen photos (B,), their inputs, words (B, K, T + 1) with each photo's longest sentence
        first, and the number of target words in the whole step. Every process draws the same order,
        captions and views and takes every world-th photo, so one process with the whole batch and
        several with a share each see the same data.
    """
    passes, part = divmod(epoch - 1, config.epoch_parts)
    batches = _deal(photos, config, np.random.default_rng((config.seed, passes)))
    batches = batches[part :: config.epoch_parts][: epoch_steps(photos, config)]
    generator = np.random.default_rng((config.seed, epoch))
    mine = slice(rank, None, world)

    def drawn() -> Iterator[tuple[np.ndarray, list[list[list[int]]], np.ndarray]]:
        for chosen in batches:
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
        longest, most = max(len(group[0]) for group in sentences), max(map(len, sentences))
        words = torch.full((len(chosen[mine]), most, longest), PAD)
        for lines, group in zip(words, sentences[mine], strict=True):
            for line, ids in zip(lines, group, strict=False):  # fewer captions leave lines empty
                line[: len(ids)] = torch.tensor(ids)
        return chosen[mine], photos.inputs(chosen[mine], views[mine]), words, targets

    yield from _ahead(build, drawn())


def epoch_steps(photos: TrainingSet, config: TrainingConfig) -> int:
    """How many batches an epoch has."""
    batches = _deal(photos, config, np.random.default_rng(0))  # as many in every order
    return max(len(batches) // config.epoch_parts, 1)


def _deal(
    photos: TrainingSet, config: TrainingConfig, generator: np.random.Generator
) -> list[np.ndarray]:
    """All photos once, as batches in random order; too few to fill the last one are left out."""
    counts = np.minimum([len(captions) for captions in photos.ids], config.captions_per_photo)
    order = generator.permutation(len(counts))
    order = order[np.argsort(-counts[order], kind="stable")]  # those with the most captions first
    batches: list[np.ndarray] = []
    while len(order):
        size = config.batch_size * config.captions_per_photo // counts[order[0]]
        if len(order) >= size or not batches:
            batches.append(order[:size])
        order = order[size:]
    return [batches[index] for index in generator.permutation(len(batches))]


def _pick(generator: np.random.Generator, available: int, wanted: int) -> np.ndarray:
    return generator.choice(available, min(available, wanted), replace=False)


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
