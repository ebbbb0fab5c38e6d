"""Texts being written: leaving them, looking, and writing on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from charlm import CharLM
from charlm.sampling import SamplingParams
from rnnkit.errors import UserError

PROMPTS = ["The rain it falls", "", "A", "The"]


@pytest.fixture(scope="module")
def model(trained: Path) -> CharLM:
    return CharLM.load(trained)


def joined(steps: Iterator[list[str]]) -> str:
    """What the steps of a single text add up to."""
    return "".join(piece for (piece,) in steps)


@pytest.mark.parametrize("prompt", ["", "T", "The rain"])
def test_several_writes_give_the_text_that_sample_gives_in_one(model: CharLM, prompt: str) -> None:
    whole = "".join(model.sample(prompt, length=120, temperature=0.9, top_k=8, seed=4))
    session, params = model.session([prompt], seed=4), SamplingParams(0.9, 8)
    parts = [joined(session.write(length, params)) for length in (1, 0, 50, 69)]
    assert "".join(parts) == whole
    assert session.texts == [prompt + whole] and session.written == [whole]


def test_a_write_that_is_left_in_the_middle_continues_after_its_last_character(
    model: CharLM,
) -> None:
    whole = "".join(model.sample("The", length=60, seed=2))
    session = model.session(["The"], seed=2)
    first = joined(islice(session.write(60), 17))
    assert first + joined(session.write(43)) == whole


def test_texts_of_a_batch_continue_as_if_written_in_one_though_they_ended_at_different_steps(
    model: CharLM,
) -> None:
    whole = [""] * 4
    for pieces in model.sample_many(PROMPTS, length=80, seed=3):
        whole = [text + piece for text, piece in zip(whole, pieces, strict=True)]
    session = model.session(PROMPTS, seed=3)
    for _ in islice(session.write(80), 9):  # the first prompt has not been read to its end
        pass
    for row in range(4):
        session.likeliest(row=row)
    for length in (30, 20):
        list(session.write(length))
        for text, expected in zip(session.written, whole, strict=True):
            assert len(text) >= length and text == expected[: len(text)]


def test_a_text_does_not_depend_on_how_long_the_other_prompts_are(model: CharLM) -> None:
    sessions = [model.session(["The", other], seed=5) for other in ("", "The rain it falls upon")]
    for session in sessions:
        list(session.write(50))
    assert sessions[0].written[0] == sessions[1].written[0]


def test_a_session_without_a_seed_continues_its_own_text(model: CharLM) -> None:
    session = model.session(["The", ""])
    list(session.write(20))
    before = session.written
    list(session.write(20, SamplingParams(0)))
    assert [text[:20] for text in session.written] == before


def test_settings_may_change_between_writes(model: CharLM) -> None:
    session = model.session(["The"], seed=2)
    list(session.write(10, SamplingParams(2.0)))
    expected = "".join(model.sample(session.texts[0], length=30, temperature=0))
    assert joined(session.write(30, SamplingParams(0))) == expected


def test_a_stop_string_ends_a_write_and_the_next_one_continues_after_it(model: CharLM) -> None:
    whole = "".join(model.sample("The", length=200, temperature=0.5, seed=1))
    stop = whole[40:43]
    session, params = model.session(["The"], seed=1), SamplingParams(0.5)
    first = joined(session.write(200, params, stop))
    assert first == whole[: whole.index(stop)] and session.stopped == [True]
    rest = joined(session.write(100, params))
    assert first + stop + rest == whole[: len(first + stop) + 100] and session.stopped == [False]


def test_the_likeliest_are_those_of_log_probs_and_looking_changes_nothing(model: CharLM) -> None:
    session = model.session(["The rain"], seed=1, precision="float32")
    found = session.likeliest(5)
    log_probs = model.log_probs("The rain")[-1]
    values, indices = log_probs.topk(5)
    assert [symbol for symbol, _ in found] == [
        model.vocabulary[index] for index in indices.tolist()
    ]
    np.testing.assert_allclose([p for _, p in found], values.exp().numpy(), atol=1e-4)
    assert sum(p for _, p in session.likeliest(1000)) == pytest.approx(1)
    assert joined(session.write(20)) == "".join(
        model.sample("The rain", length=20, seed=1, precision="float32")
    )


def test_each_text_of_a_batch_has_its_own_likeliest_characters(model: CharLM) -> None:
    session = model.session(["The rain", "T"], seed=1, precision="float32")
    for row, prompt in ((0, "The rain"), (1, "T")):
        best = int(model.log_probs(prompt)[-1].argmax())
        assert session.likeliest(1, row=row)[0][0] == model.vocabulary[best]


def test_wrong_settings_are_refused_at_the_call(model: CharLM) -> None:
    session = model.session(["The"])
    with pytest.raises(UserError):
        session.write(-1)
    with pytest.raises(UserError):
        session.write(3, stop=[""])
    with pytest.raises(UserError, match="never seen"):
        model.session(["ζ"])
    assert model.session(["Thζe"], unknown="skip").texts == ["The"]
