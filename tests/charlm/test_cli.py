"""The commands, as a person runs them."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from charlm import CharLM
from charlm.cli import app, sample
from rnnkit.command_line import run_app
from rnnkit.errors import UserError


def charlm(*arguments: object, code: int = 0) -> tuple[str, str]:
    """Run the command in this process, which has torch loaded; returns stdout and stderr."""
    out, error = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(error):
        try:
            run_app("charlm", app, [*map(str, arguments)])
            ended: object = 0
        except SystemExit as left:
            ended = left.code or 0
    assert ended == code, error.getvalue()
    return out.getvalue(), error.getvalue()


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_sample_prints_what_the_python_api_gives_and_the_same_seed_repeats_it(
    trained: Path,
) -> None:
    flags = (
        "--model",
        trained,
        "--prompt",
        "The ",
        "--length",
        60,
        "--temperature",
        0.7,
        "--top-k",
        9,
        "--top-p",
        0.9,
        "--seed",
        3,
    )
    first, second = charlm("sample", *flags)[0], charlm("sample", *flags)[0]
    expected = "".join(
        CharLM.load(trained).sample("The ", length=60, temperature=0.7, top_k=9, top_p=0.9, seed=3)
    )
    assert first == second == f"The {expected}\n"


def test_sample_writes_several_texts_and_stops_before_a_string(trained: Path) -> None:
    out = charlm(
        "sample", "--model", trained, "--count", 3, "--length", 200, "--seed", 1, "--stop", " "
    )[0]
    texts = re.split(r"--- \d ---\n", out)[1:]
    assert len(texts) == 3 and all(" " not in text for text in texts)


def test_evaluate_prints_both_protocols_as_json(trained: Path, tmp_path: Path, verse: str) -> None:
    (tmp_path / "text.txt").write_text(verse[:700])
    scores = json.loads(
        charlm("evaluate", tmp_path / "text.txt", "--model", trained, "--json", "--device", "cpu")[
            0
        ]
    )
    assert set(scores) == {"stream", "window-256"}
    for score in scores.values():
        assert (
            set(score) == {"nats_per_char", "bits_per_char", "characters"}
            and score["characters"] == 699
        )
    assert "window-256" in charlm("evaluate", tmp_path / "text.txt", "--model", trained)[0]


def test_evaluate_skips_unknown_characters_only_when_asked(
    trained: Path, tmp_path: Path, verse: str
) -> None:
    (tmp_path / "text.txt").write_text(f"12{verse[:700]}3")
    arguments = ("evaluate", tmp_path / "text.txt", "--model", trained, "--device", "cpu")
    assert "'1' (U+0031), '2'" in charlm(*arguments, code=2)[1]
    out, error = charlm(*arguments, "--unknown", "skip", "--json")
    assert json.loads(out)["stream"]["characters"] == 699 and "3 of 703 characters" in error


def test_inspect_draws_its_figures(trained: Path, tmp_path: Path) -> None:
    out = charlm(
        "inspect",
        "--model",
        trained,
        "--text",
        "The rain it falls",
        "--output",
        tmp_path / "figures",
        "--compare",
        f"rnn,{trained}",
    )[0]
    assert len(out.splitlines()) == 4
    for name in ("gradient-flow", "hidden-units", "surprise", "connectivity"):
        assert (tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_train_reads_a_folder_as_one_text_and_a_config(tmp_path: Path, verse: str) -> None:
    (tmp_path / "texts").mkdir()
    for name in "ab":
        (tmp_path / "texts" / f"{name}.txt").write_text(verse)
    (tmp_path / "texts" / "cover.png").write_bytes(b"\x89PNG")
    config = {"hidden_size": 8, "num_layers": 1, "epochs": 1, "batch_size": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    run = tmp_path / "run"
    _, said = charlm(
        "train",
        tmp_path / "texts",
        "--output",
        run,
        "--config",
        tmp_path / "config.json",
        "--cell",
        "gru",
        "--device",
        "cpu",
    )
    assert "left out" in said and "cover.png" in said
    about = CharLM.load(run).info
    assert (
        about["corpus"]["characters"] == 2 * len(verse)
        and about["settings"]["cell"] == "gru"
        and about["settings"]["hidden_size"] == 8
    )


def test_a_prompt_comes_from_a_file_and_its_skipped_characters_are_not_printed(
    trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "prompt.txt").write_text("The r\nThïe", encoding="utf-8")
    written, _ = charlm(
        "sample",
        "--model",
        trained,
        "--prompt-file",
        tmp_path / "prompt.txt",
        "--unknown",
        "skip",
        "--length",
        5,
        "--seed",
        1,
    )
    assert written.startswith("The r\nThe")
    with pytest.raises(UserError, match="both give the prompt"):
        sample(prompt="The ", prompt_file=tmp_path / "prompt.txt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "--model", "{tmp}/none"], "no checkpoint at"),
        (["sample", "--model", "{run}", "--prompt", "naïve"], r"'ï' (U+00EF)"),
        (["sample", "--model", "{run}", "--temperature", "-1"], "temperature"),
        (["sample", "--model", "{run}", "--unknown", "guess"], "--unknown"),
        (["sample", "--model", "{run}", "--device", "cuda:9"], "cuda:9"),
        (["sample", "--model", "{run}/model.safetensors"], "is a file"),
        (
            [
                "train",
                "{run}/settings.json",
                "--output",
                "{tmp}/out",
                "--device",
                "cpu",
                "--min-count",
                "100000",
            ],
            "lower --min-count",
        ),
        (["evaluate", "{tmp}/none.txt", "--model", "{run}"], "none.txt"),
        (["train", "{tmp}/empty.txt", "--output", "{tmp}/out", "--device", "cpu"], "empty"),
        (["train", "{tmp}/wrong.txt", "--output", "{tmp}/out", "--device", "cpu"], "offset 3"),
        (["inspect", "--model", "{run}", "--text", "T", "--output", "{tmp}/figures"], "2 to 1,000"),
        (
            [
                "inspect",
                "--model",
                "{run}",
                "--text",
                "The",
                "--output",
                "{tmp}/figures",
                "--clip-norm",
                "-1",
            ],
            "--clip-norm",
        ),
        (
            [
                "inspect",
                "--model",
                "{run}",
                "--text",
                "The",
                "--output",
                "{tmp}/figures",
                "--position",
                "-5",
            ],
            "counted from the end, not -5",
        ),
    ],
)
def test_a_mistake_gives_one_sentence_and_exit_code_2(
    trained: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "wrong.txt").write_bytes(b"abc\xff")
    _, error = charlm(
        *(argument.format(tmp=tmp_path, run=trained) for argument in arguments), code=2
    )
    assert message in error and len(error.strip().splitlines()) == 1


def test_a_reader_that_leaves_early_is_not_reported_as_an_error(trained: Path) -> None:
    command = (
        f"{sys.executable} -m charlm.cli sample --model {trained} --length 200000 --seed 1 | head"
        " -c 300"
    )
    done = subprocess.run(
        ["bash", "-c", command], check=False, capture_output=True, text=True, timeout=60
    )
    assert len(done.stdout) == 300 and done.stderr == ""
