"""The CRF against trying every sequence of tags."""

from __future__ import annotations

import itertools

import pytest
import torch

from sequences.network.crf import (
    IMPOSSIBLE,
    bio_rules,
    is_bio,
    log_partition,
    marginals,
    sequence_score,
    viterbi,
)

TAGS = 3
LENGTHS = (4, 1, 3)


def random_field(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Emissions (T, B, K), transitions (K, K) and the mask (T, B)."""
    generator = torch.Generator().manual_seed(seed)
    emissions = 2 * torch.randn(
        max(LENGTHS), len(LENGTHS), TAGS, generator=generator, dtype=torch.float64
    )
    transitions = torch.randn(TAGS, TAGS, generator=generator, dtype=torch.float64)
    mask = torch.arange(max(LENGTHS))[:, None] < torch.tensor(LENGTHS)
    return emissions, transitions, mask


def every_sequence(
    emissions: torch.Tensor, transitions: torch.Tensor, column: int
) -> dict[tuple[int, ...], float]:
    """The score of each sequence of tags of one sentence."""
    length = LENGTHS[column]
    return {
        tags: sum(float(emissions[position, column, tag]) for position, tag in enumerate(tags))
        + sum(float(transitions[a, b]) for a, b in itertools.pairwise(tags))
        for tags in itertools.product(range(TAGS), repeat=length)
    }


@pytest.mark.parametrize("seed", range(3))
def test_the_partition_sums_over_every_sequence(seed: int) -> None:
    emissions, transitions, mask = random_field(seed)
    found = log_partition(emissions, transitions, mask)
    for column in range(len(LENGTHS)):
        scores = list(every_sequence(emissions, transitions, column).values())
        expected = torch.tensor(scores, dtype=torch.float64).logsumexp(0)
        torch.testing.assert_close(found[column], expected)


@pytest.mark.parametrize("seed", range(3))
def test_viterbi_finds_the_best_of_all_sequences(seed: int) -> None:
    emissions, transitions, mask = random_field(seed)
    found = viterbi(emissions, transitions, mask, torch.zeros(TAGS))
    for column, length in enumerate(LENGTHS):
        scores = every_sequence(emissions, transitions, column)
        assert tuple(found[:length, column].tolist()) == max(scores, key=lambda tags: scores[tags])


def test_a_sequence_scores_what_is_added_up_by_hand() -> None:
    emissions, transitions, mask = random_field(0)
    tags = torch.tensor([[0, 2, 1], [1, 0, 2], [2, 0, 0], [0, 0, 0]])
    found = sequence_score(emissions, transitions, tags, mask)
    for column, length in enumerate(LENGTHS):
        own = tuple(tags[:length, column].tolist())
        assert float(found[column]) == pytest.approx(
            every_sequence(emissions, transitions, column)[own]
        )


def test_marginals_are_the_share_of_the_sequences_that_have_the_tag() -> None:
    emissions, transitions, mask = random_field(1)
    found = marginals(emissions, transitions, mask)
    for column, length in enumerate(LENGTHS):
        scores = every_sequence(emissions, transitions, column)
        total = float(torch.tensor(list(scores.values()), dtype=torch.float64).exp().sum())
        for position, tag in itertools.product(range(length), range(TAGS)):
            share = sum(
                float(torch.tensor(score, dtype=torch.float64).exp())
                for tags, score in scores.items()
                if tags[position] == tag
            )
            assert float(found[position, column, tag]) == pytest.approx(share / total)
    assert float(found[1:, 1].abs().max()) == 0.0


def test_an_entity_begins_with_b_whatever_the_emissions_say() -> None:
    tags = ["B-x", "B-y", "I-x", "I-y", "O"]
    between, start = bio_rules(tags)
    emissions = torch.zeros(3, 1, 5)
    emissions[:, 0, 2] = 50.0  # I-x everywhere
    mask = torch.ones(3, 1, dtype=torch.bool)
    assert viterbi(emissions, between, mask, start)[:, 0].tolist() == [0, 2, 2]
    assert between[1, 2] == between[4, 2] == start[2] == IMPOSSIBLE
    assert between[0, 2] == between[2, 2] == start[0] == 0


@pytest.mark.parametrize(
    ("tags", "expected"),
    [(["B-x", "I-x", "O"], True), (["NOUN", "VERB"], False), (["O"], False), (["O", "X"], False)],
)
def test_entity_tags_are_told_from_others(tags: list[str], expected: bool) -> None:
    assert is_bio(tags) is expected
