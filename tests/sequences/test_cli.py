"""The commands: what they print and how they leave."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnkit.command_line import run_app
from sequences import Classifier, Tagger, Translator
from sequences.cli import app
from tests.sequences.conftest import LABELLED, PAIRS, TAGGED, folder_of

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process: exit code, stdout, stderr."""

    def run_command(*arguments: object) -> tuple[int, str, str]:
        code = 0
        try:
            run_app("sequences", app, [str(argument) for argument in arguments])
        except SystemExit as exit:
            code = int(exit.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run_command


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory,
    classifier: Classifier,
    tagger: Tagger,
    translator: Translator,
) -> dict[str, Path]:
    """A checkpoint folder for each task."""
    where = tmp_path_factory.mktemp("models")
    return {
        model.task: folder_of(model, where / model.task)
        for model in (classifier, tagger, translator)
    }


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_classify_prints_text_label_and_probability(run: Run, folders: dict[str, Path]) -> None:
    code, out, _ = run("classify", "warm", "not\twarm", "--model", folders["classify"])
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0 and [row[:2] for row in rows] == [
        ["warm", "positive"],
        ["not warm", "negative"],
    ]
    assert all(0.5 < float(row[2]) <= 1 for row in rows)


def test_classify_as_jsonl_has_all_probabilities(run: Run, folders: dict[str, Path]) -> None:
    _, out, _ = run("classify", "warm", "--format", "jsonl", "--model", folders["classify"])
    row = json.loads(out)
    assert row["status"] == "ok" and set(row["probabilities"]) == {"negative", "positive"}


def test_a_text_without_words_is_named_and_the_others_are_done(
    run: Run, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin(monkeypatch, b"warm\n\nnot warm\r\n")
    code, out, err = run("classify", "--model", folders["classify"])
    assert code == 1 and len(out.splitlines()) == 2 and "text 2: the text has no words" in err


def test_tag_prints_a_word_a_line_and_a_blank_line_after_a_sentence(
    run: Run, folders: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "texts").write_text("Anna met Bob Lee\nnew is big\n", encoding="utf-8")
    code, out, _ = run("tag", "--from-file", tmp_path / "texts", "--model", folders["tag"])
    sentences = [example for example in TAGGED if example.words[0] in ("Anna", "new")]
    expected = "".join(
        "".join(f"{word}\t{tag}\n" for word, tag in zip(*each, strict=True)) + "\n"
        for each in (sentences[0], sentences[1])
    )
    assert (code, out) == (0, expected)


def test_tag_keeps_words_that_are_separated_already(run: Run, folders: dict[str, Path]) -> None:
    _, out, _ = run("tag", "it's big", "--tokens", "--model", folders["tag"])
    assert [line.partition("\t")[0] for line in out.splitlines()] == ["it's", "big", ""]


def test_tag_as_jsonl_has_whole_entities(run: Run, folders: dict[str, Path]) -> None:
    _, out, _ = run("tag", "Anna met Bob Lee", "--format", "jsonl", "--model", folders["tag"])
    assert json.loads(out)["entities"] == [
        {"type": "person", "text": "Anna", "first": 0, "last": 0},
        {"type": "person", "text": "Bob Lee", "first": 2, "last": 3},
    ]


def test_translate_gives_a_line_for_a_line_even_an_empty_one(
    run: Run, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin(monkeypatch, "\N{ZERO WIDTH NO-BREAK SPACE}Dia makan.\n\nTom makan nasi.\n".encode())
    code, out, err = run("translate", "--model", folders["translate"])
    assert (code, out, err) == (
        1,
        "He eats.\n\nTom eats rice.\n",
        "text 2: the text has no words\n",
    )


def test_a_translation_from_a_language_that_the_model_does_not_read_is_said_to_be_a_guess(
    run: Run, folders: dict[str, Path]
) -> None:
    texts = ("Tom makan 2 kucing Jerman.", "She eats rice.")
    code, out, err = run("translate", *texts, "--model", folders["translate"])
    assert code == 0 and len(out.splitlines()) == 2
    assert err.startswith("text 2: the translator knows none of the 3 words, so this is a guess")
    assert len(err.splitlines()) == 1


def test_several_translations_stand_on_one_line(run: Run, folders: dict[str, Path]) -> None:
    arguments = ("translate", "Dia makan.", "--num-translations", 3, "--model")
    _, out, _ = run(*arguments, folders["translate"])
    assert len(set(out.rstrip("\n").split("\t"))) == 3 and out.startswith("He eats.\t")


@pytest.mark.parametrize(
    ("task", "text"),
    [("classify", "label\ttext\n"), ("tag", ""), ("translate", "")],
)
def test_evaluate_prints_the_metrics_and_the_baselines(
    task: str, text: str, run: Run, folders: dict[str, Path], tmp_path: Path
) -> None:
    rows = {
        "classify": [f"{each.label}\t{each.text}\n" for each in LABELLED],
        "tag": [
            "".join(f"{word}\t{tag}\n" for word, tag in zip(*each, strict=True)) + "\n"
            for each in TAGGED
        ],
        "translate": [f"{pair.source}\t{pair.target}\n" for pair in PAIRS],
    }[task]
    (tmp_path / "test").write_text(text + "".join(rows), encoding="utf-8")
    arguments = ("evaluate", tmp_path / "test", "--model", folders[task], "--bootstrap", 5)
    code, out, _ = run(*arguments, "--json")
    found = json.loads(out)
    metric = {"classify": "accuracy", "tag": "entity_f1", "translate": "bleu_4"}[task]
    assert code == 0 and found[metric] == pytest.approx(1) and found["examples"] == 10
    assert len(found["intervals"][metric]) == 2 and found["baselines"]
    assert f"{metric:<18} 100.00" in run(*arguments)[1]


@pytest.mark.parametrize(
    ("task", "figures"),
    [
        ("classify", ["reading.png", "effects.png"]),
        ("tag", ["tags.png"]),
        ("translate", ["attention.png"]),
    ],
)
def test_inspect_draws_a_figure_of_what_the_model_does(
    task: str, figures: list[str], run: Run, folders: dict[str, Path], tmp_path: Path
) -> None:
    text = {"classify": "not $x_ warm", "tag": "Anna met Bob", "translate": "Dia makan ."}[task]
    code, out, err = run("inspect", text, "--model", folders[task], "--output", tmp_path / "out")
    assert code == 0, err
    assert out.splitlines() == [str(tmp_path / "out" / name) for name in figures]
    assert all((tmp_path / "out" / name).stat().st_size > 5000 for name in figures)


def test_neighbours_prints_words_and_cosines(run: Run, folders: dict[str, Path]) -> None:
    _, out, _ = run("neighbours", "warm", "--count", 2, "--model", folders["classify"])
    assert len(out.splitlines()) == 2 and "\t" in out


def test_forecast_prints_a_row_a_step_and_the_baselines(run: Run, tmp_path: Path) -> None:
    rows = "".join(f"{year},{year * 2}\n" for year in range(30))
    (tmp_path / "series.csv").write_text("year,value\n" + rows, encoding="utf-8")
    code, out, err = run(
        *("forecast", tmp_path / "series.csv", "--column", "value", "--horizon", 3),
        *("--window", 3, "--season", 2, "--output", tmp_path / "f.png"),
    )
    lines = out.splitlines()
    assert code == 0 and lines[0] == "step,value" and len(lines) == 4
    assert "the last value again" in err and "the same season last year" in err
    assert (tmp_path / "f.png").stat().st_size > 5000


def test_a_classifier_is_trained_from_files_and_used(run: Run, tmp_path: Path) -> None:
    rows = "".join(f"{each.label}\t{each.text}\n" for each in LABELLED)
    (tmp_path / "train.tsv").write_text("label\ttext\n" + rows, encoding="utf-8")
    arguments = [
        *("train", "classify", tmp_path / "train.tsv", "--dev", tmp_path / "train.tsv"),
        *("--output", tmp_path / "run", "--epochs", 1, "--hidden-size", 4, "--word-size", 4),
        *("--cell", "gru", "--dilations", "1,2", "--num-layers", 2, "--no-bidirectional"),
        *("--device", "cpu"),
    ]
    code, _, err = run(*arguments)
    assert code == 0, err
    assert run("classify", "warm", "--model", tmp_path / "run")[0] == 0
    code, _, err = run(*arguments)
    assert code == 2 and "--resume" in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("classify", "a", "--format", "xml"), "--format"),
        (("classify", "a", "--model", "nothing"), "nothing"),
        (("classify", "a", "--from-file", "x", "--model", "MODEL"), "--from-file"),
        (("classify", "--from-file", "EMPTY", "--model", "MODEL"), "there is nothing to read"),
        (("tag", "a", "--model", "MODEL"), "is a model to classify"),
        (("evaluate", "missing.tsv", "--model", "MODEL"), "missing.tsv"),
        (("inspect", "word " * 101, "--model", "MODEL", "--output", "x"), "up to 100 words"),
        (("forecast", "missing.csv"), "missing.csv"),
        (("neighbours", "zebra", "--model", "MODEL"), "zebra"),
    ],
)
def test_wrong_usage_is_said_in_one_line(
    arguments: tuple[str, ...], named: str, run: Run, folders: dict[str, Path]
) -> None:
    stand_ins = {"MODEL": str(folders["classify"]), "EMPTY": os.devnull}
    code, out, err = run(*(stand_ins.get(each, each) for each in arguments))
    assert code == 2 and out == "" and named in err and len(err.splitlines()) == 1
