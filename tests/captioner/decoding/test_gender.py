"""A gender that is not clear is not told: its words' probability goes to the neutral ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captioner.decoding.gender import ClearGender
from captioner.network.vocabulary import SPECIAL, Vocabulary

WORDS = (
    *("a", "man", "woman", "person", "men", "women", "people", "boy", "girl", "child"),
    *("his", "her", "their", "male", "female", "dog"),
)


def probabilities(
    words: dict[str, float], clarity: float, known: tuple[str, ...] = WORDS
) -> dict[str, float]:
    """What the rule makes of some words' probabilities; all others share the rest."""
    vocabulary = Vocabulary((*SPECIAL, *known))
    rest = (1 - sum(words.values())) / (len(vocabulary) - len(words))
    given = torch.tensor([words.get(word, rest) for word in vocabulary.words])
    told = ClearGender(vocabulary)(given.log().view(1, 1, -1), clarity)
    found = told.softmax(-1).flatten().tolist()
    return dict(zip(vocabulary.words, found, strict=True))


def test_a_gender_that_is_not_clear_goes_to_the_neutral_words() -> None:
    # A hand-worked example: 0.3 of 0.5 is male, which is 0.6 of both.
    given = {
        "man": 0.25, "boy": 0.05, "woman": 0.15, "girl": 0.05, "person": 0.1, "child": 0.1,
        "men": 0, "women": 0, "people": 0.02, "his": 0, "her": 0, "male": 0, "female": 0,
    }  # fmt: skip
    found = probabilities(given, 0.7)
    assert found["man"] == found["woman"] == found["boy"] == found["girl"] == 0
    assert found["person"] == pytest.approx(0.1 + 0.25 + 0.15)
    assert found["child"] == pytest.approx(0.1 + 0.05 + 0.05)
    assert found["people"] == pytest.approx(0.02)
    clear = probabilities(given, 0.55)  # so it is male
    assert clear["man"] == pytest.approx(0.25) and clear["boy"] == pytest.approx(0.05)
    assert clear["woman"] == clear["girl"] == 0
    assert clear["person"] == pytest.approx(0.25) and clear["child"] == pytest.approx(0.15)


def test_plurals_and_pronouns_have_their_own_neutral_words_and_adjectives_are_left_out() -> None:
    given = {"men": 0.2, "women": 0.2, "his": 0.1, "her": 0.1, "male": 0.1, "female": 0.1}
    before = (1 - sum(given.values())) / (len(SPECIAL) + len(WORDS) - len(given))
    found = probabilities(given, 0.9)
    # Nothing takes the place of "male" and "female", so the others share what they had.
    share = 1 - 0.2
    assert found["people"] == pytest.approx((before + 0.4) / share)
    assert found["their"] == pytest.approx((before + 0.2) / share)
    assert found["dog"] == pytest.approx(before / share)
    assert found["male"] == found["female"] == found["his"] == 0


@given(
    st.lists(st.floats(-20, 20), min_size=len(WORDS) + 4, max_size=len(WORDS) + 4),
    st.floats(0, 1),
)
def test_other_words_keep_their_odds_and_a_clear_gender_keeps_its_words(
    logits: list[float], clarity: float
) -> None:
    vocabulary = Vocabulary((*SPECIAL, *WORDS))
    before = torch.tensor(logits, dtype=torch.float64)
    after = ClearGender(vocabulary).double()(before.view(1, 1, -1), clarity).flatten()
    index = {word: place for place, word in enumerate(vocabulary.words)}
    for word in ("a", "dog", "<end>"):
        assert after[index[word]] == before[index[word]]
    male, female = (
        torch.stack([before[index[word]] for word in words.split()]).logsumexp(0)
        for words in ("man men boy his male", "woman women girl her female")
    )
    share = float((male - female).sigmoid())
    if abs(share - clarity) > 1e-6 and abs(1 - share - clarity) > 1e-6:
        assert (after[index["man"]] == before[index["man"]]) == (share > clarity)
        assert (after[index["girl"]] == before[index["girl"]]) == (1 - share > clarity)
    moved = [index[word] for word in WORDS if word not in ("male", "female")]
    total = before[moved].logsumexp(0)
    assert float(after[moved].logsumexp(0)) == pytest.approx(float(total), abs=1e-6)


def test_each_sentence_of_each_photo_is_judged_by_itself() -> None:
    vocabulary = Vocabulary((*SPECIAL, *WORDS))
    rule = ClearGender(vocabulary)
    logits = torch.randn(3, 2, len(vocabulary), generator=torch.Generator().manual_seed(0))
    kept = logits.clone()
    together = rule(logits, 0.8)
    assert torch.equal(logits, kept)
    for photo in range(3):
        for sentence in range(2):
            alone = rule(logits[photo : photo + 1, sentence : sentence + 1], 0.8)
            assert torch.equal(alone[0, 0], together[photo, sentence])


@pytest.mark.parametrize(
    ("known", "applies"),
    [
        (WORDS, True),
        (("man", "woman"), False),  # with nothing to say in their place
        (("man", "person", "dog"), False),
        (("hund", "mann"), False),
        (("his", "her", "their"), True),
        (("dad", "mom", "person"), True),
    ],
)
def test_a_vocabulary_without_both_genders_or_neutral_words_has_no_such_rule(
    known: tuple[str, ...], applies: bool
) -> None:
    assert ClearGender(Vocabulary((*SPECIAL, *known))).applies is applies
