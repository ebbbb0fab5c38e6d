"""Beam search against trying every sentence, sampling against the probabilities it should have."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from captioner.decoding.beam_search import Hypothesis, beam_search
from captioner.decoding.sampling import draw, sample
from captioner.decoding.trees import map_tree
from rnnkit.errors import UserError

START, END, UNKNOWN = 0, 1, 2
WORDS = (3, 4, 5)  # those that the tables give probability to
State = tuple[Tensor]
Step = Callable[[Tensor, State, State], tuple[Tensor, State]]


def markov(memory: Tensor) -> Step:
    """A step in which a word depends on the one before and on how many there were; one table (V, V)
    for each image.
    """

    def step(words: Tensor, state: State, tables: State) -> tuple[Tensor, State]:
        images = torch.arange(words.shape[0]).unsqueeze(1)  # (B, 1)
        (count,) = state  # (B, K)
        rolled = tables[0][images, words] + 0.1 * torch.sin(
            count.unsqueeze(-1) + torch.arange(memory.shape[-1])
        )
        return rolled.log_softmax(dim=-1), (count + 1,)

    return step


def table(seed: int, images: int = 1, vocabulary: int = 6, spread: float = 2.0) -> Tensor:
    """Random logits (B, V, V)."""
    return spread * torch.randn(
        images,
        vocabulary,
        vocabulary,
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )


def padded(logits: Tensor, vocabulary: int) -> Tensor:
    """The same over a larger vocabulary whose new words never come: room for a wide beam."""
    extra = vocabulary - logits.shape[-1]
    return torch.nn.functional.pad(
        torch.nn.functional.pad(logits, (0, extra), value=-torch.inf), (0, 0, 0, extra)
    )


def begin(images: int) -> State:
    return (torch.zeros(images, 1, dtype=torch.float64),)


def log_probs_after(logits: Tensor, before: tuple[int, ...]) -> Tensor:
    """What `markov` says of the next word (V,), in one image."""
    word = before[-1] if before else START
    return (
        logits[word] + 0.1 * torch.sin(len(before) + torch.arange(logits.shape[-1]))
    ).log_softmax(dim=-1)


def every_sentence(logits: Tensor, max_length: int) -> list[tuple[tuple[int, ...], float, bool]]:
    """All sentences of WORDS, of one at least, with their log-probability, and whether they end;
    those of max_length words do not.
    """
    found = []
    for length in range(1, max_length + 1):
        for ids in itertools.product(WORDS, repeat=length):
            total = sum(
                float(log_probs_after(logits, ids[:place])[word]) for place, word in enumerate(ids)
            )
            if length < max_length:
                found.append((ids, total + float(log_probs_after(logits, ids)[END]), True))
            else:
                found.append((ids, total, False))
    return found


def search(logits: Tensor, **options: object) -> list[list[Hypothesis]]:
    arguments: dict[str, object] = {
        "start": START,
        "end": END,
        "forbidden": (START, UNKNOWN),
        "max_length": 4,
        "length_penalty": 0.9,
    } | options
    return beam_search(markov(logits), begin(len(logits)), (logits,), **arguments)  # type: ignore[arg-type]


# --- beam search ----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    max_length=st.integers(1, 4),
    penalty=st.sampled_from([0.0, 0.5, 0.9, 1.0, 1.5]),
    once=st.sampled_from([None, (), WORDS[:1], WORDS]),
)
def test_a_beam_wide_enough_for_all_finds_every_sentence_in_order(
    seed: int, max_length: int, penalty: float, once: tuple[int, ...] | None
) -> None:
    logits = table(seed)
    logits[..., [START, UNKNOWN]] = -torch.inf
    ranked = sorted(
        (
            (ids, total, total / (len(ids) + 1) ** penalty, ends)
            for ids, total, ends in every_sentence(logits[0], max_length)
            if all(ids.count(word) < 2 for word in once or ())
        ),
        key=lambda sentence: (not sentence[3], -sentence[2]),
    )
    wide = len(ranked)
    mask = (
        None
        if once is None
        else torch.isin(torch.arange(wide + 10), torch.tensor(once, dtype=torch.long))
    )
    (found,) = search(
        padded(logits, wide + 10),
        beam_size=wide,
        max_length=max_length,
        length_penalty=penalty,
        once=mask,
    )
    assert len(found) == len(ranked)
    for hypothesis, (_, total, score, _) in zip(found, ranked, strict=True):
        assert hypothesis.log_prob == pytest.approx(total, abs=1e-4)
        assert hypothesis.score == pytest.approx(score, abs=1e-4)
    assert {hypothesis.ids for hypothesis in found} == {ids for ids, *_ in ranked}
    assert found[0].ids == ranked[0][0] or found[0].score == pytest.approx(ranked[1][2], abs=1e-4)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), beam=st.integers(1, 3), penalty=st.sampled_from([0.0, 0.9]))
def test_every_hypothesis_has_the_probability_of_its_sentence(
    seed: int, beam: int, penalty: float
) -> None:
    logits = table(seed)
    clean = logits.clone()
    clean[..., [START, UNKNOWN]] = -torch.inf
    (found,) = search(logits, beam_size=beam, length_penalty=penalty)
    assert 1 <= len(found) <= beam and len({hypothesis.ids for hypothesis in found}) == len(found)
    for hypothesis in found:
        ids = hypothesis.ids
        path = [*ids, END] if len(ids) < 4 else list(ids)
        each = [
            float(log_probs_after(logits[0], ids[:place])[word]) for place, word in enumerate(path)
        ]
        total = sum(each)
        assert hypothesis.word_log_probs == pytest.approx(each[: len(ids)], abs=1e-4)
        assert hypothesis.log_prob == pytest.approx(total, abs=1e-4)
        assert hypothesis.score == pytest.approx(total / (len(ids) + 1) ** penalty, abs=1e-4)
    assert [h.score for h in found if len(h.ids) < 4] == sorted(
        (h.score for h in found if len(h.ids) < 4), reverse=True
    )


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), max_length=st.integers(1, 8))
def test_a_beam_of_one_is_greedy(seed: int, max_length: int) -> None:
    logits = table(seed)
    ids: tuple[int, ...] = ()
    while len(ids) < max_length:
        likely = log_probs_after(logits[0], ids)
        likely[[START, UNKNOWN] if ids else [START, UNKNOWN, END]] = -torch.inf
        if int(likely.argmax()) == END:
            break
        ids = (*ids, int(likely.argmax()))
    assert [
        hypothesis.ids for hypothesis in search(logits, beam_size=1, max_length=max_length)[0]
    ] == [ids]


def test_a_wider_beam_finds_what_greedy_misses() -> None:
    # Word 3 looks best at first and leads nowhere; word 4 leads to a sure end.
    probabilities = torch.full((6, 6), 1e-6)
    probabilities[START, 3], probabilities[START, 4] = 0.6, 0.4
    probabilities[3, 3:6], probabilities[3, END] = 0.3, 0.1
    probabilities[4, END], probabilities[5, END] = 1.0, 1.0
    logits = probabilities.log().unsqueeze(0)
    greedy, wide = (search(logits, beam_size=beam, length_penalty=0.0)[0][0] for beam in (1, 3))
    assert greedy.ids[0] == 3 and wide.ids == (4,) and wide.log_prob > greedy.log_prob


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), beam=st.integers(1, 3), penalty=st.sampled_from([0.0, 0.9]))
def test_a_batch_gives_what_its_images_give_alone(seed: int, beam: int, penalty: float) -> None:
    logits = table(seed, images=5, spread=3.0)
    together = search(logits, beam_size=beam, max_length=6, length_penalty=penalty)
    for image, found in enumerate(together):
        (alone,) = search(
            logits[image : image + 1], beam_size=beam, max_length=6, length_penalty=penalty
        )
        assert [h.ids for h in alone] == [h.ids for h in found]
        assert [h.score for h in alone] == pytest.approx([h.score for h in found], abs=1e-5)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), beam=st.integers(1, 3))
def test_a_forbidden_word_is_never_emitted_however_likely(seed: int, beam: int) -> None:
    logits = table(seed, images=3)
    logits[..., [START, UNKNOWN]] += 20
    for found in search(logits, beam_size=beam):
        assert found and not {START, UNKNOWN, END} & {
            word for hypothesis in found for word in hypothesis.ids
        }


@pytest.mark.parametrize("beam", [1, 3])
def test_a_sentence_that_never_ends_is_returned_as_it_stands(beam: int) -> None:
    logits = table(1, images=2)
    logits[..., END] = -torch.inf
    for found in search(logits, beam_size=beam, max_length=5):
        assert len(found) == beam
        assert all(len(hypothesis.ids) == 5 and -100 < hypothesis.score < 0 for hypothesis in found)


def test_a_word_is_excluded_for_its_own_image_only() -> None:
    logits = table(3, images=3)
    likeliest = search(logits)[1][0].ids[0]
    excluded = torch.zeros(3, logits.shape[-1], dtype=torch.bool)
    excluded[1, likeliest] = True
    found, before = search(logits, excluded=excluded), search(logits)
    assert [found[0], found[2]] == [before[0], before[2]]
    assert all(likeliest not in hypothesis.ids for hypothesis in found[1])
    drawn, _ = sampled(logits, num_samples=50, generator=seeded(0), excluded=excluded)
    assert likeliest not in drawn[1] and likeliest in drawn[0]


def test_a_sentence_that_ends_comes_before_one_that_does_not() -> None:
    logits = table(2)
    logits[..., END] = -30.0
    logits[0, 3, END] = 10.0
    found = search(logits, beam_size=3, max_length=4, length_penalty=0.0)[0]
    ends = [len(hypothesis.ids) < 4 for hypothesis in found]
    assert ends == sorted(ends, reverse=True) and ends[0] and found[0].ids == (3,)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), beam=st.integers(1, 3), max_length=st.integers(1, 3))
def test_no_sentence_is_empty_however_likely_the_end_is_at_once(
    seed: int, beam: int, max_length: int
) -> None:
    logits = table(seed, images=2)
    logits[:, START, END] += 20
    assert all(
        hypothesis.ids
        for found in search(logits, beam_size=beam, max_length=max_length)
        for hypothesis in found
    )
    ids, _ = sampled(logits, num_samples=5, max_length=max_length, generator=seeded(seed))
    assert (ids[..., 0] != END).all()


def test_a_finished_sentence_takes_no_place_in_the_beam() -> None:
    # Ending after word 5 has 0.5; two other words have 0.3 and 0.2 there and both end for sure one
    # word later.
    probabilities = torch.full((6, 6), 1e-9)
    probabilities[START, 5] = 1.0
    probabilities[5, [END, 3, 4]] = torch.tensor([0.5, 0.3, 0.2])
    probabilities[3, END] = probabilities[4, END] = 1.0
    found = search(probabilities.log().unsqueeze(0), beam_size=3, length_penalty=0.0)[0]
    assert [hypothesis.ids for hypothesis in found] == [(5,), (5, 3), (5, 4)]


def test_a_higher_length_penalty_prefers_longer_sentences() -> None:
    lengths = []
    for penalty in (0.0, 0.9, 2.0):
        found = [
            search(table(seed), beam_size=3, max_length=8, length_penalty=penalty)[0][0]
            for seed in range(40)
        ]
        lengths.append(sum(len(hypothesis.ids) for hypothesis in found))
    assert lengths[0] < lengths[1] < lengths[2]


def test_states_follow_their_sentences_when_beams_change_places() -> None:
    # The state holds the whole history; a step that finds another history than its word's fails.
    vocabulary = 8
    logits = table(3, images=2, vocabulary=vocabulary)

    def step(words: Tensor, state: State, memory: State) -> tuple[Tensor, State]:
        (history,) = state  # (B, K, T)
        if history.shape[-1]:
            assert torch.equal(
                history[..., -1] // vocabulary,
                torch.arange(len(words)).unsqueeze(1).expand_as(words) + memory[0][:, :1],
            )
        images = (memory[0][:, :1] + torch.arange(len(words)).unsqueeze(1)) * vocabulary
        scores = logits[torch.arange(len(words)).unsqueeze(1), words]
        history = torch.cat([history, (images + words).unsqueeze(-1)], dim=-1)
        seen = torch.stack(
            [(history % vocabulary == word).any(dim=-1) for word in range(vocabulary)], dim=-1
        )
        seen[..., END] = False
        return scores.masked_fill(seen, -50.0).log_softmax(-1), (history,)

    found = beam_search(
        step, (torch.zeros(2, 1, 0, dtype=torch.long),), (torch.zeros(2, 1, dtype=torch.long),),
        start=START, end=END, forbidden=(START, UNKNOWN), beam_size=4, max_length=4,
        length_penalty=0.0,
    )  # fmt: skip
    for group in found:
        for hypothesis in group:
            assert len(set(hypothesis.ids)) == len(hypothesis.ids), (
                "a word came twice though its own history forbade it"
            )


@pytest.mark.parametrize("wrong", [{"beam_size": 0}, {"max_length": 0}])
def test_a_search_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"beam_size|max_length"):
        search(table(0), **({"beam_size": 3} | wrong))


def test_a_beam_wider_than_the_vocabulary_is_refused() -> None:
    with pytest.raises(
        UserError, match="a beam of 4 is more than the 3 words of the vocabulary: lower --beam-size"
    ):
        search(table(0), beam_size=4)


def test_trees_of_tensors_keep_their_shape() -> None:
    tree = (torch.ones(1), [torch.zeros(2), (torch.ones(3),)])
    doubled = map_tree(lambda leaf: leaf * 2, tree)
    assert (
        isinstance(doubled[1], list)
        and isinstance(doubled[1][1], tuple)
        and doubled[1][1][0].tolist() == [2, 2, 2]
    )


# --- sampling -------------------------------------------------------------------------------------


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
        total = totals[-1]
        assert total == pytest.approx(
            known[tuple(row[: row.index(END)] if END in row else row)], abs=1e-4
        )


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
