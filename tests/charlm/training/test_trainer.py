"""Training: it learns, resumes to the last bit, keeps the best, and says what is wrong."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from itertools import pairwise
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from charlm import CharLM
from charlm.cli import app
from charlm.evaluation import score_stream
from charlm.training.config import TrainingConfig
from charlm.training.progress import Meter
from charlm.training.trainer import Trainer, start_network, train
from rnnkit.checkpoint import write_tensors
from rnnkit.devices import cpu_has_bf16
from rnnkit.errors import UserError
from rnnkit.runs import RunFolder, run_settings
from rnnkit.settings import settings_from
from rnnkit.training import start_accelerator
from tests.forked_commands import start_forked

CPU = torch.device("cpu")


def records(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what the clock decides."""
    return [
        {k: v for k, v in json.loads(line).items() if k != "chars_per_second"}
        for line in (folder / "metrics.jsonl").read_text().splitlines()
    ]


def run_until(command: list[str], folder: Path, lines: int) -> ForkServerProcess:
    """Start a training process and wait until it has written that many records."""
    process = start_forked("charlm", *command[3:], err=folder.with_suffix(".err"))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.is_alive():
        if (folder / "metrics.jsonl").exists() and len(
            (folder / "metrics.jsonl").read_text().splitlines()
        ) >= lines:
            break
        time.sleep(0.01)
    return process


def command_for(corpus: Path, folder: Path, settings: TrainingConfig, *more: str) -> list[str]:
    flags = [
        f"--{k.replace('_', '-')}={v}"
        for k, v in dataclasses.asdict(settings).items()
        if not isinstance(v, bool) and v != ""
    ]
    return [
        sys.executable,
        "-m",
        "charlm.cli",
        "train",
        str(corpus),
        "--output",
        str(folder),
        "--device",
        "cpu",
        *flags,
        *more,
    ]


def run_here(arguments: list[str]) -> None:
    """The command in this process, which has torch loaded already."""
    with pytest.raises(SystemExit) as ended:
        app(arguments, standalone_mode=False)
    assert ended.value.code == 0


def test_a_run_starts_from_a_checkpoint_and_adds_its_missing_characters(
    trained: Path, verse: str, tiny_settings: TrainingConfig, tmp_path: Path
) -> None:
    # Sizes are the checkpoint's, whatever the settings say.
    settings = dataclasses.replace(
        tiny_settings, init=str(trained), hidden_size=tiny_settings.hidden_size + 1
    )
    trainer = Trainer(
        verse + "1234567890" * 5,
        RunFolder(tmp_path / "run", "charlm"),
        settings,
        CPU,
        Console(quiet=True),
    )
    before, after = CharLM.load(trained), trainer.model()
    known = len(before.vocabulary)
    assert after.vocabulary.symbols[:known] == before.vocabulary.symbols
    assert set("1234567890") <= set(after.vocabulary)
    among_known = after.log_probs(verse[:200])[:, :known].log_softmax(-1)
    torch.testing.assert_close(among_known, before.log_probs(verse[:200]), rtol=0, atol=1e-5)


def test_the_packages_model_is_a_checkpoint_to_start_from() -> None:
    vocabulary, network = start_network("Œuvre", TrainingConfig(init="bundled"))
    packaged = CharLM.load()
    assert len(vocabulary) == len(packaged.vocabulary) + 1  # Œ
    name = "layers.1.weight_hh_l0"
    assert torch.equal(network.state_dict()[name], packaged.network.state_dict()[name])


def test_training_learns_the_text_and_keeps_the_scores_it_claims(trained: Path, verse: str) -> None:
    model = CharLM.load(trained)
    held_out = model.vocabulary.encode(verse[len(verse) - round(len(verse) * 0.1) :])
    score = score_stream(model.network, held_out).nats_per_char
    assert score < 0.7 * math.log(len(model.vocabulary))
    assert score == pytest.approx(model.info["training"]["held_out_stream"], abs=1e-3)
    assert (trained / "metrics.png").exists()


def test_the_kept_weights_are_those_of_the_best_held_out_score(trained: Path) -> None:
    scores = [
        record["held_out_stream"] for record in records(trained) if "held_out_stream" in record
    ]
    assert CharLM.load(trained).info["training"]["held_out_stream"] == min(scores)


@pytest.mark.slow
def test_a_killed_run_resumes_as_if_it_had_never_stopped(
    tmp_path: Path, verse: str, tiny_settings: TrainingConfig
) -> None:
    corpus = tmp_path / "verse.txt"
    corpus.write_text(verse)
    dropped: dict[str, Any] = {
        f"dropout_{name}": 0.2 for name in ("token", "input", "hidden", "output", "weight")
    }
    settings = dataclasses.replace(
        tiny_settings, epochs=7, ema_decay=0.9, reset_chance=0.1, log_every=5, **dropped
    )
    whole = tmp_path / "whole"
    run_here(command_for(corpus, whole, settings)[3:])
    for kill, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
        broken = tmp_path / f"broken{code}"
        process = run_until(command_for(corpus, broken, settings), broken, 6)
        assert process.pid is not None
        os.kill(process.pid, kill)
        process.join()
        assert process.exitcode == code, "it must still have been running"
        run_here(["train", str(corpus), "--output", str(broken), "--resume", "--device", "cpu"])
        weights = (broken / "model.safetensors").read_bytes()
        assert weights == (whole / "model.safetensors").read_bytes()
        assert records(broken) == records(whole)


def test_a_step_clips_the_norm_of_the_whole_gradient(
    tmp_path: Path, verse: str, tiny_settings: TrainingConfig
) -> None:
    trainer = make_trainer(verse, tmp_path, dataclasses.replace(tiny_settings, clip_norm=0.05))
    x = trainer.ids[:33]
    _, norm = trainer._train_one_chunk(x[:32, None].expand(-1, 4), x[1:, None].expand(-1, 4))
    after = torch.stack(
        [p.grad.norm() for p in trainer.network.parameters() if p.grad is not None]
    ).norm()
    assert norm > 0.05 and after.item() == pytest.approx(0.05, rel=1e-3)


def test_the_average_of_weights_is_the_weights_themselves_without_a_decay(
    tmp_path: Path, verse: str, tiny_settings: TrainingConfig
) -> None:
    for decay, same in ((0.0, True), (0.9, False)):
        trainer = make_trainer(verse, tmp_path, dataclasses.replace(tiny_settings, ema_decay=decay))
        x = trainer.ids[:33]
        for _ in range(3):
            trainer._train_one_chunk(x[:32, None].expand(-1, 4), x[1:, None].expand(-1, 4))
            trainer.step += 1
        assert torch.equal(trainer.averaged.output.weight, trainer.network.output.weight) == same


def make_trainer(verse: str, folder: Path, settings: TrainingConfig) -> Trainer:
    return Trainer(verse, RunFolder(folder, "charlm"), settings, CPU, Console(quiet=True))


def test_teachers_change_what_is_learned(
    tmp_path: Path, verse: str, trained: Path, tiny_settings: TrainingConfig
) -> None:
    taught = dataclasses.replace(tiny_settings, epochs=2, teachers=str(trained), teacher_weight=0.9)
    assert train(verse, tmp_path / "taught", taught, device=CPU)
    assert train(
        verse, tmp_path / "alone", dataclasses.replace(tiny_settings, epochs=2), device=CPU
    )
    assert records(tmp_path / "taught")[0]["loss"] != records(tmp_path / "alone")[0]["loss"]
    assert CharLM.load(tmp_path / "taught").info["settings"]["teachers"] == str(trained)
    with pytest.raises(UserError, match="another vocabulary"):
        train("xyz" * 400, tmp_path / "other", taught, device=CPU)


def test_nothing_held_out_keeps_the_last_weights(
    tmp_path: Path, verse: str, tiny_settings: TrainingConfig
) -> None:
    assert train(
        verse,
        tmp_path / "run",
        dataclasses.replace(tiny_settings, held_out=0.0, epochs=2),
        device=CPU,
    )
    model = CharLM.load(tmp_path / "run")
    assert model.info["training"]["epochs"] == 2 and "held_out_stream" not in model.info["training"]


def test_a_time_limit_shortens_the_schedule_and_still_ends_it(
    tmp_path: Path, verse: str, tiny_settings: TrainingConfig
) -> None:
    settings = dataclasses.replace(
        tiny_settings, epochs=100_000, max_minutes=0.03, evaluate_every=1000, save_minutes=1.0
    )
    start = time.monotonic()
    assert train(verse, tmp_path / "run", settings, device=CPU)
    assert time.monotonic() - start < 20
    assert [r for r in records(tmp_path / "run") if "learning_rate" in r][-1][
        "learning_rate"
    ] < 0.1 * settings.learning_rate


def test_the_learning_rate_rises_then_falls_as_a_cosine(
    tmp_path: Path, verse: str, tiny_settings: TrainingConfig
) -> None:
    config = dataclasses.replace(
        tiny_settings, learning_rate=1.0, final_learning_rate=0.1, warmup_steps=10
    )
    trainer = make_trainer(verse, tmp_path, config)
    trainer.total_steps = 110
    rates = [trainer.learning_rate(step) for step in range(111)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[10] == 1.0
    assert rates[60] == pytest.approx(0.55) and rates[110] == pytest.approx(0.1)
    assert all(a < b for a, b in pairwise(rates[:10])) and all(
        a > b for a, b in pairwise(rates[10:])
    )


def test_a_warm_up_takes_at_most_half_of_a_short_run_which_says_that_it_is_short(
    tmp_path: Path, verse: str, tiny_settings: TrainingConfig
) -> None:
    config = dataclasses.replace(tiny_settings, learning_rate=1.0, warmup_steps=1000)
    trainer = make_trainer(verse, tmp_path, config)
    trainer.total_steps = 20
    rates = [trainer.learning_rate(step) for step in range(20)]
    assert max(rates) == rates[10] == 1.0 and rates[19] < 0.1
    trainer.console = Console(file=io.StringIO(), width=200)
    trainer.warn_of_few_steps()
    assert "20 steps are too few to learn much from nothing" in trainer.console.file.getvalue()  # type: ignore[attr-defined]
    trainer.total_steps = 10_000
    trainer.console = Console(file=io.StringIO())
    trainer.warn_of_few_steps()
    assert trainer.console.file.getvalue() == ""  # type: ignore[attr-defined]


def test_a_size_that_contradicts_the_checkpoint_to_start_from_is_refused(
    trained: Path, tmp_path: Path, verse: str, tiny_settings: TrainingConfig
) -> None:
    wrong = dataclasses.replace(tiny_settings, init=str(trained), hidden_size=64)
    with pytest.raises(UserError, match="hidden-size, 64, comes from the checkpoint of --init"):
        train(verse, tmp_path / "run", wrong, device=torch.device("cpu"))
    assert not (tmp_path / "run").exists()
    # Defaults are not contradictions, and the new checkpoint says what its sizes are.
    default = TrainingConfig(init=str(trained), epochs=1, batch_size=4, evaluate_every=9)
    train(verse[:600], tmp_path / "run", default, device=torch.device("cpu"))
    settings = CharLM.load(tmp_path / "run").info["settings"]
    assert (settings["hidden_size"], settings["embedding_size"]) == (32, 8)


def test_a_loss_that_is_not_a_number_ends_the_run_with_a_sentence(
    tmp_path: Path, verse: str, tiny_settings: TrainingConfig
) -> None:
    trainer = make_trainer(verse, tmp_path, tiny_settings)
    trainer.network.output.bias.data.fill_(math.nan)
    with pytest.raises(UserError, match="lower --learning-rate"):
        trainer.run_to_end()


def test_a_run_is_not_overwritten_nor_resumed_with_other_settings_or_text(
    tmp_path: Path, verse: str, trained: Path, tiny_settings: TrainingConfig
) -> None:
    with pytest.raises(UserError, match="already holds a run"):
        train(verse, trained, tiny_settings, device=CPU)
    with pytest.raises(UserError, match="hidden-size 32"):
        train(
            verse,
            trained,
            dataclasses.replace(tiny_settings, hidden_size=16),
            device=CPU,
            resume=True,
        )
    with pytest.raises(UserError, match="another text"):
        train(verse.replace("rain", "snow"), trained, tiny_settings, device=CPU, resume=True)
    with pytest.raises(UserError, match="nothing to resume"):
        train(verse, tmp_path / "none", tiny_settings, device=CPU, resume=True)


def test_a_resumed_run_may_have_more_epochs_and_takes_the_steps_of_the_longer_schedule(
    tmp_path: Path, verse: str, tiny_settings: TrainingConfig
) -> None:
    fast = dataclasses.replace(tiny_settings, hidden_size=8, sequence_length=64, log_every=1)
    short, long = (dataclasses.replace(fast, epochs=epochs) for epochs in (1, 2))
    assert train(verse, tmp_path / "run", short, device=CPU)
    assert train(verse, tmp_path / "run", long, device=CPU, resume=True)
    planned = make_trainer(verse, tmp_path / "planned", long)
    added = [record for record in records(tmp_path / "run") if record["epoch"] > 1]
    assert added[-1]["epoch"] == 2
    rates = {r["step"]: r["learning_rate"] for r in added if "learning_rate" in r}
    assert rates == {step: planned.learning_rate(step - 1) for step in rates} and len(rates) > 3
    with pytest.raises(
        UserError, match="started with epochs 2, not 1; a resumed run can only have"
    ):
        train(verse, tmp_path / "run", short, device=CPU, resume=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": 0},
        {"learning_rate": 0.0},
        {"held_out": 1.0},
        {"mixed_precision": "float8"},
        {"cell": "elman"},
        {"dropout_weight": 1.0},
    ],
)
def test_a_setting_out_of_range_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        TrainingConfig(**fields)


def test_an_lstm_in_bfloat16_on_a_cpu_without_it_is_refused_in_a_sentence(
    tmp_path: Path, verse: str, tiny_settings: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlm.training.trainer.cpu_has_bf16", lambda: False)
    settings = dataclasses.replace(tiny_settings, mixed_precision="bf16")
    with pytest.raises(UserError, match="cannot compute an LSTM in bf16: use --mixed-precision no"):
        make_trainer(verse, tmp_path, settings)
    make_trainer(verse, tmp_path, dataclasses.replace(settings, cell="gru"))


@pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU cannot compute in bfloat16")
def test_bfloat16_learns_too(tmp_path: Path, verse: str, tiny_settings: TrainingConfig) -> None:
    # In a process of its own: accelerate fixes the precision once for each.
    corpus = tmp_path / "verse.txt"
    corpus.write_text(verse)
    settings = dataclasses.replace(tiny_settings, mixed_precision="bf16", epochs=2)
    subprocess.run(
        command_for(corpus, tmp_path / "run", settings), check=True, stderr=subprocess.DEVNULL
    )
    losses = [r["loss"] for r in records(tmp_path / "run") if "loss" in r]
    assert losses[-1] < losses[0]


def test_former_names_and_values_of_settings_still_work(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"precision": "bfloat16", "average_decay": 0.9}))
    expected = TrainingConfig(mixed_precision="bf16", ema_decay=0.9)
    assert settings_from(TrainingConfig, path, {}) == expected


@pytest.mark.slow
def test_two_processes_learn_what_one_does(
    tmp_path: Path, verse: str, tiny_settings: TrainingConfig
) -> None:
    corpus = tmp_path / "verse.txt"
    corpus.write_text(verse)
    settings = dataclasses.replace(tiny_settings, epochs=2, clip_norm=1e9)
    run_here(command_for(corpus, tmp_path / "one", settings)[3:])
    double = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        *command_for(corpus, tmp_path / "two", settings)[1:],
    ]
    done = subprocess.run(
        double,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, two = (CharLM.load(tmp_path / name).info["training"] for name in ("one", "two"))
    assert two["step"] == one["step"]
    assert two["held_out_stream"] == pytest.approx(one["held_out_stream"], abs=2e-3)


@pytest.mark.gpu
def test_training_on_a_gpu_learns_as_on_a_cpu(
    tmp_path: Path, verse: str, trained: Path, tiny_settings: TrainingConfig
) -> None:
    corpus = tmp_path / "verse.txt"
    corpus.write_text(verse)
    subprocess.run(
        [*command_for(corpus, tmp_path / "run", tiny_settings), "--device", "cuda"], check=True
    )
    scores = [
        CharLM.load(folder).info["training"]["held_out_stream"]
        for folder in (tmp_path / "run", trained)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=0.05)


def test_the_accelerator_stays_on_the_cpu_when_asked(tiny_settings: TrainingConfig) -> None:
    assert start_accelerator(CPU, "no").device.type == "cpu"


def test_each_training_in_a_process_has_its_own_precision() -> None:
    assert [
        start_accelerator(CPU, precision).mixed_precision for precision in ("no", "bf16", "no")
    ] == ["no", "bf16", "no"]


def test_a_time_limit_without_an_end_shortens_nothing(
    tmp_path: Path, verse: str, tiny_settings: TrainingConfig
) -> None:
    trainer = Trainer(
        verse,
        RunFolder(tmp_path, "charlm"),
        dataclasses.replace(tiny_settings, max_minutes=math.inf),
        CPU,
        Console(quiet=True),
    )
    trainer.step = 3
    trainer._shorten_to_time_limit(1.0)
    assert trainer.total_steps == trainer.planned_steps


@pytest.mark.parametrize("kept", [False, True])
def test_a_loss_that_is_not_a_number_mentions_the_kept_weights_only_if_there_are_any(
    kept: bool, tmp_path: Path, verse: str, tiny_settings: TrainingConfig
) -> None:
    trainer = Trainer(verse, RunFolder(tmp_path, "charlm"), tiny_settings, CPU, Console(quiet=True))
    if kept:
        trainer._keep({})
    trainer.unreported = [torch.tensor([math.nan, 1.0])]
    with pytest.raises(
        UserError, match="the loss is nan at step 0: lower --learning-rate or --clip-norm"
    ) as error:
        trainer._report(meter())
    assert ("keeps the best" in str(error.value)) == kept


def test_processes_wait_for_hours_while_one_works_alone() -> None:
    handler = start_accelerator(CPU, "no").init_handler
    assert handler is not None and handler.to_kwargs() == {"timeout": timedelta(days=1)}


def test_a_run_shorter_than_the_interval_of_its_records_still_records_its_loss(
    tmp_path: Path, verse: str, tiny_settings: TrainingConfig
) -> None:
    settings = dataclasses.replace(tiny_settings, epochs=1, log_every=1000)
    assert train(verse, tmp_path / "run", settings, device=CPU)
    assert sum("loss" in record for record in records(tmp_path / "run")) == 1


def test_an_interrupted_first_epoch_leaves_a_model_and_says_where(
    tmp_path: Path, verse: str, tiny_settings: TrainingConfig
) -> None:
    corpus, run = tmp_path / "verse.txt", tmp_path / "run"
    corpus.write_text(verse * 40)
    process = run_until(command_for(corpus, run, tiny_settings), run, 1)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join()
    error = run.with_suffix(".err").read_text(encoding="utf-8")
    assert (
        process.exitcode == 130
        and "stopping after this step" in error
        and str(run) in error.replace("\n", "")
        and " ".join(error.split()).endswith("continue with --resume")
        and "Traceback" not in error
    )
    assert len("".join(CharLM.load(run).sample("The ", length=10, seed=1))) == 10


def meter() -> Meter:
    return Meter(Console(quiet=True), step=0, total_steps=10, shown=False)


def test_the_progress_bar_shows_no_loss_before_the_first_record() -> None:
    bar = meter()
    assert "loss" not in bar.progress.tasks[0].description
    bar.update(3, 10, epoch=0.3, loss=1.25, speed=4567.8)
    assert bar.progress.tasks[0].description == "epoch 0.3, loss 1.250, 4,568 chars/s"


def test_a_run_of_version_0_1_is_resumed_with_its_own_settings(
    tmp_path: Path, verse: str, tiny_settings: TrainingConfig
) -> None:
    config = dataclasses.replace(tiny_settings, ema_decay=0.9)
    folder = tmp_path / "run"
    trainer = make_trainer(verse, folder, config)
    trainer.run.start({}, resume=False)
    x = trainer.ids[:33]
    for _ in range(3):
        trainer._train_one_chunk(x[:32, None].expand(-1, 4), x[1:, None].expand(-1, 4))
        trainer.step += 1
    trainer.save()
    with_former_names(folder)

    run = RunFolder(folder, "charlm")
    resumed = run_settings(TrainingConfig, run, None, {"save_minutes": 5.0}, resume=True)
    assert resumed == dataclasses.replace(config, save_minutes=5.0)
    with pytest.raises(UserError, match=r"was started with ema-decay 0.9, not 0.5: leave it out"):
        run_settings(TrainingConfig, run, None, {"ema_decay": 0.5}, resume=True)
    again = make_trainer(verse, folder, resumed)
    again.restore()
    assert again.step == 3 and int(again.average.n_averaged) == 3
    for name, weight in trainer.averaged.state_dict().items():
        assert torch.equal(again.averaged.state_dict()[name], weight)


def with_former_names(folder: Path) -> None:
    """Rewrite a run's state as version 0.1 wrote it."""
    run = RunFolder(folder, "charlm")
    tensors, info = run.load_state()
    settings = info.pop("settings")
    del info["program"]
    settings["average_decay"] = settings.pop("ema_decay")
    settings["precision"] = {"no": "float32"}[settings.pop("mixed_precision")]
    header = {"info": json.dumps({**info, "settings": settings})}
    write_tensors(folder / "state.safetensors", tensors, header)
