"""The scripts that score, check and time scores."""

from __future__ import annotations

import importlib.util
import json
import random
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

import captioner
from rnnkit.errors import UserError
from rnnkit.metrics.tokenizer import tokenize

SCRIPTS = Path(captioner.__file__).parents[1] / "scripts"
no_oracle = pytest.mark.skipif(
    importlib.util.find_spec("pycocoevalcap") is None,
    reason="pycocoevalcap, the metrics extra, is not installed",
)


def script(name: str) -> dict[str, Any]:
    """A script's functions; as when it is run, it finds the files beside it."""
    path = SCRIPTS / f"{name}.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)
        return runpy.run_path(str(path))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """COCO annotations of 60 images, results that are close to them, and results less close."""
    source = random.Random(2)
    nouns, verbs, places = (
        ("a dog", "two children", "a man", "the horse"),
        ("runs", "is jumping", "sits"),
        ("in snow", "on a beach", "outside"),
    )
    annotations, results, worse = [], [], []
    for number in range(60):
        noun, verb, place = source.choice(nouns), source.choice(verbs), source.choice(places)
        annotations += [
            {"image_id": number, "caption": f"{noun} {verb} {place}."},
            {"image_id": number, "caption": f"There {noun} {verb}"},
        ]
        caption = f"{noun} {source.choice(verbs)} {source.choice(places)}"
        results.append({"image_id": number, "caption": caption})
        worse.append(
            {"image_id": number, "caption": caption if number % 2 else "a picture of something"}
        )
    paths = (tmp_path / "references.json", tmp_path / "results.json", tmp_path / "worse.json")
    contents = (
        {"images": [{"id": number} for number in range(60)], "annotations": annotations},
        results,
        worse,
    )
    for path, content in zip(paths, contents, strict=True):
        path.write_text(json.dumps(content), encoding="utf-8")
    return paths


Printed = Callable[..., str]


@pytest.fixture
def evaluated(files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> Printed:
    """A function that returns what evaluate_bleu.py prints about the files."""
    evaluate = script("evaluate_bleu")["evaluate"]

    def run(**options: Any) -> str:
        evaluate(
            files[0],
            options.pop("predictions", files[1]),
            **{"bootstrap": 100, "java": False, **options},
        )
        return capsys.readouterr().out

    return run


# --- evaluate_bleu --------------------------------------------------------------------------------


def test_scores_are_printed_as_text_json_markdown_and_latex(evaluated: Printed) -> None:
    text, markdown, latex = evaluated(), evaluated(markdown=True), evaluated(latex=True)
    report = json.loads(evaluated(as_json=True))
    bleu = f"{100 * report['values']['bleu_4']:.2f}"
    assert report["images"] == 60 and report["intervals"].keys() == report["values"].keys()
    assert (
        re.search(rf"^BLEU-4 +{bleu} ", text, re.MULTILINE)
        and f"| BLEU-4 | {bleu} |" in markdown
        and f"BLEU-4 & {bleu} &" in latex
    )
    assert r"\begin{tabular}{lrrrrr}" in latex
    assert "| --- | ---: | ---: | ---: | ---: | ---: |" in markdown


def test_only_one_output_format_is_accepted(evaluated: Printed) -> None:
    with pytest.raises(UserError, match="one of --json, --markdown and --latex"):
        evaluated(as_json=True, latex=True)


def test_a_worse_captioner_scores_lower_and_not_by_chance(
    evaluated: Printed, files: tuple[Path, Path, Path]
) -> None:
    report = json.loads(evaluated(compare=files[2], as_json=True))
    for metric in ("bleu_1", "rouge_l", "cider_d"):
        assert report["differences"][metric]["difference"] < 0
        assert report["differences"][metric]["p_value"] == pytest.approx(1 / 101)
    assert "| CIDEr-D |" in evaluated(compare=files[2], markdown=True)


def test_a_subset_is_scored_only_when_allowed_and_is_called_a_subset(
    evaluated: Printed, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    rows = json.loads(files[1].read_text(encoding="utf-8"))
    (tmp_path / "some.json").write_text(json.dumps(rows[:20]), encoding="utf-8")
    (tmp_path / "others.json").write_text(json.dumps(rows[10:]), encoding="utf-8")
    with pytest.raises(UserError, match=r"has no captions for 40 of 60 images.*--allow-missing"):
        evaluated(predictions=tmp_path / "some.json")
    assert "SUBSET, 20 of 60 images: 40 without a caption" in evaluated(
        predictions=tmp_path / "some.json", allow_missing=True
    )
    both = evaluated(
        predictions=tmp_path / "some.json", compare=tmp_path / "others.json", allow_missing=True
    )
    assert "SUBSET, 10 of 60 images: 50 without a caption" in both


def test_a_bad_file_is_one_line_on_stderr_and_exit_code_two(
    files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "empty.json").write_text("[]", encoding="utf-8")
    command = [
        sys.executable,
        str(SCRIPTS / "evaluate_bleu.py"),
        str(files[0]),
        str(tmp_path / "empty.json"),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=SCRIPTS.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr.startswith("evaluate_bleu: ")
        and "has no captions for 60 of 60 images" in done.stderr
        and done.stderr.count("\n") == 1
    )


# --- the golden check, the tokenisers, the speed --------------------------------------------------


@no_oracle
def test_the_golden_check_passes_on_pycocoevalcaps_values_and_fails_on_any_other(
    files: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    data = json.loads(files[0].read_text(encoding="utf-8"))
    references: dict[int, list[str]] = {}
    for annotation in data["annotations"]:
        references.setdefault(annotation["image_id"], []).append(
            " ".join(tokenize(annotation["caption"]))
        )
    results = {
        row["image_id"]: [row["caption"]]
        for row in json.loads(files[1].read_text(encoding="utf-8"))
    }
    scorer = BleuScorer()
    for number, group in references.items():
        scorer += (results[number][0], group)
    bleu, _ = scorer.compute_score(option="closest")
    expected = {
        "guess": [sum(image["guess"][order] for image in scorer.ctest) for order in range(4)],
        "correct": [sum(image["correct"][order] for image in scorer.ctest) for order in range(4)],
        "testlen": scorer._testlen,
        "reflen": scorer._reflen,
        "bleu": bleu,
        "rouge_l": float(Rouge().compute_score(references, results)[0]),
        "cider_d": float(Cider().compute_score(references, results)[0]),
    }
    check = script("check_golden_scores")["check"]
    path = tmp_path / "expected.json"
    path.write_text(json.dumps(expected), encoding="utf-8")
    check(files[0], files[1], path)
    assert "60 images, 0 of 7 values differ" in capsys.readouterr().out
    path.write_text(
        json.dumps(expected | {"correct": [0, *expected["correct"][1:]]}), encoding="utf-8"
    )
    with pytest.raises(typer.Exit) as caught:
        check(files[0], files[1], path)
    assert caught.value.exit_code == 1
    assert "DIFFERENT  correct" in capsys.readouterr().out


def test_the_golden_check_knows_the_public_record(
    files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        script("check_golden_scores")["check"](files[0], files[1])
    assert "should be [9893, 8893, 7893, 6893]" in capsys.readouterr().out


@no_oracle
@pytest.mark.skipif(
    shutil.which("java") is None,
    reason="Java, which coco-caption's tokeniser needs, is not installed",
)
@pytest.mark.slow
def test_captions_that_the_tokenisers_split_differently_are_counted_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "captions.txt").write_text(
        "A dog's bowl.\tTwo men, three cats\nThey sit at Dunkin' Donuts\n", encoding="utf-8"
    )
    script("compare_tokenisers")["compare"](tmp_path / "captions.txt")
    out = capsys.readouterr().out
    assert (
        "1 of 3 captions differ" in out
        and "Java: they sit at dunkin' donuts" in out
        and "here: they sit at dunkin donuts" in out
    )


@no_oracle
def test_scores_equal_pycocoevalcaps_and_take_at_most_a_quarter_of_the_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    script("benchmarks/metrics")["benchmark"](images=600, turns=3)
    last = capsys.readouterr().out.splitlines()[-1]
    ratio, differ = last.removeprefix("ratio ").split("; scores differ by at most ")
    assert float(ratio) >= 4
    assert float(differ) < 1e-9


# --- the table of the benchmark -------------------------------------------------------------------


def test_a_row_of_the_benchmarks_table_says_what_it_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    Image.new("RGB", (300, 200), (10, 90, 30)).save(tmp_path / "green.png")
    script("benchmarks/captioning")["row"](
        "torch", tmp_path, beam_size=1, batch_size=2, seconds=0.001
    )
    found = json.loads(capsys.readouterr().out)
    assert found["photos_per_second"] == pytest.approx(2 / found["median_seconds"], rel=0.5)
    assert found["peak_mib"] > 50 and found["parameters"] > 1e6


def test_the_benchmarks_table_has_a_row_for_each_network_batch_size_and_beam_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command[3:])
        row = {
            "photos_per_second": 12.345,
            "median_seconds": 0.08,
            "peak_mib": 500.4,
            "parameters": 12_600_000,
        }
        return subprocess.CompletedProcess(command, 0, stdout=json.dumps(row) + "\n", stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    script("benchmarks/captioning")["table"](
        tmp_path, seconds=1, batch_size=32, other_batch_size=8, beams="1,3,5"
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(asked) == len(lines) - 2 == 24
    assert {call[0] for call in asked} == {"openvino", "torch", "BLIP-base", "ViT-GPT2"}
    assert "| captioner, openvino | 3 | 32 | 12.3 | 80 | 500 | 12.6 |" in lines
    assert "| BLIP-base | 5 | 8 | 12.3 | 80 | 500 | 12.6 |" in lines
