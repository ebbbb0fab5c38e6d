"""Self-critical training (Rennie et al. 2017): rewards, and targets whose loss has its gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from captioner.metrics.cider import CiderD
from captioner.metrics.truth import References
from captioner.network.vocabulary import END, PAD, START, Vocabulary
from rnnkit.metrics.ngrams import Tokens

_END = "<end>"


class Reward:
    """CIDEr-D of sampled sentences against the training captions of their photos, and truth.

    Document frequencies are those of the training captions. The end of a sentence counts as a word
    in samples and references; otherwise it would pay to break off in the middle.

    Args:
        references: tokenised training captions, one group a photo.
        support: weight of the share of a sentence's content words that the captions use too.
        gender_penalty: what each word of a gender that no caption of the photo mentions costs.
    """

    def __init__(
        self,
        references: Sequence[Sequence[Tokens]],
        vocabulary: Vocabulary,
        *,
        support: float = 0.0,
        gender_penalty: float = 0.0,
    ) -> None:
        self._vocabulary = vocabulary
        self._support, self._gender_penalty = support, gender_penalty
        judges = support or gender_penalty
        self._used = [References(captions) for captions in references] if judges else []
        self._references = [[[*tokens, _END] for tokens in captions] for captions in references]
        self._cider = CiderD(self._references)

    def __call__(self, chosen: np.ndarray, sampled: Tensor) -> Tensor:
        """Rewards (B, K) of sampled ids (B, K, L) for the photos with indices `chosen` (B,)."""
        photos = np.repeat(chosen, sampled.shape[1])  # (B * K,)
        drawn = sampled.flatten(0, 1).tolist()
        sentences = [self._vocabulary.tokens(ids) for ids in drawn]
        rewards = self._cider.scores(
            [tokens + [_END] * (END in ids) for tokens, ids in zip(sentences, drawn, strict=True)],
            [self._references[photo] for photo in photos],
        )
        if self._used:
            rewards = rewards + [
                self._support * self._used[photo].share(tokens)
                - self._gender_penalty * self._used[photo].contradictions(tokens)
                for photo, tokens in zip(photos, sentences, strict=True)
            ]
        rewards = rewards.reshape(sampled.shape[:2]).astype(np.float32)
        return torch.from_numpy(rewards).to(sampled.device)


def word_mask(sampled: Tensor) -> Tensor:
    """1 for the words of sampled ids (..., L) and their first <end>, 0 for the padding after it."""
    ends = (sampled == END).int()
    return (ends.cumsum(dim=-1) - ends == 0).float()


def self_critical_targets(
    sampled: Tensor, rewards: Tensor, given: Tensor, *, share: float, normalizer: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Sentences and weights whose weighted negative log-likelihood has the policy gradient.

    Rennie et al. 2017, eq. 7. A sample's advantage is its reward minus the mean reward of the
    photo's other samples (Luo 2020, arXiv 2003.09971).

    Args:
        sampled: ids (B, K, L), filled with <end> after the first <end>.
        rewards: (B, K).
        given: people's sentences (B, G, T + 1) from <start> on, filled with <pad>.
        share: weight of each of their words in the loss.
        normalizer: what the samples' weights are divided by: the number of their words over all
            processes / processes.

    Returns: words (B, K + G, N + 1) and weights (B, K + G, N).
    """
    count = rewards.shape[1]
    advantages = (rewards - rewards.mean(dim=1, keepdim=True)) * count / (count - 1)  # (B, K)
    alive = word_mask(sampled)  # (B, K, L)
    own = torch.cat(
        [torch.full_like(sampled[..., :1], START), sampled.masked_fill(alive == 0, PAD)], dim=-1
    )
    longest = max(own.shape[-1], given.shape[-1])
    own, given = (F.pad(words, (0, longest - words.shape[-1]), value=PAD) for words in (own, given))
    own_weights = F.pad(
        alive * advantages.unsqueeze(-1) / normalizer, (0, longest - 1 - alive.shape[-1])
    )
    words = torch.cat([own, given], dim=1)
    weights = torch.cat([own_weights, (given[..., 1:] != PAD) * share], dim=1)
    # Longest first, because the decoder leaves out columns that have no more words.
    order = (
        (words != PAD).sum(dim=-1).argsort(dim=1, descending=True).unsqueeze(-1)
    )  # (B, K + G, 1)
    return words.gather(1, order.expand_as(words)), weights.gather(1, order.expand_as(weights))
