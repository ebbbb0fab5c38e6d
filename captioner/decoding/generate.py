"""From region features to sentences as ids, by search or by sampling, as a `Decoding` says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from captioner.backends.base import DecoderRunner
from captioner.decoding.sampling import sample
from captioner.network.decoder import Memory, State
from captioner.network.vocabulary import END, PAD, SPECIAL, START, UNKNOWN, Vocabulary
from captioner.types import Decoding
from rnnkit.beam_search import Hypothesis, beam_search
from rnnkit.errors import UserError

FORBIDDEN = (PAD, START, UNKNOWN)

Adjust = Callable[[Tensor], Tensor]


class NoSentenceError(UserError):
    """The weights give no sentence a probability, as after training that has diverged."""

    def __init__(self) -> None:
        super().__init__(
            "the captioner's weights give no sentence a probability: copy or train them again"
        )


def generate(
    decoder: DecoderRunner,
    features: Tensor,
    decoding: Decoding,
    *,
    length_penalty: float,
    prefix: Sequence[int] = (),
    once: Tensor | None = None,
    excluded: Tensor | None = None,
    adjust: Adjust | None = None,
) -> list[list[Hypothesis]]:
    """Sentences about photos, best first: all that the search ends with, or num_captions samples.

    Args:
        features: (B, R, channels).
        length_penalty, excluded: as in `beam_search`.
        prefix: ids of words that the decoder is fed first. The sentences are what follows them,
            with probabilities that take them as given; their length counts in `decoding`.
        once: as in `beam_search`; sampling does not use it.
        adjust: what becomes of the next word's logits (B, K, vocabulary) before a word is chosen.

    Raises: NoSentenceError; UserError if the prefix leaves no room for another word.
    """
    if len(prefix) >= decoding.max_length:
        raise UserError(
            f"the prefix has {len(prefix)} words, and a caption may have {decoding.max_length}",
            hint="raise --max-length, or shorten --prefix",
        )
    if decoding.sample and decoding.seed is not None and len(features) > 1:
        # One by one, so that a photo's sentences do not depend on the rest of the batch.
        rows = features.split(1)
        shares = [None] * len(rows) if excluded is None else excluded.split(1)
        return [
            sentences
            for row, share in zip(rows, shares, strict=True)
            for sentences in generate(
                decoder,
                row,
                decoding,
                length_penalty=length_penalty,
                prefix=prefix,
                excluded=share,
                adjust=adjust,
            )
        ]
    state, memory = decoder.start(features)
    *read, last = START, *prefix
    for word in read:
        words = torch.full((len(features), 1), word, device=state.hidden.device)
        _, state, _ = decoder.step(words, state, memory)
    step = log_prob_step(decoder, adjust)
    if decoding.sample:
        return _sampled(step, state, memory, decoding, last, len(prefix), excluded)
    hypotheses = beam_search(
        step,
        state,
        memory,
        start=last,
        end=END,
        forbidden=FORBIDDEN,
        beam_size=max(decoding.beam_size, decoding.num_captions),
        max_length=decoding.max_length - len(prefix),
        length_penalty=length_penalty,
        min_length=max(0, decoding.min_length - len(prefix)),
        once=once,
        excluded=_without_prefix(excluded, once, prefix, len(features)),
    )
    if not all(hypotheses):
        raise NoSentenceError
    return hypotheses


def _without_prefix(
    excluded: Tensor | None, once: Tensor | None, prefix: Sequence[int], images: int
) -> Tensor | None:
    """The excluded words (B, vocabulary), with those of the prefix that may be used only once."""
    if once is None or not prefix:
        return excluded
    used = torch.zeros_like(once)
    used[list(prefix)] = True
    used = (used & once).expand(images, -1)  # (B, V)
    return used if excluded is None else excluded | used


def _sampled(
    step: Callable[[Tensor, State, Memory], tuple[Tensor, State]],
    state: State,
    memory: Memory,
    decoding: Decoding,
    start: int,
    given: int,
    excluded: Tensor | None,
) -> list[list[Hypothesis]]:
    """Sampled sentences of each image, best first by their log-probability for each word.

    Args:
        start: the word that they follow.
        given: words that come before them.
    """
    generator = torch.Generator(state.hidden.device)
    if decoding.seed is None:
        generator.seed()
    else:
        generator.manual_seed(decoding.seed)
    try:
        ids, reached = sample(
            step,
            state,
            memory,
            start=start,
            end=END,
            forbidden=FORBIDDEN,
            num_samples=decoding.num_captions,
            max_length=decoding.max_length - given,
            min_length=max(0, decoding.min_length - given),
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            generator=generator,
            excluded=excluded,
        )
    except RuntimeError as error:
        if "`nan`" in str(error):  # torch.multinomial's
            raise NoSentenceError from None
        raise
    totals = reached[..., -1]  # (B, K)
    word_log_probs = reached.diff(dim=-1, prepend=torch.zeros_like(reached[..., :1]))  # (B, K, L)
    sentences = []
    for rows, scores, each in zip(
        ids.tolist(), totals.tolist(), word_log_probs.tolist(), strict=True
    ):
        cut = [tuple(row[: row.index(END)] if END in row else row) for row in rows]
        group = [
            Hypothesis(words, total, total / (len(words) + 1), tuple(own[: len(words)]))
            for words, total, own in zip(cut, scores, each, strict=True)
        ]
        sentences.append(sorted(group, key=lambda hypothesis: -hypothesis.score))
    return sentences


def log_prob_step(
    decoder: DecoderRunner, adjust: Adjust | None = None
) -> Callable[[Tensor, State, Memory], tuple[Tensor, State]]:
    """A decoder's step with log-probabilities (B, K, V) instead of logits and attention."""

    def step(words: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        logits, state, _ = decoder.step(words, state, memory)
        logits = logits.float()
        return (adjust(logits) if adjust else logits).log_softmax(dim=-1), state

    return step


@lru_cache(maxsize=4)  # a millisecond, for each search
def words_used_once(vocabulary: Vocabulary, repeatable: tuple[str, ...]) -> Tensor:
    """True for the words that may not be repeated, (vocabulary,); special tokens are not words."""
    allowed = frozenset(repeatable)
    return torch.tensor(
        [
            index >= len(SPECIAL) and word not in allowed
            for index, word in enumerate(vocabulary.words)
        ]
    )
