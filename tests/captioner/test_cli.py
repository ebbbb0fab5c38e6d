"""The command line as a user meets it: what goes to stdout, what to stderr, and the exit codes."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from captioner.checkpoint import save_captioner
from captioner.confidence import FEATURES, ConfidenceModel
from captioner.network.backbones import create_encoder
from captioner.network.decoder import Decoder, DecoderConfig
from captioner.network.vocabulary import END, SPECIAL, Vocabulary
from rnnkit.checkpoint import update_config

Shapes = Callable[[int, int], tuple[Path, Path]]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained captioner."""
    torch.manual_seed(0)
    encoder = create_encoder("efficientnet-lite0")
    words = (*SPECIAL, "a", "red", "green", "blue", "circle", "square", "on", "wall")
    folder = tmp_path_factory.mktemp("model")
    decoder = Decoder(DecoderConfig(len(words), encoder.channels, 16, 16, 8))
    with torch.no_grad():
        decoder.output_bias[END] = -2  # not at once
    save_captioner(folder, encoder, decoder, Vocabulary(words), {})
    return folder


@pytest.fixture
def command(model: Path, captioner_command: Run) -> Run:
    """Runs `captioner` with the untrained model: exit code, stdout, stderr."""

    def run(name: str, *arguments: object) -> tuple[int, str, str]:
        choice = (
            () if name == "train" else ("--model", model, "--device", "cpu", "--backend", "torch")
        )
        return captioner_command(name, *arguments, *choice)

    return run


def test_default_output_is_one_line_a_photo_and_nothing_else_on_stdout(
    command: Run, shapes: Shapes
) -> None:
    _, folder = shapes(3, 2)
    code, out, _ = command("caption", folder)
    assert code == 0
    lines = [line.split("\t") for line in out.splitlines()]
    assert [Path(path).name for path, _ in lines] == [f"{number}.png" for number in range(5)]
    assert all(caption for _, caption in lines)


def test_a_bad_photo_is_named_the_others_go_on_and_the_exit_code_is_one(
    command: Run, shapes: Shapes
) -> None:
    _, folder = shapes(3, 0)
    (folder / "1.png").write_bytes(b"nonsense")
    code, out, err = command("caption", folder, "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [row["status"] for row in rows] == ["ok", "error", "ok"]
    assert set(rows[0]) == {"path", "caption", "score", "status"}
    assert set(rows[1]) == {"path", "status", "error"}
    assert "1.png: not a picture of a known format" in err


@pytest.mark.parametrize("format", ["tsv", "jsonl", "csv", "coco"])
def test_every_format_reads_back_from_a_file(
    format: str, command: Run, shapes: Shapes, tmp_path: Path
) -> None:
    _, folder = shapes(2, 1)
    output = tmp_path / "captions"
    assert command("caption", folder, "--format", format, "--output", output)[:2] == (0, "")
    text = output.read_text(encoding="utf-8")
    if format == "tsv":
        found = [line.split("\t")[1] for line in text.splitlines()]
    elif format == "jsonl":
        found = [json.loads(line)["caption"] for line in text.splitlines()]
    elif format == "csv":
        found = [row["caption"] for row in csv.DictReader(text.splitlines())]
    else:
        assert [result["image_id"] for result in json.loads(text)] == [0, 1, 2]
        found = [result["caption"] for result in json.loads(text)]
    assert found == [line.split("\t")[1] for line in command("caption", folder)[1].splitlines()]


def test_an_output_has_the_format_of_its_name_unless_another_one_is_given(
    command: Run, shapes: Shapes, tmp_path: Path
) -> None:
    _, folder = shapes(1, 0)
    assert command("caption", folder, "--output", tmp_path / "x.jsonl")[0] == 0
    assert json.loads((tmp_path / "x.jsonl").read_text(encoding="utf-8"))["status"] == "ok"
    assert command("caption", folder, "--output", tmp_path / "y.csv", "--format", "tsv")[0] == 0
    assert (tmp_path / "y.csv").read_text(encoding="utf-8").startswith(f"{folder / '0.png'}\t")


def test_sidecars_lie_beside_their_photos(command: Run, shapes: Shapes) -> None:
    _, folder = shapes(2, 0)
    code, out, _ = command("caption", folder, "--format", "sidecar")
    assert (code, out) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == ["0.png", "0.txt", "1.png", "1.txt"]
    assert (folder / "0.txt").read_text(encoding="utf-8").count("\n") == 1


def test_photos_in_deeper_folders_need_recursive(command: Run, shapes: Shapes) -> None:
    _, folder = shapes(2, 0)
    (folder / "deeper").mkdir()
    (folder / "1.png").rename(folder / "deeper" / "1.png")
    assert len(command("caption", folder)[1].splitlines()) == 1
    assert len(command("caption", folder, "--recursive")[1].splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere.jpg",), "there is nothing at 'nowhere.jpg'"),
        (("PHOTO", "--beam-size", "0"), "beam-size must be from 1 to 100, not 0"),
        (("PHOTO", "--sample", "--temperature", "nan"), "temperature must be from 0.01 to 100"),
        (("PHOTO", "--sample", "--seed", "-1"), "seed must be from 0"),
        (("PHOTO", "--format", "xml"), "unknown format 'xml'"),
        (("PHOTO", "--output", "/nowhere/captions.tsv"), "cannot write to '/nowhere/captions.tsv'"),
        (("PHOTO", "--nonsense"), "nonsense"),
        (("PHOTO", "--temperature", "0.5"), "temperature 0.5 is for sampling, but the likeliest"),
        (("PHOTO", "--top-p", "0.5"), "top-p 0.5 is for sampling"),
        (
            ("PHOTO", "--seed", "0"),
            "seed 0 is for sampling, but the likeliest sentence is searched",
        ),
        (("PHOTO", "--csv-safe"), "--csv-safe is for --format csv: leave it out"),
    ],
)
def test_wrong_usage_is_one_message_and_exit_code_two(
    arguments: tuple[str, ...], said: str, command: Run, shapes: Shapes
) -> None:
    _, folder = shapes(1, 0)
    code, out, err = command(
        "caption", *(str(folder / "0.png") if part == "PHOTO" else part for part in arguments)
    )
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_beam_wider_than_the_vocabulary_is_one_message_that_names_the_option(
    command: Run, shapes: Shapes
) -> None:
    code, _, err = command("caption", shapes(1, 0)[1], "--beam-size", 9)
    assert code == 2 and err.splitlines()[-1].startswith(
        "captioner: a beam of 9 is more than the 8 words of the vocabulary: lower --beam-size"
    )


def test_an_output_that_holds_something_else_is_not_written_over(
    command: Run, shapes: Shapes, tmp_path: Path
) -> None:
    _, folder = shapes(1, 0)
    (tmp_path / "kept.tsv").write_text("precious", encoding="utf-8")
    code, _, err = command("caption", folder, "--output", tmp_path / "kept.tsv")
    assert code == 2
    assert "kept.tsv' " in err and "choose another --output" in err
    assert (tmp_path / "kept.tsv").read_text(encoding="utf-8") == "precious"


def test_evaluate_captions_photos_and_prints_scores_as_text_and_as_json(
    command: Run, shapes: Shapes
) -> None:
    annotations, folder = shapes(4, 4)
    code, out, _ = command(
        "evaluate",
        "--annotations",
        annotations,
        "--images",
        folder,
        "--split",
        "val",
        "--bootstrap",
        "50",
    )
    assert code == 0
    assert "split val: 4 images\ncaptions: beam 3" in out
    assert all(
        name in out
        for name in ("BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr-D", "95 % interval", "n-grams matched")
    )
    code, out, _ = command(
        "evaluate",
        "--annotations",
        annotations,
        "--images",
        folder,
        "--split",
        "val",
        "--json",
        "--bootstrap",
        "0",
    )
    report = json.loads(out)
    assert report["images"] == 4
    assert {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d"} <= set(report["values"])
    assert report["intervals"] == {}


def test_evaluate_scores_a_part_of_the_photos_only_if_told_to_and_says_so(
    command: Run, shapes: Shapes
) -> None:
    annotations, folder = shapes(0, 4)
    (folder / "3.png").unlink()
    arguments = (
        "evaluate",
        "--annotations",
        annotations,
        "--images",
        folder,
        "--split",
        "val",
        "--bootstrap",
        "0",
    )
    code, out, err = command(*arguments)
    assert (
        (code, out) == (2, "")
        and "1 of 4 photos do not exist, for example" in err
        and "3.png: --allow-missing" in err
    )
    code, out, _ = command(*arguments, "--allow-missing")
    assert code == 1 and "SUBSET, 3 of 4 images: 1 without a caption" in out


def test_evaluate_judges_a_results_file_perfect_when_it_repeats_the_references(
    command: Run, shapes: Shapes, tmp_path: Path
) -> None:
    annotations, _ = shapes(0, 4)
    records = json.loads(annotations.read_text(encoding="utf-8"))["images"]
    results = [
        {"image_id": int(Path(r["filename"]).stem), "caption": r["sentences"][0]["raw"]}
        for r in records
    ]
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    arguments = (
        "evaluate",
        "--annotations",
        annotations,
        "--split",
        "val",
        "--json",
        "--bootstrap",
        "0",
        "--predictions",
        tmp_path / "results.json",
    )
    code, out, _ = command(*arguments)
    assert code == 0
    assert json.loads(out)["values"]["bleu_4"] == pytest.approx(1, abs=1e-6)
    (tmp_path / "results.json").write_text(json.dumps(results[:3]), encoding="utf-8")
    code, _, err = command(*arguments)
    assert code == 2
    assert "has no captions for 1 of 4 images, for example 3" in err


def test_evaluate_wants_predictions_or_photos_and_a_split_that_exists(
    command: Run, shapes: Shapes
) -> None:
    annotations, folder = shapes(2, 2)
    assert "either --predictions" in command("evaluate", "--annotations", annotations)[2]
    code, _, err = command("evaluate", "--annotations", annotations, "--images", folder)
    assert code == 2
    assert "no split 'test' (it has train 2, val 2)" in err


def test_explain_draws_a_figure(command: Run, shapes: Shapes, tmp_path: Path) -> None:
    _, folder = shapes(1, 0)
    code, out, _ = command(
        "explain", folder / "0.png", "--output", tmp_path / "where.png", "--gender-clarity", 1
    )
    assert code == 0
    assert out.startswith(f"{folder / '0.png'}\t")
    with Image.open(tmp_path / "where.png") as figure:
        assert figure.width > 800
    code, _, err = command(
        "explain", folder / "0.png", "--output", tmp_path / "nowhere" / "where.png"
    )
    assert code == 2
    assert f"cannot write to '{tmp_path / 'nowhere' / 'where.png'}' (there is no folder" in err


def test_explain_refuses_to_draw_over_the_photo_and_into_a_file_without_a_figures_ending(
    command: Run, shapes: Shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = shapes(1, 0)
    photo = folder / "0.png"
    before = photo.read_bytes()
    monkeypatch.chdir(folder)
    for output in (photo, "0.png", "../photos/0.png"):
        code, out, err = command("explain", photo, "--output", output)
        assert (code, out) == (2, "") and f"--output '{output}' is the photo itself" in err
    for output in ("w", "w.txt", "png"):
        code, out, err = command("explain", photo, "--output", output)
        assert (code, out) == (
            2,
            "",
        ) and f"--output '{output}' is not a known kind of figure: use .png, .pdf or .svg" in err
    assert [path.name for path in folder.iterdir()] == ["0.png"] and photo.read_bytes() == before


@pytest.fixture
def sure(model: Path, tmp_path: Path) -> Path:
    """The untrained captioner with a confidence of 0.88, and of 0.12 where a word is "red"."""
    folder = tmp_path / "sure"
    shutil.copytree(model, folder)
    stored = ConfidenceModel(2.0, dict.fromkeys(FEATURES, 0.0), {"red": -4.0}).as_config()
    update_config(folder, {"confidence": stored})
    return folder


def test_captions_that_are_less_sure_than_asked_for_are_marked_or_left_out(
    sure: Path, shapes: Shapes, captioner_command: Run
) -> None:
    _, folder = shapes(3, 0)
    fixed = ("--model", sure, "--device", "cpu", "--backend", "torch", "--min-confidence")
    _, out, _ = captioner_command("caption", folder, "--format", "jsonl", *fixed, 0.05)
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert all(0 <= row["confidence"] <= 1 for row in rows)
    assert all(len(row["word_confidence"]) == len(row["caption"].split()) for row in rows)
    _, out, _ = captioner_command("caption", folder, "--format", "jsonl", *fixed, 0.99)
    unsure = [json.loads(line) for line in out.splitlines()]
    assert [row["status"] for row in unsure] == ["unsure"] * 3
    assert [row["caption"] for row in unsure] == [row["caption"] for row in rows]
    code, out, err = captioner_command("caption", folder, *fixed, 0.99)
    assert (code, out) == (0, "") and "captioned 3 (3 of them unsure), skipped 0" in err


def test_careful_wording_is_asked_for_with_a_flag(
    sure: Path, shapes: Shapes, captioner_command: Run
) -> None:
    _, folder = shapes(1, 0)
    fixed = ("--model", sure, "--device", "cpu", "--backend", "torch", "--beam-size", 4)
    code, out, _ = captioner_command("caption", folder, *fixed, "--careful")
    assert code == 0 and "red" not in out.partition("\t")[2]


@pytest.mark.parametrize("asked", [("--careful",), ("--min-confidence", "0.5")])
def test_a_model_that_does_not_know_how_sure_it_is_says_so(
    asked: tuple[str, ...], command: Run, shapes: Shapes
) -> None:
    code, out, err = command("caption", shapes(1, 0)[1], *asked)
    assert (code, out) == (2, "") and "scripts/fit_confidence.py" in err and "Traceback" not in err


def test_a_captioner_trained_from_the_command_line_captions(
    command: Run, shapes: Shapes, tmp_path: Path
) -> None:
    annotations, folder = shapes(8, 4)
    (tmp_path / "config.json").write_text(
        json.dumps({"hidden_size": 16, "epochs": 3, "embedding_size": 16}), encoding="utf-8"
    )
    files = (
        "--annotations",
        annotations,
        "--images",
        folder,
        "--output",
        tmp_path / "run",
        "--config",
        tmp_path / "config.json",
    )
    small = (
        "--encoder",
        "efficientnet-lite0",
        "--attention-size",
        8,
        "--min-count",
        1,
        "--batch-size",
        4,
        "--epochs",
        1,
        "--device",
        "cpu",
    )
    code, out, err = command(
        "train", *files, *small, "--mixed-precision", "no", "--cache", tmp_path / "cache"
    )
    assert code == 0, err
    assert "best: epoch 1" in out  # the flag won over the file's three epochs
    assert (
        json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))["training"][
            "hidden_size"
        ]
        == 16
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "captioner.cli",
            "caption",
            str(folder / "0.png"),
            "--model",
            str(tmp_path / "run"),
            "--backend",
            "torch",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"{folder / '0.png'}\t")
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_train_refuses_an_unknown_setting_and_unmatched_folders(
    command: Run, shapes: Shapes, tmp_path: Path
) -> None:
    annotations, folder = shapes(2, 2)
    (tmp_path / "config.json").write_text('{"hiden_size": 16}', encoding="utf-8")
    files = ("--annotations", annotations, "--images", folder, "--output", tmp_path / "run")
    code, _, err = command("train", *files, "--config", tmp_path / "config.json")
    assert code == 2
    assert "unknown setting 'hiden_size'" in err
    code, _, err = command("train", *files, "--annotations", annotations)
    assert code == 2
    assert "2 --annotations but 1 --images" in err
    assert not (tmp_path / "run").exists()


def test_a_resumed_training_needs_no_settings_may_have_more_epochs_and_refuses_others(
    command: Run, shapes: Shapes, tmp_path: Path
) -> None:
    annotations, folder = shapes(8, 4)
    files = ("--annotations", annotations, "--images", folder, "--output", tmp_path / "run")
    common = (*files, "--cache", tmp_path / "cache", "--device", "cpu")
    sizes = ("--hidden-size", 16, "--embedding-size", 16, "--attention-size", 8, "--min-count", 1)
    other = ("--encoder", "efficientnet-lite0", "--batch-size", 4, "--mixed-precision", "no")
    assert command("train", *common, *sizes, *other, "--epochs", 1)[0] == 0
    code, out, err = command("train", *common, "--resume")
    assert code == 0 and "best: epoch 1" in out, err
    code, out, err = command("train", *common, "--resume", "--hidden-size", 16, "--epochs", 2)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert code == 0 and [json.loads(line)["epoch"] for line in lines] == [1, 2], err
    code, _, err = command("train", *common, "--resume", "--hidden-size", 32)
    assert code == 2 and "was started with hidden-size 16, not 32" in err
