"""The command line as a process among others: pipes, interrupts, kills, odd file names."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import captioner
from captioner.captioner import Captioner
from captioner.data.annotations import read_dataset
from captioner.jobs.job import TOO_EARLY
from captioner.training.config import TrainingConfig
from captioner.training.trainer import train
from tests.forked_commands import start_forked

Shapes = Callable[[int, int], tuple[Path, Path]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes are others there"),
]


def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(captioner.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "captioner.cli", *map(str, arguments)]
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, **options)


def wait_for(
    condition: Callable[[], bool], process: ForkServerProcess, err: Path, seconds: float = 120
) -> None:
    """Waits until something is so; fails if the process ends before."""
    until = time.monotonic() + seconds
    while not condition():
        assert process.is_alive(), f"it ended with {process.exitcode}: {err.read_text()}"
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


def test_a_reader_that_goes_away_stops_it_with_one_line(untrained: Path, tmp_path: Path) -> None:
    photos = many_photos(tmp_path / "photos", 300)
    with start(
        "caption", photos, "--model", untrained, "--backend", "torch", "--batch-size", 1
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


def sleep_after_batches(batches: int) -> None:
    """The command waits after a number of batches: who stops it may be late."""
    search, left = Captioner.caption_features, iter(range(batches))

    def some(*arguments: Any) -> Any:
        while next(left, None) is None:
            time.sleep(60)
        return search(*arguments)

    Captioner.caption_features = some  # type: ignore[method-assign, assignment]


def test_an_interrupt_leaves_whole_results_and_its_own_exit_code(
    untrained: Path, tmp_path: Path
) -> None:
    photos, output = many_photos(tmp_path / "photos", 40), tmp_path / "results.json"
    given = ("caption", photos, "--model", untrained, "--backend", "torch", "--max-length", 4)
    process = start_forked(
        "captioner",
        *(*given, "--format", "coco", "--output", output, "--batch-size", 8),
        err=tmp_path / "err",
        before=partial(sleep_after_batches, 2),
    )
    wait_for(lambda: output.exists() and output.stat().st_size > 100, process, tmp_path / "err")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(120)
    assert process.exitcode == 130
    results = json.loads(output.read_text(encoding="utf-8"))
    summary, stopped = (tmp_path / "err").read_text(encoding="utf-8").splitlines()
    assert summary.startswith(f"captioner: captioned {len(results)}, skipped 0, failed 0; ")
    assert stopped == "captioner: interrupted; everything written so far is complete"
    assert 8 <= len(results) < 40 and [row["image_id"] for row in results] == list(
        range(len(results))
    )


@pytest.mark.parametrize(
    ("format", "kills"),
    [("tsv", 1), ("jsonl", 3), ("csv", 1), ("coco", 1), ("sidecar", 1), ("parquet", 2)],
)
def test_a_run_that_is_killed_and_killed_again_is_finished_by_the_same_command(
    format: str,
    kills: int,
    untrained: Path,
    tmp_path: Path,
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
        process = start_forked(
            "captioner",
            *arguments,
            err=tmp_path / "err",
            before=partial(sleep_after_batches, -(-more // 3) + 1),
        )
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
    caption: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    import resource  # not on Windows

    photos, output = many_photos(tmp_path / "photos", 60), tmp_path / "rows.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        code, _, err = caption(photos, "--output", output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 1
    summary, stopped = err.splitlines()
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


def test_a_full_device_ends_a_run_with_one_line(
    untrained: Path, tmp_path: Path, caption: Callable[..., tuple[int, str, str]]
) -> None:
    photos = many_photos(tmp_path / "photos", 3)
    code, _, err = caption(photos, "--output", "/dev/full")
    with Path("/dev/full").open("w") as full:  # Python writes what is left when it ends
        process = start("caption", photos, "--model", untrained, "--backend", "torch", stdout=full)
        redirected = process.communicate()[1].decode()
    assert code == process.returncode == 1
    for printed in (err, redirected):
        summary, stopped = printed.splitlines()
        assert summary == f"captioner: {TOO_EARLY}"
        assert stopped.startswith("captioner: the disk is full")


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are always Unicode here")
def test_a_photo_whose_name_is_not_utf_8_is_captioned(
    caption: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Image.new("RGB", (60, 50), "red").save(tmp_path / "plain.png")
    (tmp_path / "plain.png").rename(os.fsdecode(name))
    code, out, err = caption(tmp_path)
    assert code == 0, err
    assert out.startswith(f"{tmp_path}/caf\\udce9.png\t") and out.count("\n") == 1


def test_a_model_that_is_not_there_leaves_no_output_in_the_way(
    captioner_command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    photos = many_photos(tmp_path / "photos", 1)
    code, out, err = captioner_command(
        "caption", photos, "--model", tmp_path / "nowhere", "--output", tmp_path / "rows.tsv"
    )
    assert (code, out) == (2, "")
    assert err.count("\n") == 1 and err.startswith("captioner: no checkpoint at")
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
    given = (*arguments, "--output", output, "--cache", cache)
    process = start_forked("captioner", *given, err=tmp_path / "err")
    wait_for((output / "state.safetensors").exists, process, tmp_path / "err")
    process.kill()
    process.join()
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
