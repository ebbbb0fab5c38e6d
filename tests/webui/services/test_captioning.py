"""Settings of captioning as clients send them."""

from __future__ import annotations

from typing import Any

import pytest

from captioner import Decoding
from rnnkit.errors import UserError
from webui.decoding_options import BEAM, SAMPLING, chosen_decoding
from webui.services.captioning import decoding_of

SETTINGS: dict[str, Any] = {
    "beam_size": 3,
    "max_length": 20,
    "sample": False,
    "temperature": 1,
    "top_p": 1,
    "seed": None,
}


def test_numbers_of_any_kind_and_an_empty_seed_are_understood() -> None:
    settings = SETTINGS | {"beam_size": 4.0, "max_length": "7", "seed": ""}
    assert decoding_of(**settings) == Decoding(beam_size=4, max_length=7)
    sampling = SETTINGS | {"sample": True, "temperature": "0.5"}
    assert decoding_of(**sampling) == Decoding(sample=True, temperature=0.5)
    assert decoding_of(**sampling | {"seed": "12"}).seed == 12
    assert decoding_of(**sampling | {"seed": -1}).seed == 2**63 - 1


def test_what_the_page_hides_while_it_searches_does_not_count() -> None:
    hidden = (3, 1, 20, 0.5, 0.9, "7", False, "  a photo  of ", "If clear")
    assert chosen_decoding(BEAM, *hidden) == Decoding(prefix="a photo of")
    assert chosen_decoding(SAMPLING, *hidden) == Decoding(
        sample=True, temperature=0.5, top_p=0.9, seed=7, prefix="a photo of"
    )


@pytest.mark.parametrize(
    ("chosen", "clarity"), [("If clear", None), ("Best guess", 0), ("Never", 1)]
)
def test_the_page_asks_when_to_state_a_gender(chosen: str, clarity: float | None) -> None:
    shown = (3, 1, 20, 0.7, 0.9, "", False, "", chosen)
    assert chosen_decoding(BEAM, *shown) == Decoding(gender_clarity=clarity)
    careful = (*shown[:6], True, *shown[7:])  # with which no gender is guessed
    clarity = None if chosen == "Best guess" else clarity
    assert chosen_decoding(BEAM, *careful) == Decoding(careful=True, gender_clarity=clarity)
    with pytest.raises(UserError, match="must be one of If clear, Best guess, Never"):
        chosen_decoding(BEAM, *shown[:-1], "Always")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"beam_size": None}, "the beam size must be a whole number"),
        ({"beam_size": 2.5}, "the beam size must be a whole number, not 2.5"),
        ({"beam_size": float("nan")}, "the beam size must be a whole number"),
        ({"num_captions": []}, "the number of captions must be a whole number"),
        ({"max_length": "many"}, "the length must be a whole number"),
        ({"temperature": "hot"}, "the temperature must be a number"),
        ({"temperature": float("nan")}, "temperature must be from 0.01 to 100, not nan"),
        ({"top_p": {}}, "top-p must be a number"),
        ({"seed": "abc"}, "the seed must be a whole number"),
        ({"gender_clarity": "clear"}, "the gender clarity must be a number"),
        ({"gender_clarity": 2}, "gender-clarity must be from 0 to 1, not 2.0"),
        ({"prefix": 3}, "the words to begin with must be text"),
    ],
)
def test_a_setting_of_the_wrong_type_is_named(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        decoding_of(**SETTINGS | setting)
    assert str(error.value) == message
