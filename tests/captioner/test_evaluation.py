"""Judging captions: the right ones matched, scored and reported with what a reader must know."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from captioner.datasets import Dataset, Example
from captioner.evaluation import Report, choose_split, judge, read_predictions
from captioner.java_metrics import java_scores
from rnnkit.errors import UserError

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
    return judge(captions, examples(), data="small.json", split="test", decoding="beam 3", **options)


# --- scores and report ------------------------------------------------------------------------------------------------


def test_captions_that_repeat_a_reference_score_the_most_there_is() -> None:
    values = judged(bootstrap=0).scores.values
    assert [values[f"bleu_{order}"] for order in (1, 2, 3, 4)] == pytest.approx([1] * 4)
    assert values["rouge_l"] == pytest.approx(1) and 4 < values["cider_d"] <= 10


def test_captions_of_other_images_score_little() -> None:
    turned = dict(zip(PERFECT, [*list(PERFECT.values())[1:], PERFECT["1"]], strict=True))
    assert judged(turned, bootstrap=0).scores.values["cider_d"] < 0.5


def test_the_report_says_what_a_reader_must_know() -> None:
    text = str(judged(PERFECT | {"1": "A dog", "2": "a dog!"}, bootstrap=100))
    for said in (
        "small.json, split test: 4 images; beam 3",
        "tokens: PTB-like, lower case, coco-caption's 17 punctuation tokens dropped",
        "BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr-D", "95 % interval",
        "METEOR   left out: needs Java", "SPICE    left out: needs Java",
        "n-grams matched [", "words against", "3 distinct captions",
    ):  # fmt: skip
        assert said in text, text


def test_the_report_as_json_has_scores_as_fractions_and_every_count() -> None:
    report = json.loads(json.dumps(judged(bootstrap=50).as_json()))
    assert report.keys() == {
        "data", "split", "decoding", "tokeniser", "images", "values", "intervals", "matches", "totals",
        "prediction_length", "reference_length", "distinct_captions", "left_out",
    }  # fmt: skip
    assert report["values"]["bleu_4"] == pytest.approx(1) and report["images"] == 4 and report["split"] == "test"
    assert report["matches"] == report["totals"] and report["totals"][0] == report["prediction_length"] == 29
    low, high = report["intervals"]["cider_d"]
    assert low <= report["values"]["cider_d"] <= high


def test_without_resamples_there_are_no_intervals() -> None:
    report = judged(bootstrap=0)
    assert report.as_json()["intervals"] == {} and "interval" not in str(report)


def test_one_image_cannot_be_judged() -> None:
    with pytest.raises(UserError, match="at least two"):
        judge(PERFECT, examples()[:1], data="d", split="s", decoding="b")


def test_two_photos_of_one_id_cannot_be_judged() -> None:
    twice = [*examples(), Example(Path("other/1.jpg"), ("a cat",), "test", "1")]
    with pytest.raises(UserError, match="two photos in 'd' have the id 1"):
        judge(PERFECT, twice, data="d", split="s", decoding="b")


# --- splits -----------------------------------------------------------------------------------------------------------


def test_the_test_split_is_judged_where_the_file_names_splits_and_else_everything() -> None:
    named = Dataset("d", examples("train", "val", "test", "test"), has_splits=True)
    unnamed = Dataset("d", examples("train", "val", "train", "train"))
    assert [e.image_id for e in choose_split(named, None)[0]] == [42, "holiday"] and choose_split(named, None)[1] == "test"
    assert len(choose_split(unnamed, None)[0]) == 4 and choose_split(unnamed, None)[1] == "all"
    assert [e.image_id for e in choose_split(named, "val")[0]] == [2]
    assert len(choose_split(named, "all")[0]) == 4


def test_a_split_that_is_not_there_is_refused_and_those_that_are_named() -> None:
    with pytest.raises(UserError, match=r"'d' has no split 'test' \(it has train 3, val 1\)"):
        choose_split(Dataset("d", examples("train", "train", "val", "train"), has_splits=True), None)
    with pytest.raises(UserError, match="its format names no splits: use --split all"):
        choose_split(Dataset("d", examples("train", "val")), "val")


# --- predictions ------------------------------------------------------------------------------------------------------


def predictions(tmp_path: Path, content: Any) -> dict[str, str]:
    path = tmp_path / "results.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_predictions(path, examples())


ROWS = [{"image_id": number, "caption": captions[0]} for number, captions in REFERENCES.items()]


def test_predictions_are_matched_by_id_whether_number_or_text(tmp_path: Path) -> None:
    assert predictions(tmp_path, ROWS) == PERFECT
    assert predictions(tmp_path, [row | {"image_id": str(row["image_id"])} for row in reversed(ROWS)]) == PERFECT


def test_predictions_of_other_images_are_left_aside(tmp_path: Path) -> None:
    assert predictions(tmp_path, [*ROWS, {"image_id": 99, "caption": "a zebra", "score": 1}]) == PERFECT


def test_an_empty_caption_is_a_caption(tmp_path: Path) -> None:
    assert predictions(tmp_path, [*ROWS[1:], {"image_id": 1, "caption": ""}])["1"] == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ROWS[1:], "lacks 1 of 4 images, for example 1; is it of another split?"),
        ([], "lacks 4 of 4 images, for example 1, 2, 42"),
        ([*ROWS, {"image_id": 42, "caption": "again"}], "has two captions for image 42"),
        ([*ROWS, {"image_id": "42", "caption": "again"}], "has two captions for image 42"),
        ([{"id": 1, "caption": "a dog"}], "is no COCO results file"),
        ([{"image_id": 1}], "is no COCO results file"),
        ([{"image_id": 1, "caption": None}], "is no COCO results file"),
        ({"annotations": ROWS}, "is no COCO results file"),
        ("[1, 2]", "is no COCO results file"),
        ("3", "is no COCO results file"),
        ("{", "is no COCO results file"),
        ("", "is no COCO results file"),
    ],
)
def test_predictions_that_cannot_be_judged_are_refused_with_the_reason(content: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        predictions(tmp_path, content)
    assert said in str(caught.value) and "results.json" in str(caught.value)


def test_predictions_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no predictions at '.*gone.json'"):
        read_predictions(tmp_path / "gone.json", examples())


# --- METEOR and SPICE -------------------------------------------------------------------------------------------------

TOKENS = [[["a", "dog", "runs"]], [["two", "cats", "sleep"]]]


def test_without_java_meteor_and_spice_are_left_out_and_said_so() -> None:
    needs_extra = importlib.util.find_spec("pycocoevalcap") is None
    wanted = "needs the extra" if needs_extra else "needs Java, which is not installed"
    scores, missing = java_scores([group[0] for group in TOKENS], TOKENS)
    assert scores == {} and missing.keys() == {"meteor", "spice"} and all(reason.startswith(wanted) for reason in missing.values())


def test_without_the_extra_meteor_and_spice_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    scores, missing = java_scores([group[0] for group in TOKENS], TOKENS)
    assert scores == {} and set(missing.values()) == {"needs the extra: pip install show-and-spell[metrics]"}


@pytest.mark.slow
@pytest.mark.usefixtures("with_java")
def test_where_java_is_there_meteor_is_computed_whatever_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LANG"):
        monkeypatch.setenv(name, "de_DE.UTF-8")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.country=US")
    scores, missing = java_scores([group[0] for group in TOKENS], TOKENS)
    assert scores["meteor"] == pytest.approx(1, abs=0.01)
    assert "spice" in scores or "spice" in missing
    assert os.environ["JAVA_TOOL_OPTIONS"].count("user.language=en") == 1


@pytest.mark.usefixtures("with_java")
def test_a_java_program_that_dies_leaves_its_metric_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from pycocoevalcap.meteor.meteor import Meteor

    def die(self: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(Meteor, "__init__", die)
    monkeypatch.setattr(Meteor, "__del__", lambda self: None)
    scores, missing = java_scores([group[0] for group in TOKENS], TOKENS)
    assert "meteor" not in scores and "Broken pipe" in missing["meteor"]
