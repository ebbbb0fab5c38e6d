"""A local Ray cluster: the rows that the local engine writes, and none lost with a worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import captioner
from captioner.outputs.text_formats import ROW_FORMATS
from captioner.types import Caption, CaptionResult
from rnnkit.errors import UserError

pytest.importorskip("ray.data", reason="Ray, the extra of that name, is not installed")
from captioner.jobs.ray_runner import ShardFolder, write_shard

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(captioner.__file__).parents[1]),
    "OMP_NUM_THREADS": "1",
}


def rows(path: Path) -> list[dict[str, object]]:
    """Rows of a file or of all shards in a folder, by path."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    found = [
        json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()
    ]
    return sorted(found, key=lambda row: str(row["path"]))


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "captioner.cli", "caption", *map(str, arguments)]


def actors(parent: int) -> Iterator[int]:
    """Processes of Ray's workers that hold a captioner, below a process."""
    parents, found = {}, []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
            if b"MapWorker" in (status.parent / "cmdline").read_bytes():
                found.append(int(status.parent.name))
        except OSError:
            continue
    for process in found:
        above = process
        while above in parents and above != parent:
            above = parents[above]
        if above == parent:
            yield process


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker to kill in /proc")
def test_two_workers_write_the_rows_of_the_local_engine_though_one_is_killed(
    untrained: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(160):
        Image.new("RGB", (400, 300), (number % 256, 80, number)).save(photos / f"{number:03}.png")
    (photos / "bad.png").write_bytes(b"nonsense")
    settings = (
        "--model",
        untrained,
        "--backend",
        "torch",
        "--device",
        "cpu",
        "--format",
        "jsonl",
        "--max-length",
        4,
        "--prefix",
        "word7",
        "--prepend",
        "sks",
    )
    shards, err = tmp_path / "shards", tmp_path / "stderr"
    with err.open("wb") as stderr:
        arguments = command(
            photos, *settings, "--engine", "ray", "--ray-actors", 2, "--output", shards
        )
        process = subprocess.Popen(arguments, env=ENVIRONMENT, stderr=stderr)
    try:
        until = time.monotonic() + 400
        while not list(shards.glob("*.jsonl")):
            assert process.poll() is None and time.monotonic() < until, err.read_text()
            time.sleep(0.01)
        working = list(actors(process.pid))
        os.kill(working[0], signal.SIGKILL)
        assert len(list(shards.glob("*.jsonl"))) < 8, "it was done before a worker could be killed"
        assert process.wait(timeout=400) == 1, err.read_text()
    finally:
        process.kill()
    assert len(working) == 2
    assert "captioned 160, skipped 0, failed 1" in err.read_text()
    local = tmp_path / "local.jsonl"
    assert (
        subprocess.run(
            command(photos, *settings, "--output", local),
            env=ENVIRONMENT,
            capture_output=True,
            check=False,
        ).returncode
        == 1
    )
    assert rows(shards) == rows(local) and len(rows(local)) == 161


def make_shard(
    folder: Path, name: str, texts: dict[str, str | None], format: str = "jsonl"
) -> None:
    """A shard by hand: captions by photo, None for one that failed."""
    folder.mkdir(exist_ok=True)
    made = [
        CaptionResult(
            Path(photo),
            () if text is None else (Caption(text, -1.0, ()),),
            "bad" if text is None else None,
        )
        for photo, text in texts.items()
    ]
    write_shard(
        folder / f"{name}.{format}", [ROW_FORMATS["jsonl"].encode(row) for row in made], format
    )


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_shards_that_are_there_are_not_done_again_and_failures_are(
    format: str, tmp_path: Path
) -> None:
    make_shard(
        tmp_path / "out", "one", {"a.jpg": "a dog", "b.jpg": None, "other.jpg": None}, format
    )
    make_shard(tmp_path / "out", "two", {"c.jpg": None}, format)
    photos = [Path(f"{name}.jpg") for name in "abcd"]
    folder = ShardFolder(tmp_path / "out", format, photos)
    assert list(folder.photos) == photos[1:]
    assert len(list((tmp_path / "out").iterdir())) == 2  # nothing is changed yet
    folder.mend()
    (left,) = (tmp_path / "out").iterdir()
    assert left.name == f"one.{format}"
    assert list(ShardFolder(tmp_path / "out", format, [*photos, Path("other.jpg")]).photos) == [
        *photos[1:],
        Path("other.jpg"),
    ]


def test_what_ray_cannot_do_is_said_before_it_starts(tmp_path: Path) -> None:
    for output, format, existing, said in (
        (tmp_path / "out", "tsv", "skip", "writes jsonl or parquet, not tsv"),
        (None, "jsonl", "skip", "give --output a folder"),
        (tmp_path / "out", "jsonl", "append", "--existing append is not supported"),
        (tmp_path / "no" / "out", "jsonl", "skip", "cannot write to"),
    ):
        with pytest.raises(UserError, match=said):
            ShardFolder(output, format, [Path("a.jpg")], existing)
    (tmp_path / "foreign").mkdir()
    for content, why in (('{"precious": 1}', "'path' is missing"), ("notes", "it is not JSON")):
        (tmp_path / "foreign" / "x.jsonl").write_text(f"{content}\n")
        with pytest.raises(UserError, match=rf"is not a jsonl file of captions \({why}\): choose"):
            ShardFolder(tmp_path / "foreign", "jsonl", [Path("a.jpg")])
