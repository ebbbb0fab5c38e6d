"""Sentences drawn word by word from a step function's probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnkit.trees import Step, Tree, first_tensor, map_tree


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
    min_length: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
    excluded: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Sentences drawn word by word.

    Args:
        step, state, memory, start, end, forbidden, max_length, min_length, excluded: as in
            `beam_search`.
        num_samples: K, sentences drawn for each image.
        temperature: logits are divided by it; below 1 makes likely words likelier. Must be above 0.
        top_p: only the likeliest words whose probabilities sum to at least this are drawn from
            (Holtzman et al. 2019).
        generator: source of randomness on the state's device; None uses torch's own.

    Returns: ids (B, K, L), filled with `end` from the end on; log-probabilities (B, K, L)
        under the undistorted model of the sentences up to each word; the last ones are their own.
    Raises: ValueError if temperature, top_p, num_samples or max_length is out of range.
    """
    if temperature <= 0 or not 0 < top_p <= 1 or num_samples < 1 or max_length < 1:
        raise ValueError(
            f"need temperature > 0, 0 < top_p <= 1, counts >= 1; got {temperature}, {top_p},"
            f" {num_samples}, {max_length}"
        )
    state = map_tree(  # (B, K, ...)
        lambda leaf: leaf.expand(-1, num_samples, *leaf.shape[2:]).contiguous(), state
    )
    first = first_tensor(state)
    images, device = first.shape[0], first.device
    words = torch.full((images, num_samples), start, device=device)  # (B, K)
    ended = torch.zeros(images, num_samples, dtype=torch.bool, device=device)
    totals = torch.zeros(images, num_samples, device=device)
    drawn, reached = [], []
    for position in range(max_length):
        log_probs, state = step(words, state, memory)  # (B, K, V)
        ruled_out = forbidden if position >= min_length else (*forbidden, end)
        log_probs[..., list(ruled_out)] = -torch.inf
        log_probs = log_probs.float()
        if excluded is not None:
            log_probs.masked_fill_(excluded.unsqueeze(1), -torch.inf)
        words = draw(log_probs.flatten(0, 1), temperature, top_p, generator)  # (B * K,)
        words = words.view(images, num_samples).masked_fill(ended, end)  # (B, K)
        gained = log_probs.gather(-1, words.unsqueeze(-1)).squeeze(-1).masked_fill(ended, 0)
        totals = totals + gained
        ended |= words == end
        drawn.append(words)
        reached.append(totals)
        if ended.all():
            break
    return torch.stack(drawn, dim=-1), torch.stack(reached, dim=-1)


def draw(
    log_probs: Tensor, temperature: float, top_p: float, generator: torch.Generator | None
) -> Tensor:
    """One id (N,) from each row of log-probabilities (N, V)."""
    probabilities = (log_probs / temperature).softmax(dim=-1)  # (N, V)
    if top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        # The word that crosses the threshold is kept, so there is always at least one.
        outside = ordered.cumsum(dim=-1) - ordered >= top_p
        probabilities = torch.zeros_like(probabilities).scatter(
            -1, order, ordered.masked_fill(outside, 0)
        )
    ids: Tensor = torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)
    return ids
