"""Log-count ratios against counting by hand; no sentence is asked about itself."""

from __future__ import annotations

import math

import numpy as np
import torch

from sequences.evidence import Evidence
from sequences.words import WordVocabulary

SENTENCES = [["a", "good", "film"], ["a", "bad", "film"], ["not", "a", "good", "film"]]
LABELS = [1, 0, 0]


def evidence(min_count: int = 1) -> Evidence:
    vocabulary = WordVocabulary.of(SENTENCES, min_count=1, cased=False)
    return Evidence.of(vocabulary, SENTENCES, LABELS, 2, min_count=min_count)


def test_a_ratio_is_the_logarithm_of_smoothed_counts() -> None:
    found = evidence().of_sentences([["bad"]])[0, 0]
    # One of two negative sentences has it, none of the one positive; 1 is added to each count.
    logs = np.log([2 / 4, 1 / 3])
    expected = logs - logs.mean()
    assert np.allclose(found[:2], expected) and np.allclose(found[2:], 0)
    assert math.isclose(float(found[:2].sum()), 0, abs_tol=1e-6)


def test_a_pair_counts_beside_its_words_and_a_rare_one_does_not() -> None:
    frequent = evidence(min_count=2)
    assert len(frequent.pairs) == 2  # "a good" and "good film"
    rows = frequent.of_sentences([["a", "good"], ["a", "bad"]])
    assert rows[1, 0, 2:].abs().sum() > 0 and rows[1, 1, 2:].abs().sum() == 0


def test_unknown_words_and_places_after_the_end_say_nothing() -> None:
    rows = evidence().of_sentences([["zebra"], ["a", "good"]])
    assert rows[:, 0].abs().sum() == 0


def test_naive_bayes_takes_the_label_with_the_larger_sum() -> None:
    ratios = evidence()
    prior = np.log([2 / 3, 1 / 3])
    for sentence in (["bad"], ["good", "film"], ["a", "good", "film"], ["not"]):
        rows = ratios.of_sentences([sentence])[:, 0].double().numpy()
        by_hand = rows[:, :2].sum(0) + rows[:, 2:].sum(0) + prior
        assert ratios.naive_bayes([sentence]).tolist() == [int(by_hand.argmax())]


def test_a_sentence_that_alone_has_a_word_learns_nothing_from_it() -> None:
    sentences, labels = [*SENTENCES * 5, ["odd", "film"]], [*LABELS * 5, 1]
    vocabulary = WordVocabulary.of(sentences, min_count=1, cased=False)
    counted = Evidence.of(vocabulary, sentences, labels, 2)
    own = counted.without_their_parts(sentences, labels, seed=3)
    alone = own[-1][0, 0, :2].numpy()  # "odd", which no other part has
    everywhere = counted.of_sentences([["odd"]])[0, 0, :2].numpy()
    # What is left comes from there being more sentences of the other label.
    assert everywhere[1] - everywhere[0] > alone[1] - alone[0] > 0
    fewer = np.log((counted.totals[0] + 2) / (counted.totals[1] + 2))
    assert alone[1] - alone[0] < fewer + 0.5
    assert len(own) == 16 and own[2].shape == (4, 1, 4)


def test_what_a_checkpoint_keeps_gives_the_same_ratios() -> None:
    first = evidence()
    second = Evidence.from_tensors(first.vocabulary, first.tensors())
    assert torch.equal(first.of_sentences(SENTENCES), second.of_sentences(SENTENCES))
