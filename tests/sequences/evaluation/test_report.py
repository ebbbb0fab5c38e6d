"""Scores against counting by hand and nltk's BLEU."""

from __future__ import annotations

import pytest

from rnnkit.metrics.bleu import nltk_bleu
from rnnkit.metrics.tokenizer import tokenize
from sequences.classifier import Classifier
from sequences.data import Labelled, Pair, Tagged
from sequences.evaluation.entities import Entity, entities, entity_scores
from sequences.evaluation.report import (
    evaluate_classifier,
    evaluate_tagger,
    evaluate_translator,
    nearest_translations,
)
from sequences.tagger import Tagger
from sequences.translator import Translator, corpus_bleu_4
from tests.sequences.conftest import LABELLED, PAIRS, TAGGED


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O", []),
        ("B-x I-x O", [(0, 1, "x")]),
        ("B-x B-x", [(0, 0, "x"), (1, 1, "x")]),
        ("B-x I-y", [(0, 0, "x"), (1, 1, "y")]),
        ("O I-x I-x", [(1, 2, "x")]),
        ("B-a-b I-a-b", [(0, 1, "a-b")]),
    ],
)
def test_entities_are_whole_stretches(tags: str, expected: list[tuple[int, int, str]]) -> None:
    assert entities(tags.split()) == [Entity(*each) for each in expected]


def test_an_entity_counts_only_if_its_stretch_and_kind_are_right() -> None:
    wanted = [["B-x", "I-x", "O", "B-y"]]
    scores = entity_scores([["B-x", "I-x", "O", "B-x"]], wanted)
    assert (scores.right, scores.found, scores.wanted) == (1, 2, 2) and scores.f1 == 0.5
    assert entity_scores([["B-x", "O", "O", "O"]], wanted).f1 == 0
    assert entity_scores([["O"]], [["O"]]).f1 == 0


def test_a_classifier_that_is_always_right_scores_one_and_the_baselines_less(
    classifier: Classifier,
) -> None:
    found = evaluate_classifier(classifier, LABELLED, bootstrap=50)
    assert found.values == {"accuracy": 1.0, "balanced_accuracy": 1.0}
    assert found.intervals["accuracy"] == (1.0, 1.0)
    assert found.baselines["the commonest label"]["accuracy"] == 0.5
    assert set(found.as_json()) == {
        "accuracy",
        "balanced_accuracy",
        "intervals",
        "baselines",
        "examples",
    }


def test_balanced_accuracy_is_the_mean_over_the_labels(classifier: Classifier) -> None:
    examples = [*LABELLED[:1] * 3, Labelled("warm", "negative")]
    found = evaluate_classifier(classifier, examples, bootstrap=0)
    assert found.values == {"accuracy": 0.75, "balanced_accuracy": 0.5} and not found.intervals


def test_a_taggers_baseline_gives_each_word_its_most_frequent_tag(tagger: Tagger) -> None:
    assert tagger.usual_tag("York") == "I-place" and tagger.usual_tag("zebra") == "O"
    found = evaluate_tagger(tagger, TAGGED, bootstrap=20)
    assert found.values == {"accuracy": 1.0, "entity_f1": 1.0}
    assert 0.3 < found.baselines["each word's most frequent tag"]["accuracy"] < 1
    again = evaluate_tagger(tagger, [Tagged(("Lee", "left"), ("O", "O"))], bootstrap=0)
    assert "entity_f1" not in again.values


def test_bleu_is_nltks_without_case_and_punctuation(translator: Translator) -> None:
    ours = ["He reads the book today!", "Tom eats some rice with me", "I read a book here."]
    wanted = ["he reads the book", "Tom eats rice with me.", "I read a book."]
    expected = nltk_bleu([tokenize(text) for text in ours], [[tokenize(text)] for text in wanted])[
        "bleu_4"
    ]
    assert corpus_bleu_4(ours, wanted) == pytest.approx(expected) and 0.2 < expected < 0.9


def test_the_nearest_learned_sentence_shares_the_most_words() -> None:
    assert nearest_translations(["dia makan.", "buku"], PAIRS) == ["He eats.", "He reads a book."]


def test_a_translator_that_has_learned_its_examples_beats_the_text_itself(
    translator: Translator,
) -> None:
    long = [pair for pair in PAIRS if len(pair.target.split()) > 3]
    found = evaluate_translator(translator, long, learned=PAIRS[1:], bootstrap=20)
    assert found.values["bleu_4"] == pytest.approx(1)
    assert found.baselines["the sentence not translated"]["bleu_4"] < 0.1
    nearest = found.baselines["the nearest learned sentence's translation"]["bleu_4"]
    assert 0.3 < nearest < 1
    copied = evaluate_translator(translator, [Pair("a b c d", "a b c d")], bootstrap=0)
    assert copied.baselines["the sentence not translated"]["bleu_4"] == pytest.approx(1)
