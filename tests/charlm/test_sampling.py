"""Drawing characters, stopping, and writing text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from charlm import CharLM
from charlm.network import Architecture, Network
from charlm.sampling import SamplingParams, StopStrings
from charlm.vocabulary import UNKNOWN, CharacterVocabulary
from rnnkit.errors import UserError

# Quarters: equal or clearly apart, so that no tie is decided by rounding.
LOGITS = npst.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(2, 12)),
    elements=st.integers(-80, 80).map(lambda n: n / 4),
)


def slow_weights(logits: NDArray[np.float32], params: SamplingParams) -> NDArray[np.float64]:
    """Probabilities of one row by the definitions, with a loop over the ranking."""
    scores = logits.astype(float) / params.temperature
    p = np.exp(scores - scores.max())
    p /= p.sum()
    if params.top_k:
        p = np.where(p >= sorted(p)[-min(params.top_k, len(p))], p, 0)
        p /= p.sum()
    total, least = 0.0, 0.0
    for value in sorted(p, reverse=True):
        if total < params.top_p:
            least = value
        total += value
    p = np.where(p >= least, p, 0)
    return np.asarray(p / p.sum())


@given(LOGITS, st.floats(0.2, 3), st.integers(0, 6), st.floats(0.05, 1))
def test_temperature_top_k_and_top_p_combine_as_defined(
    logits: NDArray[np.float32], temperature: float, top_k: int, top_p: float
) -> None:
    params = SamplingParams(temperature, top_k, top_p)
    weights = params.weights(logits).astype(float)
    for row, found in zip(logits, weights / weights.sum(axis=1, keepdims=True), strict=True):
        expected = slow_weights(row, params)
        reached = np.cumsum(np.sort(slow_weights(row, SamplingParams(temperature, top_k)))[::-1])
        assume(
            np.abs(reached - top_p).min() > 1e-5
        )  # a tie between rounding errors may fall either way
        np.testing.assert_allclose(found, expected, atol=1e-5)


@given(LOGITS, st.floats(0, 1, exclude_max=True))
def test_a_character_left_out_is_never_drawn(logits: NDArray[np.float32], uniform: float) -> None:
    logits[:, 0] = -np.inf
    for params in (
        SamplingParams(),
        SamplingParams(0.0),
        SamplingParams(0.7, 3, 0.8),
        SamplingParams(1e-6),
        SamplingParams(1e-50),
    ):
        assert (params.draw(logits, np.full(len(logits), uniform)) > 0).all()


def test_characters_are_drawn_as_often_as_they_are_likely() -> None:
    p = np.array([0.5, 0.3, 0.15, 0.05])
    logits = np.log(np.tile(p, (40_000, 1))).astype(np.float32)
    drawn = SamplingParams().draw(logits, np.random.default_rng(0).random(len(logits)))
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), p, atol=0.01)


@given(LOGITS)
def test_temperature_0_is_argmax(logits: NDArray[np.float32]) -> None:
    for temperature in (0.0, 1e-50):  # in 32 bits the second is 0 too
        assert (
            SamplingParams(temperature).draw(logits, np.full(len(logits), 0.999))
            == logits.argmax(axis=1)
        ).all()


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": 1e308},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
    ],
)
def test_a_setting_out_of_range_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(UserError):
        SamplingParams(**fields)  # type: ignore[arg-type]


@given(
    st.text("ab", max_size=20),
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_a_text_ends_before_the_first_stop_string(text: str, strings: list[str]) -> None:
    stops, released = StopStrings(strings), ""
    for character in text:
        released += stops.push(character)
        if stops.stopped:
            break
    ends = [text.find(s) + len(s) for s in strings if s in text]
    assert stops.stopped == bool(ends)
    if ends:
        read = text[: min(ends)]
        assert released == read.removesuffix(max((s for s in strings if read.endswith(s)), key=len))
    else:
        assert released + stops.held == text


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_same_seed_gives_the_same_text_and_another_seed_another(
    make_model: Callable[..., CharLM], cell: str
) -> None:
    model = make_model(cell)
    texts = ["".join(model.sample("The ", length=80, seed=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2] and len(texts[0]) == 80


def test_sampling_at_temperature_0_is_the_networks_own_argmax(
    make_model: Callable[..., CharLM],
) -> None:
    model, text = make_model(), "The "
    for _ in range(30):
        text += model.vocabulary[int(model.log_probs(text)[-1].argmax())]
    assert (
        "The " + "".join(model.sample("The ", length=30, temperature=0, precision="float32"))
        == text
    )


def test_prompts_of_different_lengths_are_continued_in_a_batch_as_they_are_alone(
    make_model: Callable[..., CharLM],
) -> None:
    model = make_model()
    prompts = ["The rain it falls", "", "A"]
    together = [""] * 3
    for pieces in model.sample_many(
        prompts, length=25, params=SamplingParams(0.0), precision="float32"
    ):
        together = [text + piece for text, piece in zip(together, pieces, strict=True)]
    assert together == [
        "".join(model.sample(prompt, length=25, temperature=0, precision="float32"))
        for prompt in prompts
    ]


def test_an_empty_prompt_starts_after_a_line_end(make_model: Callable[..., CharLM]) -> None:
    model = make_model()
    assert "".join(model.sample("", length=20, seed=3)) == "".join(
        model.sample("\n", length=20, seed=3)
    )


def test_two_generators_of_one_model_do_not_disturb_each_other(
    make_model: Callable[..., CharLM],
) -> None:
    model = make_model()
    alone = "".join(model.sample("The ", length=20, seed=5))
    first, second = model.sample("The ", length=20, seed=5), model.sample("rain", length=20, seed=6)
    assert "".join(a for a, _ in zip(first, second, strict=True)) == alone


def test_a_stop_string_ends_the_text_and_is_not_yielded(
    make_model: Callable[..., CharLM],
) -> None:
    model = make_model()
    free = "".join(model.sample("The ", length=60, seed=1))
    stop = free[30:33]
    assert "".join(model.sample("The ", length=60, seed=1, stop=stop)) == free[: free.index(stop)]
    assert "".join(model.sample("The ", length=31, seed=1, stop=free[30:33])) == free[:31], (
        "what was held back comes out at the end"
    )


def test_the_unknown_symbol_is_never_written() -> None:
    vocabulary = CharacterVocabulary(["a", "b", UNKNOWN])
    network = Network(Architecture(3, "lstm", 8, 1, 4))
    network.output.bias.data = torch.tensor([0.0, 0.0, 50.0])
    assert UNKNOWN not in "".join(CharLM(network, vocabulary).sample("a", length=200, seed=1))


def test_wrong_settings_are_refused_at_the_call_and_not_at_the_first_character(
    make_model: Callable[..., CharLM],
) -> None:
    model = make_model()
    for options in ({"length": -1}, {"temperature": -1.0}, {"stop": ""}, {"precision": "int3"}):
        with pytest.raises(UserError):
            model.sample("The ", **options)
    with pytest.raises(UserError, match="never seen"):
        model.sample("Öl")
    assert len("".join(model.sample("Öl", length=5, unknown="skip", seed=1))) == 5
    assert list(model.sample("The ", length=0)) == []
