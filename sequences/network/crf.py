"""A linear-chain conditional random field (Lafferty et al. 2001): tags that fit their neighbours.

A sequence of tags scores the sum of its emissions, one a word, and of its transitions, one a pair
of neighbours; its probability is exp(score) / Z, where Z sums over all sequences.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

IMPOSSIBLE = -1e4  # a log-probability that no sum of others makes up for, yet not infinite


def sequence_score(
    emissions: torch.Tensor, transitions: torch.Tensor, tags: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """The score of one sequence of tags for each sentence, (B,).

    Args:
        emissions: (T, B, K).
        transitions: (K, K), from a row's tag to a column's.
        tags: (T, B).
        mask: (T, B), True where there is a word.
    """
    own = emissions.gather(2, tags[:, :, None])[:, :, 0]  # (T, B)
    between = transitions[tags[:-1], tags[1:]]  # (T - 1, B)
    return (own * mask).sum(0) + (between * mask[1:]).sum(0)


def log_partition(
    emissions: torch.Tensor, transitions: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """log Z of each sentence, (B,), by the forward algorithm; arguments as in `sequence_score`."""
    alpha = emissions[0]  # (B, K)
    for emission, present in zip(emissions[1:], mask[1:], strict=True):
        following = (alpha[:, :, None] + transitions).logsumexp(1) + emission
        alpha = torch.where(present[:, None], following, alpha)
    return alpha.logsumexp(1)


def marginals(
    emissions: torch.Tensor, transitions: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """The probability of each tag of each word, (T, B, K): the gradient of log Z by emissions."""
    with torch.enable_grad():
        leaf = emissions.detach().requires_grad_()
        total = log_partition(leaf, transitions.detach(), mask).sum()
        (gradient,) = torch.autograd.grad(total, leaf)
    return gradient


def viterbi(
    emissions: torch.Tensor, transitions: torch.Tensor, mask: torch.Tensor, start: torch.Tensor
) -> torch.Tensor:
    """The best sequence of tags of each sentence, (T, B), by dynamic programming (Viterbi 1967).

    Args:
        start: (K,), added to the emissions of the first word.
    """
    best = emissions[0] + start  # (B, K)
    choices = []
    keep = torch.arange(best.shape[1], device=best.device).expand_as(best)
    for emission, present in zip(emissions[1:], mask[1:], strict=True):
        values, before = (best[:, :, None] + transitions).max(1)  # (B, K)
        best = torch.where(present[:, None], values + emission, best)
        choices.append(torch.where(present[:, None], before, keep))
    tag = best.argmax(1)  # (B,)
    tags = [tag]
    for before in reversed(choices):
        tag = before.gather(1, tag[:, None])[:, 0]
        tags.append(tag)
    return torch.stack(tags[::-1])


def bio_rules(tags: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """What may follow what, for tags such as B-person, I-person and O: an entity begins with B.

    Returns: to be added to the transitions, (K, K), and to the first word's emissions, (K,): 0 for
        what may be, IMPOSSIBLE for what may not. All zeros for tags of another kind.
    """
    between, start = torch.zeros(len(tags), len(tags)), torch.zeros(len(tags))
    if is_bio(tags):
        for column, tag in enumerate(tags):
            if tag.startswith("I-"):
                start[column] = IMPOSSIBLE
                for row, before in enumerate(tags):
                    if before not in (tag, "B-" + tag[2:]):
                        between[row, column] = IMPOSSIBLE
    return between, start


def is_bio(tags: Sequence[str]) -> bool:
    """Whether tags mark entities: B-... and I-... and an O for what is in none."""
    return "O" in tags and len(tags) > 1 and all(t == "O" or t[:2] in ("B-", "I-") for t in tags)
