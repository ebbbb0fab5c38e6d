"""BLEU, ROUGE-L, CIDEr-D and the tokeniser, against pycocoevalcap, nltk and values worked out by
hand.
"""

from __future__ import annotations

import importlib.util
import math
import random
import shutil
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import corpus_bleu

from captioner.metrics.cider import CiderD
from captioner.metrics.rouge import longest_common_subsequence, rouge_l
from captioner.metrics.scores import score_captions
from rnnkit.metrics.bleu import bleu, bleu_counts
from rnnkit.metrics.tokenizer import PUNCTUATION, tokenize

Caption = list[str]


def words(text: str) -> Caption:
    return text.split()


no_oracle = pytest.mark.skipif(
    importlib.util.find_spec("pycocoevalcap") is None,
    reason="pycocoevalcap, the metrics extra, is not installed",
)
no_java = pytest.mark.skipif(
    shutil.which("java") is None,
    reason="Java, which coco-caption's tokeniser needs, is not installed",
)


# --- tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", sorted(PUNCTUATION - {"-LRB-", "-RRB-", "-LCB-", "-RCB-"}))
def test_a_punctuation_mark_is_not_a_token(mark: str) -> None:
    assert tokenize(f"a dog {mark} a cat") == ["a", "dog", "a", "cat"]
    assert tokenize(mark) == []


def test_there_are_seventeen_punctuation_tokens() -> None:
    assert len(PUNCTUATION) == 17


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A dog RUNS.", "a dog runs"),
        ("The man's dogs' bowls", "the man 's dogs bowls"),
        ("it's he'll they're I've I'd I'm", "it 's he 'll they 're i 've i 'd i 'm"),
        ("don't can't won't isn't cannot", "do n't ca n't wo n't is n't can not"),
        (
            (
                "they\N{RIGHT SINGLE QUOTATION MARK}re"
                " \N{LEFT DOUBLE QUOTATION MARK}here\N{RIGHT DOUBLE QUOTATION MARK}"
            ),
            "they 're here",
        ),
        ("a three-year-old in a T-shirt", "a three-year-old in a t-shirt"),
        ("mid-air -- a jump - high", "mid-air a jump high"),
        ("1,000 people ran 2.5 km at 5:30 on 12/25", "1,000 people ran 2.5 km at 5:30 on 12/25"),
        ("1st, 2nd and 80s", "1st 2nd and 80s"),
        ("at 5:54pm", "at 5:54 pm"),
        ("20% of $5 and #1", "20 % of $ 5 and # 1"),
        ("a man/woman (left) [right]", "a man/woman -lrb- left -rrb- -lsb- right -rsb-"),
        ("Mr. Smith of St. Louis in the U.S.", "mr. smith of st. louis in the u.s."),
        ("a dog.. a cat... a bird", "a dog a cat a bird"),
        ("wow!! what?! no!", "wow !! what ?! no"),
        ("three o'clock, ma'am", "three o'clock ma'am"),
        ("slip 'n' slide", "slip 'n' slide"),
        ("café naïve Ångström", "café naïve ångström"),
        ("gonna wanna", "gon na wan na"),
        ("\ta  dog\r\nruns ", "a dog runs"),
        ("", ""),
    ],
)
def test_tokens_of(text: str, tokens: str) -> None:
    assert tokenize(text) == tokens.split()


NOUNS = (
    "dog",
    "T-shirt",
    "three-year-old",
    "man/woman",
    "mother-in-law",
    "children",
    "SUV",
    "o'clock",
    "café",
)
PLACES = (
    "the U.S.",
    "St. Louis",
    "mid-air",
    "Washington D.C.",
    "a park",
    "front of a stop-sign",
    "the 80s",
    "New York",
)
ENDS = (".", " .", "", "!", "?", "...", ";", " ,", "!!", "?!", '."', " --")


def drawn_caption(source: random.Random) -> str:
    noun, other = source.choice(NOUNS), source.choice(NOUNS)
    shape = source.choice(
        (
            "A {0}'s {1} doesn't move in {2}{3}",
            "Two {0}s, one (red) and one 'blue', run in {2}{3}",
            "It's {4}, and they'll see the {0} - or the {1} - in {2}{3}",
            '"Look," says the {0}: {4} people can\'t swim{3}',
            "{4} {0}s; 20% of them aren't near the {1} in {2}{3}",
            "The {0} is {4} km from {2}{3}",
            "Mr. Jones and Dr. Brown cannot lift the {1}s' {0}{3}",
            "I'd say we've got a {0} that I'm sure you're gonna like{3}",
        )
    )
    number = source.choice(
        ("5:30", "1,000", "2.5", "3", "1/2", "1st", "80s", "12/25/2010", "50-60")
    )
    return shape.format(noun, other, source.choice(PLACES), source.choice(ENDS), number)


@no_oracle
@no_java
@pytest.mark.slow
def test_tokens_are_those_of_coco_captions_java_tokeniser() -> None:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    source = random.Random(1)
    captions = [drawn_caption(source) for _ in range(600)]
    java = PTBTokenizer().tokenize(
        {index: [{"caption": caption}] for index, caption in enumerate(captions)}
    )
    different = [
        (caption, java[i][0], tokenize(caption))
        for i, caption in enumerate(captions)
        if java[i][0].split() != tokenize(caption)
    ]
    assert different == []


@given(st.text(max_size=60))
def test_tokens_are_lower_case_without_spaces_and_never_empty(text: str) -> None:
    for token in tokenize(text):
        assert (
            token
            and token == token.lower()
            and not any(letter.isspace() for letter in token)
            and token not in PUNCTUATION
        )


# --- the whole, against pycocoevalcap -------------------------------------------------------------


def oracle_scores(predictions: list[Caption], references: list[list[Caption]]) -> dict[str, Any]:
    """What pycocoevalcap's own classes give for equal tokens."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    groups = {
        index: [" ".join(tokens) for tokens in group] for index, group in enumerate(references)
    }
    results = {index: [" ".join(tokens)] for index, tokens in enumerate(predictions)}
    rouge, each_rouge = Rouge().compute_score(groups, results)
    cider, each_cider = Cider().compute_score(groups, results)
    corpus, _ = Bleu(4).compute_score(groups, results, verbose=0)
    named = {f"bleu_{order + 1}": value for order, value in enumerate(corpus)}
    return {
        "values": named | {"rouge_l": rouge, "cider_d": cider},
        "rouge_l": each_rouge,
        "cider_d": each_cider,
    }


def assert_as_the_oracle(predictions: list[Caption], references: list[list[Caption]]) -> None:
    ours, theirs = score_captions(predictions, references), oracle_scores(predictions, references)
    assert ours.values == pytest.approx(theirs["values"], abs=1e-6)
    for name in ("rouge_l", "cider_d"):
        np.testing.assert_allclose(ours.per_image[name], theirs[name], atol=1e-6)


drawn_tokens = st.lists(st.sampled_from(words("a b c d e")), max_size=9)
drawn_image = st.tuples(drawn_tokens, st.lists(drawn_tokens, min_size=1, max_size=4))


@no_oracle
@settings(max_examples=150)
@given(st.lists(drawn_image, min_size=2, max_size=6))
def test_scores_are_pycocoevalcaps_whatever_the_tokens(
    images: list[tuple[Caption, list[Caption]]],
) -> None:
    assume(any(any(group) for _, group in images))  # it does not take references that are all empty
    assert_as_the_oracle([prediction for prediction, _ in images], [group for _, group in images])


def captions_of_a_small_world(images: int, seed: int) -> tuple[list[Caption], list[list[Caption]]]:
    """Predictions with five references each, as different as people's sentences about a photo."""
    source = random.Random(seed)

    def sentence(subject: str, verb: str, place: str) -> Caption:
        subject = source.choice((subject, subject, "an animal", f"a small {subject.split()[-1]}"))
        verb = source.choice((verb, verb, "is", f"is {verb}"))
        tail = source.choice(
            (place, f"{place} on a sunny day", f"{place} while people watch", "outside")
        )
        return words(f"{subject} {verb} {tail}")

    predictions, references = [], []
    for _ in range(images):
        scene = (
            source.choice(
                ("a dog", "a brown horse", "two children", "a man", "a man in a red shirt")
            ),
            source.choice(("runs", "jumps over a log", "plays with a ball", "sits")),
            source.choice(("in the snow", "on the beach", "at a park", "next to a car")),
        )
        predictions.append(sentence(*scene))
        references.append([sentence(*scene) for _ in range(source.choice((1, 4, 5, 5, 5)))])
    return predictions, references


@no_oracle
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_pycocoevalcaps_on_sentences(seed: int) -> None:
    predictions, references = captions_of_a_small_world(80, seed)
    assert score_captions(predictions, references).values["bleu_4"] > 0.1
    assert_as_the_oracle(predictions, references)


@no_oracle
def test_scores_are_pycocoevalcaps_where_every_caption_is_empty() -> None:
    assert_as_the_oracle([[], []], [[["a", "dog"]], [["a", "cat"], []]])


@no_oracle
def test_scores_are_pycocoevalcaps_where_nothing_matches() -> None:
    assert_as_the_oracle([["x"] * 5, ["y"] * 5], [[["a", "dog"]], [["a", "cat"]]])


# --- BLEU -----------------------------------------------------------------------------------------


def test_bleu_clips_repeated_words_by_the_reference_that_has_most() -> None:
    counts = bleu_counts(
        [["the"] * 7], [[words("the cat is on the mat"), words("there is a cat on the mat")]]
    )
    assert counts.matches[0].tolist() == [2, 0, 0, 0]
    assert counts.totals[0].tolist() == [7, 6, 5, 4]
    assert bleu(counts)[0] == pytest.approx(2 / 7)


def test_bleu_worked_by_hand() -> None:
    predictions = [words("a dog runs fast in snow")]
    references = [[words("a dog runs in the snow")]]
    # matched: 5 of 6 words; "a dog", "dog runs" of 5; "a dog runs" of 4; none of 3
    counts = bleu_counts(predictions, references)
    assert counts.matches[0].tolist() == [5, 2, 1, 0]
    assert bleu(counts)[:3] == pytest.approx(
        [5 / 6, (5 / 6 * 2 / 5) ** (1 / 2), (5 / 6 * 2 / 5 * 1 / 4) ** (1 / 3)]
    )
    assert bleu(counts)[3] < 1e-3


@pytest.mark.parametrize(
    ("lengths", "closest"), [((4, 6), 4), ((3, 6), 6), ((8, 6, 3), 6), ((1, 9), 1)]
)
def test_brevity_compares_with_the_closest_reference_and_the_shorter_of_two(
    lengths: tuple[int, ...], closest: int
) -> None:
    counts = bleu_counts([["w"] * 5], [[["w"] * length for length in lengths]])
    assert counts.lengths[0].tolist() == [5, closest]
    brevity = 1.0 if closest <= 5 else math.exp(1 - closest / 5)
    assert bleu(counts)[0] == pytest.approx(brevity * min(max(lengths), 5) / 5)


@pytest.mark.parametrize("seed", range(3))
def test_bleu_is_nltks_where_both_are_defined(seed: int) -> None:
    predictions, references = captions_of_a_small_world(60, seed)
    whole = [
        (prediction, group)
        for prediction, group in zip(predictions, references, strict=True)
        if len(prediction) >= 4
    ]
    predictions, references = [prediction for prediction, _ in whole], [group for _, group in whole]
    found = bleu(bleu_counts(predictions, references))
    for order in range(1, 5):
        assert found[order - 1] == pytest.approx(
            corpus_bleu(references, predictions, weights=(1 / order,) * order), rel=1e-6
        )


@given(st.lists(drawn_image, min_size=2, max_size=6), st.data())
def test_bleu_counts_of_images_add_up_to_those_of_any_corpus_made_of_them(
    images: list[tuple[Caption, list[Caption]]], data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(images) - 1), min_size=1, max_size=8))
    counts = bleu_counts([prediction for prediction, _ in images], [group for _, group in images])
    corpus = bleu_counts(
        [images[index][0] for index in chosen], [images[index][1] for index in chosen]
    )
    np.testing.assert_array_equal(bleu(counts, np.array(chosen)), bleu(corpus))


# --- ROUGE-L --------------------------------------------------------------------------------------


def test_rouge_worked_by_hand_takes_precision_and_recall_from_different_references() -> None:
    # "a c" is found whole (recall 1), of "b c d e" three words are (precision 3/4)
    (score,) = rouge_l([words("a b c d")], [[words("a c"), words("b c d e")]])
    assert score == pytest.approx((1 + 1.2**2) * 0.75 * 1 / (1 + 1.2**2 * 0.75))


def test_rouge_of_equal_captions_is_one_and_of_unlike_ones_zero() -> None:
    assert rouge_l([["a", "b"], ["a", "b"]], [[["a", "b"]], [["c"]]]).tolist() == [1, 0]


def plain_longest_common_subsequence(first: Caption, second: Caption) -> int:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
            )
    return table[-1][-1]


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from("abcd"), max_size=80), st.lists(st.sampled_from("abcd"), max_size=80)
)
def test_the_longest_common_subsequence_is_that_of_the_plain_table(
    first: Caption, second: Caption
) -> None:
    assert longest_common_subsequence(first, second) == plain_longest_common_subsequence(
        first, second
    )


# --- CIDEr-D --------------------------------------------------------------------------------------


def test_cider_of_a_caption_that_is_its_only_reference_is_ten_for_the_orders_it_has() -> None:
    four, two = words("a red dog runs"), words("big boat")
    assert CiderD([[four], [two]]).scores([four, two], [[four], [two]]) == pytest.approx([10, 5])


def test_cider_worked_by_hand() -> None:
    # Two images, so a word of one of them weighs log 2 and a word of both weighs 0.
    references = [[words("a dog")], [words("a cat")]]
    score = CiderD(references).scores([words("a dog dog"), words("a dog")], references)
    # First: words {a: 0, dog: 2 log 2} against {dog: log 2}: min(2, 1) * 1 / (2 * 1) = 1/2;
    # pairs {a dog, dog dog} against {a dog}: 1 / sqrt 2; one pair more, so both times exp(-1 / 72).
    assert score[0] == pytest.approx(10 / 4 * (1 / 2 + 1 / math.sqrt(2)) * math.exp(-1 / 72))
    assert score[1] == 0


def test_cider_counts_an_image_once_however_many_of_its_references_have_the_word() -> None:
    often, once = [["dog"], ["dog"], ["dog"]], [["dog"], ["cat"], ["bird"]]
    others = [[["fish"]], [["horse"]]]
    asked: tuple[list[Caption], list[list[Caption]]] = [["dog", "fish"]], [[["dog", "horse"]]]
    # Weights of log 3 for every word: half of the squares of either caption is shared, and no pair
    # of words.
    for groups in (often, once):
        assert CiderD([groups, *others]).scores(*asked) == pytest.approx([10 / 4 / 2])


def test_cider_with_document_frequencies_from_elsewhere_weighs_unknown_words_most() -> None:
    cider = CiderD([[["a", "dog"]], [["a", "cat"]], [["a", "bird"]]])
    # a: log 1 = 0; dog: log 3, as a word that no reference has; of the words' squares the half is
    # shared.
    assert cider.scores([["a", "dog", "fish"]], [[["dog", "eel"]]])[0] == pytest.approx(
        10 / 4 / 2 * math.exp(-1 / 72)
    )
    # Two unknown words are two words.
    assert cider.scores([["eel", "fish"]], [[["eel", "cow"]]])[0] == pytest.approx(10 / 4 / 2)


@given(st.lists(drawn_image, min_size=2, max_size=6), st.data())
def test_cider_of_an_image_does_not_depend_on_the_images_scored_with_it(
    images: list[tuple[Caption, list[Caption]]], data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(images) - 1), min_size=1, max_size=8))
    cider = CiderD([[["a", "b", "c"]], [["b", "c"], ["d"]], [["a"]]])
    each = cider.scores([prediction for prediction, _ in images], [group for _, group in images])
    some = cider.scores(
        [images[index][0] for index in chosen], [images[index][1] for index in chosen]
    )
    np.testing.assert_allclose(some, each[chosen], atol=1e-12)


@pytest.mark.parametrize("images", [0, 1])
def test_cider_over_fewer_than_two_images_is_an_error(images: int) -> None:
    with pytest.raises(ValueError, match="at least two images"):
        CiderD([[["a", "dog"]]] * images)
    with pytest.raises(ValueError, match="at least two images"):
        score_captions([["a", "dog"]] * images, [[["a", "dog"]]] * images)


# --- all of them ----------------------------------------------------------------------------------


def test_two_images_have_the_scores_that_one_counts_by_hand() -> None:
    predictions = [tokenize("A dog runs."), tokenize("A cat, asleep")]
    references = [
        [tokenize("a dog runs"), tokenize("The dog is running.")],
        [tokenize("the cat is asleep"), tokenize("A cat asleep!")],
    ]
    scores = score_captions(predictions, references)
    assert scores.values["rouge_l"] == 1 and scores.images == 2
    assert (scores.prediction_length, scores.reference_length) == (6, 6)
    assert scores.matches == [6, 4, 2, 0] and scores.totals == [6, 4, 2, 0]


def test_counts_are_sums_over_images() -> None:
    predictions, references = captions_of_a_small_world(30, 0)
    scores, counts = score_captions(predictions, references), bleu_counts(predictions, references)
    assert scores.matches == counts.matches.sum(axis=0).tolist()
    assert scores.totals == counts.totals.sum(axis=0).tolist()
    assert scores.totals[0] == scores.prediction_length == sum(map(len, predictions))


def test_images_without_a_caption_or_references_are_errors() -> None:
    two = [["a"], ["b"]]
    with pytest.raises(ValueError, match="same images"):
        score_captions(two, [[["a"]], [["b"]], [["c"]]])
    with pytest.raises(ValueError, match="at least one reference"):
        score_captions(two, [[["a"]], []])


def test_intervals_hold_the_score_and_are_the_same_each_time() -> None:
    predictions, references = captions_of_a_small_world(60, 4)
    scores = score_captions(predictions, references, bootstrap=200)
    assert scores.intervals.keys() == scores.values.keys()
    for name, (low, high) in scores.intervals.items():
        assert low < scores.values[name] < high
    assert score_captions(predictions, references, bootstrap=200).intervals == scores.intervals
    assert score_captions(predictions, references).intervals == {}


def test_intervals_of_a_mean_are_about_as_wide_as_statistics_says() -> None:
    predictions, references = captions_of_a_small_world(200, 5)
    scores = score_captions(predictions, references, bootstrap=500)
    for name in ("rouge_l", "cider_d"):
        low, high = scores.intervals[name]
        each = scores.per_image[name]
        assert high - low == pytest.approx(2 * 1.96 * each.std() / math.sqrt(len(each)), rel=0.2)
