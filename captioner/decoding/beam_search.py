"""Turning a step function into sentences: beam search (a beam of one is greedy) and sampling,
batched over images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnkit.errors import UserError

Tree = Any  # a tensor, or a (named) tuple of trees
Step = Callable[[Tensor, Tree, Tree], tuple[Tensor, Tree]]


@dataclass(frozen=True)
class Hypothesis:
    """One sentence: its ids without start and end, its summed natural-log probability, and the
    score that it was ranked by.
    """

    ids: tuple[int, ...]
    log_prob: float
    score: float


def map_tree(function: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """The same tree with a function applied to each tensor."""
    if isinstance(tree, Tensor):
        return function(tree)
    mapped = [map_tree(function, branch) for branch in tree]
    return type(tree)(*mapped) if hasattr(tree, "_fields") else type(tree)(mapped)


def beam_search(
    step: Step,
    state: Tree,
    memory: Tree,
    *,
    start: int,
    end: int,
    forbidden: tuple[int, ...] = (),
    beam_size: int = 3,
    max_length: int = 20,
    length_penalty: float = 0.9,
    once: Tensor | None = None,
) -> list[list[Hypothesis]]:
    """Most probable sentences under a step function, for a batch of images at once.

    Args:
        step: (words (B, K), state, memory) -> (log-probabilities (B, K, vocabulary), state).
        state: what changes along a sentence: a tree of tensors (B, 1, ...) at the start, (B, K,
            ...) later.
        memory: what does not: a tree of tensors (B, ...), shared by the sentences of one image.
        start, end: ids of the tokens around a sentence.
        forbidden: ids that are never emitted (the unknown word, padding). Nor is the end as the
            first word: no sentence is empty.
        beam_size: K, how many unfinished sentences of an image are kept.
        max_length: a sentence is cut after so many words; it is then returned as it stands.
        length_penalty: sentences are ranked by log-probability / (words + 1) ** length_penalty (the
            end counts as a word); 0 favours short sentences. After Wu et al. 2016 (arXiv
            1609.08144, section 7), without the constant.
        once: (vocabulary,), True for ids that may stand in a sentence only once; None for none.

    Returns: for each image up to beam_size hypotheses, best first; at least one.
    Raises: ValueError if beam_size or max_length is below 1; UserError if the vocabulary is too
        small for the beam.
    """
    if beam_size < 1 or max_length < 1:
        raise ValueError(
            f"beam_size and max_length must be at least 1, not {beam_size} and {max_length}"
        )
    first = _first_tensor(state)
    images, device = first.shape[0], first.device
    words = torch.full((images, 1), start, device=device)  # (B, 1)
    totals = torch.zeros(
        images, 1, device=device
    )  # (B, 1) summed log-probabilities of unfinished sentences
    tokens = torch.full((images, 1, max_length), end, device=device)  # (B, K, L)
    pool = _Finished(images, beam_size, max_length, end, device)
    active = torch.arange(images, device=device)  # images whose search goes on

    for position in range(max_length):
        log_probs, state = step(words, state, memory)  # (A, K, V)
        log_probs[..., [*forbidden, end] if position == 0 else list(forbidden)] = -torch.inf
        if once is not None:
            written = tokens[:, :, :position]  # (A, K, position)
            log_probs.scatter_(
                2, written, log_probs.gather(2, written).masked_fill(once[written], -torch.inf)
            )
        candidates = totals.unsqueeze(-1) + log_probs.float()  # (A, K, V)
        vocabulary = candidates.shape[-1]
        if (most := vocabulary - len(forbidden) - 1) < beam_size:
            raise UserError(
                f"a beam of {beam_size} is more than the {most} words there are: lower --beam-size"
                " (and --num-captions)"
            )
        # Each beam can end in one way only, so among twice as many candidates there are always
        # enough that go on.
        values, flat = candidates.flatten(1).topk(
            min(2 * beam_size, candidates[0].numel()), dim=1
        )  # (A, 2K)
        beams, words = flat // vocabulary, flat % vocabulary  # (A, 2K)
        ended = words == end
        history = tokens.gather(1, beams.unsqueeze(-1).expand(-1, -1, max_length))  # (A, 2K, L)
        # A sentence may end only from a rank within the beam; lower ones would not have been kept
        # either.
        rank = torch.arange(flat.shape[1], device=device)
        pool.add(
            active,
            values.masked_fill(~ended | (rank >= beam_size), -torch.inf),
            history,
            position + 1,
            length_penalty,
        )

        order = ended.to(torch.int8).argsort(dim=1, stable=True)[
            :, :beam_size
        ]  # the best that go on
        totals, beams, words = (
            values.gather(1, order),
            beams.gather(1, order),
            words.gather(1, order),
        )  # (A, K)
        tokens = history.gather(1, order.unsqueeze(-1).expand(-1, -1, max_length))
        tokens[:, :, position] = words
        state = map_tree(lambda leaf: _pick_beams(leaf, beams), state)  # noqa: B023 - called at once

        going = ~pool.settled(active, totals[:, 0], position + 2, length_penalty)
        if beam_size == 1:
            going &= ~ended[:, 0]  # greedy: the likeliest word was the end
        if not going.all():
            kept = going.nonzero().squeeze(1)
            if len(kept) == 0:
                break
            active, totals, words, tokens = active[kept], totals[kept], words[kept], tokens[kept]
            state = map_tree(lambda leaf: leaf[kept], state)  # noqa: B023
            memory = map_tree(lambda leaf: leaf[kept], memory)  # noqa: B023
    else:
        # Sentences that never ended: they fill an image's places that no finished one took.
        pool.add(active, totals, tokens, max_length + 1, length_penalty, finished=False)
    return pool.hypotheses()


class _Finished:
    """The best finished sentences of each image, kept apart from the beam."""

    def __init__(
        self, images: int, size: int, max_length: int, end: int, device: torch.device
    ) -> None:
        # Ranked by (B, K); in double precision, because what never ended is put a million lower and
        # must keep its digits.
        self.scores = torch.full((images, size), -torch.inf, device=device, dtype=torch.float64)
        self.totals = torch.full(
            (images, size), -torch.inf, device=device
        )  # (B, K) log-probabilities
        self.tokens = torch.full((images, size, max_length), end, device=device)  # (B, K, L)
        self.end = end

    def add(
        self,
        active: Tensor,
        totals: Tensor,
        tokens: Tensor,
        length: int,
        penalty: float,
        *,
        finished: bool = True,
    ) -> None:
        """Offer sentences (A, N) of the active images; -inf stands for none."""
        # An unfinished sentence ranks after every finished one: it is there only so that none goes
        # without.
        scores = totals.double() / length**penalty - (0 if finished else 1e6)  # (A, N)
        scores = torch.cat([self.scores[active], scores], dim=1)  # (A, K + N)
        best, order = scores.topk(self.scores.shape[1], dim=1)
        self.scores[active] = best
        self.totals[active] = torch.cat([self.totals[active], totals], dim=1).gather(1, order)
        self.tokens[active] = torch.cat([self.tokens[active], tokens], dim=1).gather(
            1, order.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
        )

    def settled(
        self, active: Tensor, best_unfinished: Tensor, length: int, penalty: float
    ) -> Tensor:
        """Images (A,) with a full pool whose worst sentence beats what the best unfinished one
        would score by ending next.
        """
        settled: Tensor = self.scores[active, -1] >= best_unfinished / length**penalty
        return settled

    def hypotheses(self) -> list[list[Hypothesis]]:
        found = []
        for scores, totals, tokens in zip(
            self.scores.tolist(), self.totals.tolist(), self.tokens.tolist(), strict=True
        ):
            rows = []
            for score, total, ids in zip(scores, totals, tokens, strict=True):
                if total > -torch.inf:
                    ids = tuple(ids[: ids.index(self.end)] if self.end in ids else ids)
                    rows.append(Hypothesis(ids, total, score if score > -1e5 else score + 1e6))
            found.append(rows)
        return found


def sample(
    step: Step,
    state: Tree,
    memory: Tree,
    *,
    start: int,
    end: int,
    forbidden: tuple[int, ...] = (),
    num_samples: int = 1,
    max_length: int = 20,
    temperature: float = 1.0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Sentences drawn word by word.

    Args:
        step, state, memory, start, end, forbidden, max_length: as in `beam_search`.
        num_samples: K, sentences drawn for each image.
        temperature: logits are divided by it; below 1 makes likely words likelier. Must be above 0.
        top_p: only the likeliest words whose probabilities sum to at least this are drawn from
            (Holtzman et al. 2019).
        generator: source of randomness on the state's device; None uses torch's own.

    Returns: ids (B, K, L), filled with `end` from the end on; log-probabilities (B, K) under the
        undistorted model.
    Raises: ValueError if temperature, top_p, num_samples or max_length is out of range.
    """
    if temperature <= 0 or not 0 < top_p <= 1 or num_samples < 1 or max_length < 1:
        raise ValueError(
            f"need temperature > 0, 0 < top_p <= 1, counts >= 1; got {temperature}, {top_p},"
            f" {num_samples}, {max_length}"
        )
    state = map_tree(
        lambda leaf: leaf.expand(-1, num_samples, *leaf.shape[2:]).contiguous(), state
    )  # (B, K, ...)
    first = _first_tensor(state)
    images, device = first.shape[0], first.device
    words = torch.full((images, num_samples), start, device=device)  # (B, K)
    ended = torch.zeros(images, num_samples, dtype=torch.bool, device=device)
    totals = torch.zeros(images, num_samples, device=device)
    drawn = []
    for position in range(max_length):
        log_probs, state = step(words, state, memory)  # (B, K, V)
        log_probs[..., [*forbidden, end] if position == 0 else list(forbidden)] = -torch.inf
        log_probs = log_probs.float()
        words = draw(log_probs.flatten(0, 1), temperature, top_p, generator).view(
            images, num_samples
        )  # (B, K)
        words = words.masked_fill(ended, end)
        totals += log_probs.gather(-1, words.unsqueeze(-1)).squeeze(-1).masked_fill(ended, 0)
        ended |= words == end
        drawn.append(words)
        if ended.all():
            break
    return torch.stack(drawn, dim=-1), totals


def draw(
    log_probs: Tensor, temperature: float, top_p: float, generator: torch.Generator | None
) -> Tensor:
    """One id (N,) from each row of log-probabilities (N, V)."""
    probabilities = (log_probs / temperature).softmax(dim=-1)  # (N, V)
    if top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        # The word that crosses the threshold is kept, so there is always one.
        outside = ordered.cumsum(dim=-1) - ordered >= top_p
        probabilities = torch.zeros_like(probabilities).scatter(
            -1, order, ordered.masked_fill(outside, 0)
        )
    drawn: Tensor = torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)
    return drawn


def _pick_beams(leaf: Tensor, beams: Tensor) -> Tensor:
    index = beams.view(*beams.shape, *[1] * (leaf.dim() - 2)).expand(-1, -1, *leaf.shape[2:])
    return leaf.gather(1, index)


def _first_tensor(tree: Tree) -> Tensor:
    return tree if isinstance(tree, Tensor) else _first_tensor(tree[0])
