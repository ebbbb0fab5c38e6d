"""The command line as a process among others: pipes, interrupts, kills, odd file names."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import captioner
from captioner.captioner import Captioner
from captioner.checkpoint import save_captioner
from captioner.cli import main
from captioner.data.annotations import read_dataset
from captioner.jobs.job import TOO_EARLY
from captioner.network.backbones import create_encoder
from captioner.network.decoder import Decoder, DecoderConfig
from captioner.network.vocabulary import END, SPECIAL, Vocabulary
from captioner.training.config import TrainingConfig
from captioner.training.trainer import train

Shapes = Callable[[int, int], tuple[Path, Path]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes are others there"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained captioner."""
    torch.manual_seed(0)
    encoder = create_encoder("efficientnet-lite0")
    words = (*SPECIAL, "a", "red", "green", "circle", "square")
    decoder = Decoder(DecoderConfig(len(words), encoder.channels, 16, 16, 8))
    with torch.no_grad():
        decoder.output_bias[END] = -2  # not at once
    folder = tmp_path_factory.mktemp("model")
    save_captioner(folder, encoder, decoder, Vocabulary(words), {})
    return folder


def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(captioner.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "captioner.cli", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def wait_for(
    condition: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 120
) -> None:
    """Waits until something is so; fails if the process ends before."""
    until = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            assert process.stderr is not None
            pytest.fail(f"it ended with {process.returncode}: {process.stderr.read().decode()}")
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.01)


def many_photos(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (60, 50), (number % 256, 80, 120)).save(folder / f"{number:05}.png")
    return folder


def hold_little(pipe: IO[bytes]) -> None:
    """Make a pipe so small that who writes into it cannot be done before it is read, where the
    system can.
    """
    import fcntl  # not on Windows

    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)


def test_a_reader_that_goes_away_stops_it_with_one_line(model: Path, tmp_path: Path) -> None:
    photos = many_photos(tmp_path / "photos", 300)
    with start(
        "caption", photos, "--model", model, "--backend", "torch", "--batch-size", 1
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        hold_little(process.stdout)
        assert process.stdout.readline().startswith(str(photos / "00000.png").encode() + b"\t")
        process.stdout.close()
        summary, stopped = process.stderr.read().splitlines()
        assert (
            summary.startswith(b"captioner: captioned ") and b", skipped 0, failed 0; " in summary
        )
        assert stopped == b"captioner: nobody reads the output any more; stopped"
        assert process.wait(timeout=120) == 141


def test_an_interrupt_leaves_whole_results_and_its_own_exit_code(
    model: Path, tmp_path: Path
) -> None:
    photos, output = many_photos(tmp_path / "photos", 900), tmp_path / "results.json"
    with start(
        "caption",
        photos,
        "--model",
        model,
        "--backend",
        "torch",
        "--format",
        "coco",
        "--output",
        output,
        "--batch-size",
        8,
    ) as process:
        wait_for(lambda: output.exists() and output.stat().st_size > 100, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, b"")
    results = json.loads(output.read_text(encoding="utf-8"))
    summary, stopped = err.splitlines()
    assert summary.startswith(b"captioner: captioned %d, skipped 0, failed 0; " % len(results))
    assert stopped == b"captioner: interrupted; everything written so far is complete"
    assert 8 <= len(results) < 900 and [row["image_id"] for row in results] == list(
        range(len(results))
    )


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    """Makes processes that have the command imported already, so that they start at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["captioner.cli", "captioner.outputs.parquet"])
    return context


def start_quietly(arguments: Sequence[str], err: Path, batches: int) -> None:
    """The command, which waits to be killed after a number of batches: the killer may be late."""
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.stderr = err.open("w", encoding="utf-8")
    search, left = Captioner.caption_features, iter(range(batches))

    def some(*arguments: Any) -> Any:
        while next(left, None) is None:
            time.sleep(60)
        return search(*arguments)

    Captioner.caption_features = some  # type: ignore[method-assign, assignment]
    main(arguments)


@pytest.mark.parametrize(
    ("format", "kills"),
    [("tsv", 1), ("jsonl", 3), ("csv", 1), ("coco", 1), ("sidecar", 1), ("parquet", 2)],
)
def test_a_run_that_is_killed_and_killed_again_is_finished_by_the_same_command(
    format: str,
    kills: int,
    untrained: Path,
    tmp_path: Path,
    server: ForkServerContext,
    caption: Callable[..., tuple[int, str, str]],
) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow, the parquet extra, is not installed")
    photos, output = many_photos(tmp_path / "photos", 40), tmp_path / "rows"
    for bad in ("00007.png", "00035.png"):
        (photos / bad).write_bytes(b"nonsense")
    whole = tmp_path / "whole"
    caption(photos, "--format", "jsonl" if format == "sidecar" else format, "--output", whole)
    to = () if format == "sidecar" else ("--output", output)
    fixed = (
        "--model",
        untrained,
        "--device",
        "cpu",
        "--backend",
        "torch",
        "--max-length",
        4,
        "--batch-size",
        3,
    )
    arguments = list(map(str, ("caption", photos, "--format", format, *to, *fixed)))
    growing = tmp_path / "rows.skip.part" if format == "parquet" else output

    def rows() -> int:
        if format == "sidecar":
            return len(list(photos.glob("*.txt")))
        return growing.read_bytes().count(b"\n") if growing.exists() else 0

    generator = random.Random(format)
    for _ in range(kills):
        more = generator.randint(1, 9)
        enough = rows() + more
        # Enough batches of three for these rows, though two photos are bad; in all the runs never
        # enough for all.
        process = server.Process(
            target=start_quietly, args=(arguments, tmp_path / "err", -(-more // 3) + 1)
        )
        process.start()
        while rows() < enough and process.is_alive():
            time.sleep(0.001)
        time.sleep(generator.random() * 0.05)  # anywhere in a batch
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it was done before it could be killed"
    code, _, err = caption(*arguments[1:])
    assert code == 1
    skipped = int(err.splitlines()[-1].split("skipped ")[1].split(",")[0])
    assert f"captioned {38 - skipped}, skipped {skipped}, failed 2 " in err and skipped >= kills
    if format == "sidecar":
        said = {
            row["path"]: row["caption"]
            for row in map(json.loads, whole.read_text(encoding="utf-8").splitlines())
            if "caption" in row
        }
        assert {
            str(path.with_suffix(".png")): path.read_text(encoding="utf-8")[:-1]
            for path in photos.glob("*.txt")
        } == said
    else:
        assert sorted_rows(output, format) == sorted_rows(whole, format)
    assert (
        caption(*arguments[1:])[2]
        .splitlines()[-1]
        .startswith("captioner: captioned 0, skipped 38, failed 2 ")
    )
    assert {path.name for path in tmp_path.iterdir()} <= {
        "photos",
        "whole",
        "err",
        "rows",
    } and not list(photos.glob(".*"))


def sorted_rows(path: Path, format: str) -> list[str]:
    if format == "parquet":
        from pyarrow.parquet import read_table

        return sorted(map(repr, read_table(path).to_pylist()))
    if format == "coco":
        return sorted(map(repr, json.loads(path.read_text(encoding="utf-8"))))
    return sorted(path.read_text(encoding="utf-8").splitlines()[1 if format == "csv" else 0 :])


def test_a_disk_that_fills_up_ends_a_run_with_one_line_and_whole_rows(
    untrained: Path, tmp_path: Path
) -> None:
    photos, output = many_photos(tmp_path / "photos", 60), tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "captioner.cli", "caption", str(photos)]
    command += ["--output", str(output)]
    options = [
        "--format",
        "jsonl",
        "--model",
        str(untrained),
        "--backend",
        "torch",
        "--max-length",
        "4",
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(captioner.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 4; exec {shlex.join([*command, *options])}"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 1
    summary, stopped = done.stderr.splitlines()
    assert (
        stopped
        == f"captioner: the file has reached its size limit ({output}); everything written before"
        " that is complete"
    )
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert summary.startswith(f"captioner: captioned {len(rows)}, skipped 0, failed 0; ")
    assert (
        5 < len(rows) < 60
        and [row["path"] for row in rows]
        == [str(path) for path in sorted(photos.iterdir())][: len(rows)]
    )


@pytest.mark.parametrize("redirected", [True, False])
def test_a_full_device_ends_a_run_with_one_line(
    redirected: bool, untrained: Path, tmp_path: Path
) -> None:
    photos = many_photos(tmp_path / "photos", 3)
    arguments = ["caption", str(photos), "--model", str(untrained), "--backend", "torch"] + (
        [] if redirected else ["--output", "/dev/full"]
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(captioner.__file__).parents[1])}
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "captioner.cli", *arguments]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=environment, text=True, check=False
        )
    assert done.returncode == 1
    summary, stopped = done.stderr.splitlines()
    assert summary == f"captioner: {TOO_EARLY}"
    assert stopped.startswith("captioner: the disk is full")


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are always Unicode here")
def test_a_photo_whose_name_is_not_utf_8_is_captioned(model: Path, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Image.new("RGB", (60, 50), "red").save(tmp_path / "plain.png")
    (tmp_path / "plain.png").rename(os.fsdecode(name))
    with start("caption", tmp_path, "--model", model, "--backend", "torch") as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.startswith(os.fsencode(tmp_path) + b"/caf\\udce9.png\t") and out.count(b"\n") == 1


def test_a_model_that_is_not_there_leaves_no_output_in_the_way(tmp_path: Path) -> None:
    photos = many_photos(tmp_path / "photos", 1)
    with start(
        "caption", photos, "--model", tmp_path / "nowhere", "--output", tmp_path / "rows.tsv"
    ) as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, b"")
    assert err.count(b"\n") == 1 and err.startswith(b"captioner: no checkpoint at")
    assert not (tmp_path / "rows.tsv").exists()


def test_a_run_that_is_killed_goes_on_and_ends_as_one_that_was_not(
    shapes: Shapes, tmp_path: Path
) -> None:
    annotations, images = shapes(16, 4)
    settings = {
        "encoder": "efficientnet-lite0",
        "embedding_size": 16,
        "hidden_size": 16,
        "attention_size": 8,
        "min_count": 1,
        "epochs": 5,
        "batch_size": 4,
        "captions_per_photo": 3,
        "warmup_steps": 4,
        "max_length": 8,
        "mixed_precision": "no",
        "sampling_rate": 0.3,
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    output, cache = tmp_path / "killed", tmp_path / "cache"
    arguments = (
        "train",
        "--annotations",
        annotations,
        "--images",
        images,
        "--config",
        tmp_path / "settings.json",
        "--device",
        "cpu",
    )
    with start(*arguments, "--output", output, "--cache", cache) as process:
        wait_for((output / "state.safetensors").exists, process)
        process.kill()
        process.communicate()
    log = output / "metrics.jsonl"
    assert 1 <= len(log.read_text(encoding="utf-8").splitlines()) < 5, (
        "it was killed too late to show anything"
    )
    datasets, config = [read_dataset(annotations, images)], TrainingConfig(**settings)  # type: ignore[arg-type]
    train(datasets, output, config, device="cpu", resume=True, cache=cache)
    train(datasets, tmp_path / "whole", config, device="cpu", cache=cache)

    def records(folder: Path) -> list[dict[str, Any]]:
        found = [
            json.loads(line)
            for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        return [
            {key: value for key, value in record.items() if "seconds" not in key}
            for record in found
        ]

    assert records(output) == records(tmp_path / "whole") and len(records(output)) == 5
    for name in ("model.safetensors", "state.safetensors"):
        killed, whole = load_file(output / name), load_file(tmp_path / "whole" / name)
        assert killed.keys() == whole.keys() and all(
            torch.equal(killed[key], whole[key]) for key in whole
        )
    kept, wanted = (
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
        for folder in (output, tmp_path / "whole")
    )
    assert kept == wanted
