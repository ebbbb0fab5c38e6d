"""Beam search against trying every sentence."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rnnkit.beam_search import Hypothesis, beam_search
from rnnkit.errors import UserError
from rnnkit.trees import map_tree

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
                float(log_probs_after(logits, ids[:position])[word])
                for position, word in enumerate(ids)
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
            float(log_probs_after(logits[0], ids[:position])[word])
            for position, word in enumerate(path)
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


def test_a_sentence_that_ends_comes_before_one_that_does_not() -> None:
    logits = table(2)
    logits[..., END] = -30.0
    logits[0, 3, END] = 10.0
    found = search(logits, beam_size=3, max_length=4, length_penalty=0.0)[0]
    ends = [len(hypothesis.ids) < 4 for hypothesis in found]
    assert ends == sorted(ends, reverse=True) and ends[0] and found[0].ids == (3,)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), beam=st.integers(1, 3), least=st.integers(0, 3))
def test_the_end_comes_after_the_least_number_of_words_however_likely_it_is_before(
    seed: int, beam: int, least: int
) -> None:
    logits = table(seed, images=2)
    logits[..., END] += 20
    for found in search(logits, beam_size=beam, max_length=3, min_length=least):
        lengths = [len(hypothesis.ids) for hypothesis in found]
        assert min(lengths) == lengths[0] == least
    assert all(found[0].ids for found in search(logits, beam_size=beam, max_length=3))


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
