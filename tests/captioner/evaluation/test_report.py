"""Judging captions: the right ones matched, scored and reported with what a reader must know."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.data.annotations import Dataset, Example
from captioner.evaluation.references import choose_split, read_references
from captioner.evaluation.report import Comparison, Report, judge
from captioner.metrics.meteor_spice import java_scores, meteor
from rnnkit.errors import UserError
from rnnkit.metrics.tokenizer import tokenize

REFERENCES: dict[int | str, tuple[str, ...]] = {
    1: ("A brown dog runs through the snow .", "The dog is running in snow"),
    2: ("Two children play with a red ball", "Two kids playing ball in a park ."),
    42: ("A man rides a wave on his surfboard", "A surfer on a wave"),
    "holiday": ("A white boat on a blue lake", "The boat is on the lake"),
}


def examples(*splits: str) -> list[Example]:
    chosen = splits or ("test",) * 4
    return [
        Example(Path(f"{number}.jpg"), captions, split, number)
        for (number, captions), split in zip(REFERENCES.items(), chosen, strict=False)
    ]


PERFECT = {str(number): captions[0] for number, captions in REFERENCES.items()}


def judged(captions: dict[str, str] = PERFECT, **options: Any) -> Report:
    return judge(
        captions, examples(), data="small.json", split="test", decoding="beam 3", **options
    )


# --- scores and report ----------------------------------------------------------------------------


def test_captions_that_repeat_a_reference_score_the_most_there_is() -> None:
    values = judged(bootstrap=0).scores.values
    assert [values[f"bleu_{order}"] for order in (1, 2, 3, 4)] == pytest.approx([1] * 4)
    assert values["rouge_l"] == pytest.approx(1) and 4 < values["cider_d"] <= 10


def test_captions_of_other_images_score_little() -> None:
    turned = dict(zip(PERFECT, [*list(PERFECT.values())[1:], PERFECT["1"]], strict=True))
    assert judged(turned, bootstrap=0).scores.values["cider_d"] < 0.5


def test_the_report_says_what_a_reader_must_know() -> None:
    text = judged(PERFECT | {"1": "A dog", "2": "a dog!"}, bootstrap=100).table().text()
    for said in (
        "small.json, split test: 4 images\n",
        "captions: beam 3",
        "tokens: PTB-like, lower case, coco-caption's 17 punctuation tokens dropped",
        "BLEU-1",
        "BLEU-4",
        "ROUGE-L",
        "CIDEr-D",
        "95 % interval",
        "nltk's",
        "METEOR left out: needs Java",
        "SPICE left out: needs Java",
        "n-grams matched [",
        "words against",
        "(ratio 0.",
        "3 distinct captions",
    ):
        assert said in text, text


def test_the_report_as_json_has_scores_as_fractions_and_every_count() -> None:
    report = json.loads(json.dumps(judged(bootstrap=50).as_json()))
    assert report.keys() == {
        "data",
        "split",
        "decoding",
        "tokeniser",
        "images",
        "values",
        "intervals",
        "matches",
        "totals",
        "prediction_length",
        "reference_length",
        "length_ratio",
        "distinct_captions",
        "missing_images",
        "support",
        "nltk_bleu",
        "left_out",
    }
    assert (
        report["values"]["bleu_4"] == pytest.approx(1)
        and report["images"] == 4
        and report["split"] == "test"
    )
    assert (
        report["matches"] == report["totals"]
        and report["totals"][0] == report["prediction_length"] == 29
    )
    assert report["length_ratio"] == 1 and report["missing_images"] == 0
    assert report["nltk_bleu"] == {f"bleu_{order}": pytest.approx(1) for order in (1, 2, 3, 4)}
    low, high = report["intervals"]["cider_d"]
    assert low <= report["values"]["cider_d"] <= high


def test_the_report_says_which_words_people_support_and_how_far_people_support_each_other() -> None:
    captions = PERFECT | {"2": "a red boat", "holiday": "a white boat on a red lake"}
    report = judged(captions, bootstrap=50)
    support = json.loads(json.dumps(report.as_json()))["support"]
    assert support.keys() == {"captions", "people"}
    # Judged by all references but the last, as the people are.
    assert support["captions"]["values"]["colour"] == pytest.approx(3 / 4)
    assert support["people"]["words"]["colour"] == 0 and "colour" not in support["people"]["values"]
    assert support["captions"]["words"]["content"] == 14
    assert support["captions"]["most_often_unsupported"][0] == {
        "word": "boat", "unsupported": 1, "used": 2,
    }  # fmt: skip
    low, high = support["captions"]["intervals"]["content"]
    assert low <= support["captions"]["values"]["content"] <= high
    text = report.table().text()
    assert "content words supported" in text and "people's" in text
    assert "content words a caption: 3.50, people's 3.00" in text
    assert "most often unsupported: boat 1 of 2" in text


def test_a_subset_is_called_one_at_the_top() -> None:
    report = judge(
        PERFECT,
        examples()[:3],
        data="small.json",
        split="test",
        decoding="d",
        missing=1,
        bootstrap=0,
    )
    assert (
        report.table().text().splitlines()[0]
        == "small.json, split test: SUBSET, 3 of 4 images: 1 without a caption"
    )


def test_captions_shorter_than_four_words_cost_by_nltks_definition_and_not_by_coco_captions() -> (
    None
):
    short = judged(PERFECT | {"1": "A brown dog"}, bootstrap=0)
    assert short.nltk["bleu_3"] == pytest.approx(
        short.scores.values["bleu_3"]
    )  # three words are one 3-gram
    assert short.nltk["bleu_4"] < 0.99 * short.scores.values["bleu_4"]


def test_without_resamples_there_are_no_intervals() -> None:
    report = judged(bootstrap=0)
    assert report.as_json()["intervals"] == {} and "interval" not in report.table().text()


def test_one_image_cannot_be_judged() -> None:
    with pytest.raises(UserError, match="at least two"):
        judge(PERFECT, examples()[:1], data="d", split="s", decoding="b")


def test_two_photos_of_one_id_cannot_be_judged() -> None:
    twice = [*examples(), Example(Path("other/1.jpg"), ("a cat",), "test", "1")]
    with pytest.raises(UserError, match="two photos in 'd' have the id 1"):
        judge(PERFECT, twice, data="d", split="s", decoding="b")


# --- splits ---------------------------------------------------------------------------------------


def test_the_test_split_is_judged_where_the_file_names_splits_and_else_everything() -> None:
    named = Dataset("d", examples("train", "val", "test", "test"), has_splits=True)
    unnamed = Dataset("d", examples("train", "val", "train", "train"))
    assert [e.image_id for e in choose_split(named, None)[0]] == [42, "holiday"] and choose_split(
        named, None
    )[1] == "test"
    assert len(choose_split(unnamed, None)[0]) == 4 and choose_split(unnamed, None)[1] == "all"
    assert [e.image_id for e in choose_split(named, "val")[0]] == [2]
    assert len(choose_split(named, "all")[0]) == 4


def test_a_split_that_is_not_there_is_refused_and_those_that_are_named() -> None:
    with pytest.raises(UserError, match=r"'d' has no split 'test' \(it has train 3, val 1\)"):
        choose_split(
            Dataset("d", examples("train", "train", "val", "train"), has_splits=True), None
        )
    with pytest.raises(UserError, match="because its format names none: use --split all"):
        choose_split(Dataset("d", examples("train", "val")), "val")


# --- references in plain text ---------------------------------------------------------------------


def text_references(tmp_path: Path, text: str, name: str = "references.txt") -> Dataset:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return read_references(path)


def test_plain_text_is_a_line_an_image_with_tabs_between_its_references(tmp_path: Path) -> None:
    dataset = text_references(tmp_path, "a dog, running\tThe dog runs . \r\n\ta  cat\n")
    assert [(example.image_id, example.captions) for example in dataset.examples] == [
        (1, ("a dog, running", "The dog runs .")),
        (2, ("a cat",)),
    ]
    assert choose_split(dataset, None)[1] == "all"


def test_a_line_without_a_reference_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 2 of '.*references.txt' has no reference"):
        text_references(tmp_path, "a dog\n . \t\na cat\n")


@pytest.mark.parametrize(
    "text",
    [
        "1.jpg#0\tA dog runs\n1.jpg#1\tThe dog runs\n2.jpg#0\tA cat sleeps\n",
        "image,caption\n1.jpg,A dog runs\n1.jpg,The dog runs\n2.jpg,A cat sleeps\n",
        "image_name| comment_number| comment\n1.jpg|0|A dog runs\n1.jpg|1|The dog runs\n"
        "2.jpg|0|A cat sleeps\n",
        json.dumps(
            {
                "images": [{"id": 1}, {"id": 2}],
                "annotations": [
                    {"image_id": 1, "caption": "A dog runs"},
                    {"image_id": 1, "caption": "The dog runs"},
                    {"image_id": 2, "caption": "A cat sleeps"},
                ],
            }
        ),
        json.dumps(
            {
                "images": [
                    {
                        "filename": "1.jpg",
                        "split": "test",
                        "sentences": [{"raw": "A dog runs"}, {"raw": "The dog runs"}],
                    },
                    {"filename": "2.jpg", "split": "test", "sentences": [{"raw": "A cat sleeps"}]},
                ]
            }
        ),
    ],
)
def test_references_in_the_fields_formats_are_not_taken_for_plain_text_whatever_the_files_name(
    text: str, tmp_path: Path
) -> None:
    found = [
        (example.image_id, example.captions) for example in text_references(tmp_path, text).examples
    ]
    assert found == [(1, ("A dog runs", "The dog runs")), (2, ("A cat sleeps",))]


@pytest.mark.parametrize(
    ("name", "said"), [("r.csv", "must name the columns"), ("r.json", "not in a known format")]
)
def test_a_file_that_should_be_something_else_is_not_taken_for_plain_text(
    name: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        text_references(tmp_path, "a dog, running\n" if name == "r.csv" else "a dog\n", name)


# --- two captioners -------------------------------------------------------------------------------


def test_a_comparison_shows_both_the_differences_and_how_likely_chance_is() -> None:
    worse = PERFECT | {"1": "two dogs", "holiday": "a lake"}
    comparison = Comparison(judged(worse, bootstrap=200), judged(bootstrap=200))
    found = json.loads(json.dumps(comparison.as_json()))
    assert found["test"] == "paired bootstrap over images, two-sided"
    for name, value in found["first"]["values"].items():
        assert found["differences"][name]["difference"] == pytest.approx(
            found["second"]["values"][name] - value
        )
        assert 0 < found["differences"][name]["p_value"] <= 1
    text = comparison.table().text()
    assert "B - A" in text and "p: paired bootstrap over images, two-sided, 200 draws" in text


def test_a_captioner_compared_with_itself_differs_by_nothing_and_by_chance() -> None:
    differences = Comparison(judged(bootstrap=50), judged(bootstrap=50)).as_json()["differences"]
    assert all(found == {"difference": 0, "p_value": 1} for found in differences.values())


def test_without_resamples_a_comparison_has_no_p_values() -> None:
    comparison = Comparison(judged(bootstrap=0), judged(bootstrap=0))
    assert {found["p_value"] for found in comparison.as_json()["differences"].values()} == {None}
    assert (
        "bootstrap" not in comparison.table().text() and "interval" not in comparison.table().text()
    )


# --- METEOR and SPICE -----------------------------------------------------------------------------

TOKENS = [[["a", "dog", "runs"]], [["two", "cats", "sleep"]]]


def test_without_java_meteor_and_spice_are_left_out_and_said_so() -> None:
    needs_extra = importlib.util.find_spec("pycocoevalcap") is None
    wanted = "needs the extra" if needs_extra else "needs Java, which is not installed"
    scores, missing = java_scores([group[0] for group in TOKENS], TOKENS)
    assert (
        scores == {}
        and missing.keys() == {"meteor", "spice"}
        and all(reason.startswith(wanted) for reason in missing.values())
    )


def test_without_the_extra_meteor_and_spice_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    scores, missing = java_scores([group[0] for group in TOKENS], TOKENS)
    assert scores == {} and set(missing.values()) == {
        'needs the extra: pip install "show-and-spell[metrics]"'
    }


@pytest.fixture
def one_meteor(with_java: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """METEOR's Java program reads its tables for ten seconds: one answers a whole test."""
    from pycocoevalcap.meteor.meteor import Meteor

    start, end, started = Meteor.__init__, Meteor.__del__, list[Any]()

    def start_once(self: Any) -> None:
        if not started:
            start(self)
            started.append(self)
        vars(self).update(vars(started[0]))

    monkeypatch.setattr(Meteor, "__init__", start_once)
    monkeypatch.setattr(Meteor, "__del__", lambda self: None)
    yield
    end(started[0])


@pytest.mark.slow
@pytest.mark.usefixtures("one_meteor")
def test_where_java_is_there_meteor_is_computed_for_any_choice_of_images_whatever_the_locale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LC_ALL", "LANG"):
        monkeypatch.setenv(name, "de_DE.UTF-8")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.country=US")
    predictions = [
        text.split()
        for text in (
            "a dog runs in the snow",
            "two kids playing ball in a park",
            "a cat",
            "the boats are on a lake",
        )
    ]
    references = [[tokenize(caption) for caption in group] for group in REFERENCES.values()]
    scores, missing = java_scores(predictions, references)
    assert "spice" in scores or "spice" in missing
    assert os.environ["JAVA_TOOL_OPTIONS"].count("user.language=en") == 1
    assert scores["meteor"](np.array([1])) == 1  # it is one of its references
    chosen = [3, 0, 1]
    alone, _ = java_scores(
        [predictions[image] for image in chosen], [references[image] for image in chosen]
    )
    value = scores["meteor"](np.array(chosen))
    assert 0.1 < value < 0.9 and value == pytest.approx(alone["meteor"](np.arange(3)), abs=1e-12)


def test_meteor_of_nothing_matched_or_nothing_there_is_zero() -> None:
    assert meteor(np.zeros(23)) == 0
    assert meteor(np.array([6, 5, 2, 2] + [0] * 19, dtype=float)) == 0


@pytest.mark.usefixtures("with_java")
def test_a_java_program_that_dies_leaves_its_metric_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pycocoevalcap.meteor.meteor import Meteor

    def die(self: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(Meteor, "__init__", die)
    monkeypatch.setattr(Meteor, "__del__", lambda self: None)
    scores, missing = java_scores([group[0] for group in TOKENS], TOKENS)
    assert "meteor" not in scores and "Broken pipe" in missing["meteor"]
