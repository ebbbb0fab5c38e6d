"""Sampling against the probabilities that it should have."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from captioner.decoding.sampling import draw, sample
from tests.rnnkit.test_beam_search import (
    END,
    START,
    UNKNOWN,
    begin,
    every_sentence,
    log_probs_after,
    markov,
    table,
)


def sampled(logits: Tensor, **options: object) -> tuple[Tensor, Tensor]:
    arguments: dict[str, object] = {
        "start": START,
        "end": END,
        "forbidden": (START, UNKNOWN),
        "max_length": 3,
    } | options
    return sample(markov(logits), begin(len(logits)), (logits,), **arguments)  # type: ignore[arg-type]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_seed_draws_the_same_sentences_and_another_does_not() -> None:
    logits = table(4, images=3)
    first, again, other = (
        sampled(logits, num_samples=50, generator=seeded(seed))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_sentences_are_drawn_as_often_as_they_are_probable() -> None:
    logits = table(5, spread=1.0)
    logits[..., [START, UNKNOWN]] = -torch.inf
    drawn = 20_000
    ids, _ = sampled(logits, num_samples=drawn, generator=seeded(0))
    rows = ids[0].tolist()
    counts: dict[tuple[int, ...], int] = {}
    for row in rows:
        sentence = tuple(row[: row.index(END)] if END in row else row)
        counts[sentence] = counts.get(sentence, 0) + 1
    not_empty = 1 - math.exp(log_probs_after(logits[0], ())[END])
    expected = {
        sentence: drawn * math.exp(total) / not_empty
        for sentence, total, _ in every_sentence(logits[0], 3)
    }
    assert counts.keys() <= expected.keys() and sum(expected.values()) == pytest.approx(
        drawn, rel=1e-6
    )
    squares = sum(
        (counts.get(sentence, 0) - mean) ** 2 / mean for sentence, mean in expected.items()
    )
    freedom = len(expected) - 1
    assert squares < freedom + 5 * math.sqrt(2 * freedom), (
        "further from the expected counts than chance would have it"
    )


def test_log_probabilities_are_those_of_the_model_whatever_the_temperature() -> None:
    logits = table(6)
    logits[..., [START, UNKNOWN]] = -torch.inf
    known = {ids: total for ids, total, _ in every_sentence(logits[0], 3)}
    ids, reached = sampled(logits, num_samples=200, temperature=0.5, top_p=0.9, generator=seeded(3))
    for row, totals in zip(ids[0].tolist(), reached[0].tolist(), strict=True):
        assert totals[-1] == pytest.approx(
            known[tuple(row[: row.index(END)] if END in row else row)], abs=1e-4
        )


def test_an_excluded_word_is_not_drawn_for_its_image() -> None:
    logits = table(3, images=3)
    likeliest = int(logits[1, START].argsort(descending=True)[0])
    logits[:, START, likeliest] = 4.0
    excluded = torch.zeros(3, logits.shape[-1], dtype=torch.bool)
    excluded[1, likeliest] = True
    drawn, _ = sampled(logits, num_samples=50, generator=seeded(0), excluded=excluded)
    assert likeliest not in drawn[1] and likeliest in drawn[0]


def test_nothing_but_the_end_follows_the_end() -> None:
    ids, _ = sampled(table(7, images=4), num_samples=100, max_length=6, generator=seeded(0))
    ended = (ids == END).int().cummax(dim=-1).values.bool()
    assert (ids[ended] == END).all() and not torch.isin(ids, torch.tensor([START, UNKNOWN])).any()


PROBABILITIES = torch.tensor([0.5, 0.25, 0.15, 0.07, 0.03])


def frequencies(temperature: float, top_p: float, count: int = 40_000) -> Tensor:
    ids = draw(PROBABILITIES.log().expand(count, -1), temperature, top_p, seeded(0))
    return torch.bincount(ids, minlength=5) / count


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_temperature_is_the_power_that_probabilities_are_taken_to(temperature: float) -> None:
    wanted = PROBABILITIES ** (1 / temperature)
    torch.testing.assert_close(
        frequencies(temperature, 1.0), wanted / wanted.sum(), atol=0.01, rtol=0
    )


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.01, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.76, 3), (0.9, 3), (0.96, 4), (1.0, 5)],
)
def test_only_the_likeliest_words_that_reach_top_p_are_drawn(top_p: float, kept: int) -> None:
    wanted = torch.where(torch.arange(5) < kept, PROBABILITIES, 0)
    torch.testing.assert_close(frequencies(1.0, top_p), wanted / wanted.sum(), atol=0.01, rtol=0)


@given(
    st.lists(st.floats(-8, 8), min_size=2, max_size=12),
    st.floats(0.05, 0.999),
    st.integers(0, 1000),
)
def test_a_word_outside_the_nucleus_is_never_drawn(
    scores: list[float], top_p: float, seed: int
) -> None:
    log_probs = torch.tensor([scores], dtype=torch.float64).log_softmax(dim=-1)
    word = int(draw(log_probs, 1.0, top_p, seeded(seed)))
    likelier = log_probs.exp()[log_probs > log_probs[0, word]].sum()
    assert likelier < top_p + 1e-9


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"temperature": -1.0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"num_samples": 0},
    ],
)
def test_values_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need temperature > 0"):
        sampled(table(0), **wrong)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), max_length=st.integers(1, 3))
def test_no_drawn_sentence_is_empty_however_likely_the_end_is_at_once(
    seed: int, max_length: int
) -> None:
    logits = table(seed, images=2)
    logits[:, START, END] += 20
    ids, _ = sampled(logits, num_samples=5, max_length=max_length, generator=seeded(seed))
    assert (ids[..., 0] != END).all()
