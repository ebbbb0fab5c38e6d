"""Beam search over a step function, for a batch at once; a beam of one is greedy.

What a sentence is written about is called an image here, whatever it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from rnnkit.errors import UserError
from rnnkit.trees import Step, Tree, first_tensor, map_tree


@dataclass(frozen=True)
class Hypothesis:
    """A sentence.

    Attributes:
        ids: its words, without start and end.
        log_prob: the natural log of its probability.
        score: what it was ranked by.
        word_log_probs: the natural log of each word's own probability, after those before it.
    """

    ids: tuple[int, ...]
    log_prob: float
    score: float
    word_log_probs: tuple[float, ...] = field(default=(), compare=False)


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
    length_penalty: float,
    min_length: int = 1,
    once: Tensor | None = None,
    excluded: Tensor | None = None,
) -> list[list[Hypothesis]]:
    """The most probable sentences under a step function, for a batch of images at once.

    Args:
        step: (words (B, K), state, memory) -> (log-probabilities (B, K, vocabulary), state).
        state: what changes along a sentence: a tree of tensors, (B, 1, ...) at first, then
            (B, K, ...).
        memory: what does not: a tree of tensors (B, ...), shared by the sentences of an image.
        start, end: ids of the tokens around a sentence.
        forbidden: ids that are never used (padding, the unknown word).
        beam_size: K, how many unfinished sentences of an image are kept.
        max_length: a sentence is cut after this many words and then returned as it stands.
        length_penalty: sentences are ranked by log-probability / (words + 1) ** length_penalty (the
            end counts as a word); 0 favours short sentences. After Wu et al. 2016 (arXiv
            1609.08144, section 7), without the constant.
        min_length: the end is not used before this many words; 0 allows an empty sentence.
        once: (vocabulary,), True for ids that a sentence may use only once; None for no such rule.
        excluded: (B, vocabulary), True for ids that an image's sentences may not use.

    Returns: for each image up to beam_size hypotheses, best first. Finished sentences come before
        those that were cut.
    Raises: ValueError if beam_size or max_length is below 1; UserError if the vocabulary is smaller
        than the beam.
    """
    if beam_size < 1 or max_length < 1:
        raise ValueError(
            f"beam_size and max_length must be at least 1, not {beam_size} and {max_length}"
        )
    first = first_tensor(state)
    images, device = first.shape[0], first.device
    words = torch.full((images, 1), start, device=device)  # (B, 1)
    totals = torch.zeros(images, 1, device=device)  # (B, 1) log-probabilities of what is written
    tokens = torch.full((images, 1, max_length), end, device=device)  # (B, K, L)
    reached = torch.zeros(images, 1, max_length, device=device)  # (B, K, L) totals after each word
    best = _Best(images, beam_size, max_length, end, length_penalty, device)
    active = torch.arange(images, device=device)  # (A,) images whose search goes on

    for position in range(max_length):
        log_probs, state = step(words, state, memory)  # (A, K, V)
        ruled_out = forbidden if position >= min_length else (*forbidden, end)
        _rule_out(log_probs, tokens[:, :, :position], ruled_out, once)
        if excluded is not None:
            log_probs.masked_fill_(excluded[active].unsqueeze(1), -torch.inf)
        _check_vocabulary(log_probs.shape[-1] - len(forbidden) - 1, beam_size)
        # A beam can end in one way only, so among twice as many candidates enough go on.
        values, beams, words = _best_candidates(totals, log_probs, 2 * beam_size)  # (A, 2K)
        ended = words == end
        history, past = _pick_beams(tokens, beams), _pick_beams(reached, beams)  # (A, 2K, L)
        # Only the first K candidates would have been kept, so only they may end.
        within_beam = torch.arange(values.shape[1], device=device) < beam_size
        finished = ended & within_beam & (values > -torch.inf)  # (A, 2K)
        best.offer(
            active, values.masked_fill(~finished, -torch.inf), history, past, position + 1, finished
        )

        # The best candidates that go on.
        order = ended.to(torch.int8).argsort(dim=1, stable=True)[:, :beam_size]  # (A, K)
        totals = values.gather(1, order)
        beams, words = beams.gather(1, order), words.gather(1, order)
        tokens, reached = _pick_beams(history, order), _pick_beams(past, order)  # (A, K, L)
        tokens[:, :, position], reached[:, :, position] = words, totals
        state = map_tree(partial(_pick_beams, beams=beams), state)

        going = ~best.settled(active, totals[:, 0], position + 2)
        if beam_size == 1:
            going &= ~ended[:, 0]  # greedy: the likeliest word was the end
        if not going.all():
            kept = going.nonzero().squeeze(1)
            if len(kept) == 0:
                break
            active, totals, words = active[kept], totals[kept], words[kept]
            tokens, reached = tokens[kept], reached[kept]
            state, memory = map_tree(partial(_pick_images, images=kept), (state, memory))
    else:
        # Sentences that never ended fill the places that no finished one has taken.
        unfinished = torch.zeros_like(totals, dtype=torch.bool)
        best.offer(active, totals, tokens, reached, max_length + 1, unfinished)
    return best.hypotheses()


def _check_vocabulary(usable: int, beam_size: int) -> None:
    if usable < beam_size:
        raise UserError(
            f"a beam of {beam_size} is more than the {usable} words of the vocabulary",
            hint="lower --beam-size, or ask for fewer sentences",
        )


def _best_candidates(
    totals: Tensor, log_probs: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest of all beams with one more word, best first.

    Args:
        totals: (A, K) log-probabilities of the beams.
        log_probs: (A, K, V) of the next word.

    Returns: for up to `count` of each image the new total, the beam and the word, (A, count) each.
    """
    vocabulary = log_probs.shape[-1]
    candidates = (totals.unsqueeze(-1) + log_probs.float()).flatten(1)  # (A, K * V)
    values, flat = candidates.topk(min(count, candidates.shape[1]), dim=1)
    return values, flat // vocabulary, flat % vocabulary


def _rule_out(
    log_probs: Tensor, written: Tensor, forbidden: tuple[int, ...], once: Tensor | None
) -> None:
    """Set the log-probabilities (A, K, V) of words that may not come next to -inf, in place.

    Args:
        written: (A, K, words so far).
    """
    log_probs[..., list(forbidden)] = -torch.inf
    if once is not None:
        again = log_probs.gather(2, written).masked_fill(once[written], -torch.inf)
        log_probs.scatter_(2, written, again)


def _pick_images(leaf: Tensor, images: Tensor) -> Tensor:
    return leaf[images]


def _pick_beams(leaf: Tensor, beams: Tensor) -> Tensor:
    """The rows `beams` (A, K') of a tensor (A, K, ...)."""
    index = beams.view(*beams.shape, *[1] * (leaf.dim() - 2)).expand(-1, -1, *leaf.shape[2:])
    return leaf.gather(1, index)


class _Best:
    """The K best sentences of each image so far: finished ones first, each kind by its score."""

    def __init__(
        self,
        images: int,
        size: int,
        max_length: int,
        end: int,
        penalty: float,
        device: torch.device,
    ) -> None:
        self.finished = torch.zeros(images, size, dtype=torch.bool, device=device)  # (B, K)
        self.scores = torch.full((images, size), -torch.inf, device=device, dtype=torch.float64)
        self.totals = torch.full((images, size), -torch.inf, device=device)  # log-probabilities
        self.tokens = torch.full((images, size, max_length), end, device=device)  # (B, K, L)
        self.reached = torch.zeros(images, size, max_length, device=device)  # (B, K, L)
        self.end, self.penalty = end, penalty

    def offer(
        self,
        active: Tensor,
        totals: Tensor,
        tokens: Tensor,
        reached: Tensor,
        length: int,
        finished: Tensor,
    ) -> None:
        """Take those of N more sentences of each active image that are among its K best.

        Args:
            active: (A,) the images.
            totals: (A, N) log-probabilities; -inf stands for no sentence.
            tokens: (A, N, L).
            reached: (A, N, L) log-probabilities after each word.
            length: of the sentences in words, with the end.
            finished: (A, N).
        """
        size = self.scores.shape[1]
        scores = torch.cat([self.scores[active], totals.double() / length**self.penalty], dim=1)
        finished = torch.cat([self.finished[active], finished], dim=1)  # (A, K + N)
        order = scores.argsort(dim=1, descending=True, stable=True)
        # The second key; a stable sort keeps the order of the first one within it.
        by_finished = finished.gather(1, order).to(torch.int8)
        order = order.gather(1, by_finished.argsort(dim=1, descending=True, stable=True))[:, :size]
        self.scores[active] = scores.gather(1, order)
        self.finished[active] = finished.gather(1, order)
        self.totals[active] = torch.cat([self.totals[active], totals], dim=1).gather(1, order)
        tokens = torch.cat([self.tokens[active], tokens], dim=1)  # (A, K + N, L)
        reached = torch.cat([self.reached[active], reached], dim=1)
        self.tokens[active] = _pick_beams(tokens, order)
        self.reached[active] = _pick_beams(reached, order)

    def settled(self, active: Tensor, best_unfinished: Tensor, length: int) -> Tensor:
        """Which active images (A,) can no longer improve.

        Those have K sentences, and the worst of them scores at least what the best unfinished one
        would score if it ended next.
        """
        settled: Tensor = self.scores[active, -1] >= best_unfinished / length**self.penalty
        return settled

    def hypotheses(self) -> list[list[Hypothesis]]:
        before = torch.nn.functional.pad(self.reached, (1, 0))[:, :, :-1]
        columns = (self.scores, self.totals, self.tokens, self.reached - before)
        return [
            [
                self._hypothesis(score, total, ids, word_log_probs)
                for score, total, ids, word_log_probs in zip(*image, strict=True)
                if total > -torch.inf
            ]
            for image in zip(*(column.tolist() for column in columns), strict=True)
        ]

    def _hypothesis(
        self, score: float, total: float, ids: list[int], word_log_probs: list[float]
    ) -> Hypothesis:
        length = ids.index(self.end) if self.end in ids else len(ids)
        return Hypothesis(tuple(ids[:length]), total, score, tuple(word_log_probs[:length]))
