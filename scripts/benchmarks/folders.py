"""Speed and memory of captioning folders, on the machine at hand.

    python scripts/benchmarks/folders.py stages PHOTOS    each stage alone, in turn, and all at once
    python scripts/benchmarks/folders.py memory PHOTOS    peak memory for 200 and for 20,000 photos
    python scripts/benchmarks/folders.py scaling PHOTOS   the table of docs/scaling.md: one core,
                                                          two cores, two Ray workers

PHOTOS is a folder of photos; they are linked under new names until there are enough.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from linked_photos import link_photos

from captioner import Captioner, Decoding
from captioner.jobs.find_photos import find_photos
from captioner.jobs.pipeline import caption_photos, default_workers
from rnnkit.command_line import run_app
from rnnkit.errors import UserError

app = typer.Typer(add_completion=False, no_args_is_help=True)
Photos = Annotated[Path, typer.Argument(help="Folder of photos.")]
Repeats = Annotated[int, typer.Option(help="Repetitions, of which the median counts.")]


@app.command()
def stages(
    photos: Photos,
    count: int = 512,
    batch_size: int = 32,
    repeats: Repeats = 5,
    backend: str = "auto",
) -> None:
    """Photos a second of each stage alone and of all together, and the best that the stages'
    core-seconds would allow.
    """
    captioner, decoding = Captioner.load(backend=backend), Decoding()
    workers, cores = default_workers(), len(os.sched_getaffinity(0))
    paths = list(itertools.islice(itertools.cycle(find_photos([str(photos)])), count))
    starts = range(0, count, batch_size)
    pixels = [
        np.stack([captioner.prepare(path) for path in paths[start : start + batch_size]])
        for start in starts
    ]
    features = [captioner.encode(batch) for batch in pixels]

    def decode() -> None:
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(captioner.prepare, paths):
                pass

    def one_after_the_other() -> None:
        with ThreadPoolExecutor(workers) as pool:
            for start in starts:
                captioner.caption_pixels(
                    np.stack(list(pool.map(captioner.prepare, paths[start : start + batch_size]))),
                    decoding,
                )

    def whole() -> None:
        for _ in caption_photos(captioner, paths, decoding, batch_size=batch_size, workers=workers):
            pass

    steps: dict[str, Callable[[], Any]] = {
        "decode and resize": decode,
        "encoder": lambda: [captioner.encode(batch) for batch in pixels],
        "search": lambda: [captioner.caption_features(batch, decoding) for batch in features],
        "one after the other": one_after_the_other,
        "whole": whole,
    }
    rates: dict[str, list[float]] = {name: [] for name in steps}
    costs: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()  # warm
    for _ in range(repeats):
        for name, step in steps.items():
            started, used = time.perf_counter(), time.process_time()
            step()
            rates[name].append(count / (time.perf_counter() - started))
            costs[name].append(1000 * (time.process_time() - used) / count)
    alone = list(steps)[:3]
    slowest = min(alone, key=lambda name: statistics.median(rates[name]))
    print(
        f"{count} photos, batches of {batch_size}, {cores} cores, {captioner.backend.name}; medians"
        f" of {repeats}\n"
    )
    print("| stage | photos/s | core-milliseconds a photo |\n|---|---|---|")
    for name in steps:
        print(
            f"| {name} | {statistics.median(rates[name]):.1f} |"
            f" {statistics.median(costs[name]):.2f} |"
        )
    share = statistics.median(a / b for a, b in zip(rates["whole"], rates[slowest], strict=True))
    one_core = 1000 / max(statistics.median(costs[name]) for name in alone)
    bound = 1000 * cores / sum(statistics.median(costs[name]) for name in alone)
    whole_rate = statistics.median(rates["whole"])
    print(
        f"\nthe whole: {100 * share:.0f} % of the slowest stage alone with all cores ({slowest}),"
    )
    print(
        f"{100 * whole_rate / one_core:.0f} % of {one_core:.1f} photos/s, the costliest stage alone"
        " with one core,"
    )
    print(
        f"{100 * whole_rate / bound:.0f} % of {bound:.1f} photos/s, which is all that {cores} cores"
        " can do of the three stages together"
    )


@app.command()
def memory(photos: Photos, few: int = 200, many: int = 20_000) -> None:
    """Peak resident memory of captioning few and many photos."""
    peaks = {}
    code = (
        "import resource, sys; from captioner.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    for count in (few, many):
        with tempfile.TemporaryDirectory() as directory:
            link_photos(photos, Path(directory, "photos"), count)
            arguments = [
                "caption",
                f"{directory}/photos",
                "--format",
                "jsonl",
                "--output",
                f"{directory}/rows.jsonl",
            ]
            done = subprocess.run(
                [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
            )
            rows = Path(directory, "rows.jsonl").read_text(encoding="utf-8").count("\n")
        peaks[count] = int(done.stderr.split()[-1]) / 1024
        print(f"{count} photos ({rows} rows): peak {peaks[count]:.0f} MiB", flush=True)
    print(f"ratio {peaks[many] / peaks[few]:.3f}")


@app.command()
def scaling(
    photos: Photos,
    few: int = 200,
    many: int = 1200,
    ray: Annotated[bool, typer.Option(help="Also measure Ray.")] = True,
) -> None:
    """Photos a second without start-up, which is measured by a shorter run, and core-hours for a
    million photos.
    """
    rows: list[tuple[str, int, Sequence[str]]] = [("one core", 1, []), ("two cores", 2, [])]
    if ray:
        rows.append(("two Ray workers, a core each", 2, ["--runner", "ray", "--ray-actors", "2"]))
    available = sorted(os.sched_getaffinity(0))
    print("| on | photos/s | start-up, s | core-hours a million photos |\n|---|---|---|---|")
    for name, cores, options in rows:
        if cores > len(available):
            raise UserError(
                f"{name}: only {len(available)} cores may be used here; give it another machine"
            )
        seconds = {}
        for count in (few, many):
            with tempfile.TemporaryDirectory() as directory:
                link_photos(photos, Path(directory, "photos"), count)
                arguments = [
                    "caption",
                    f"{directory}/photos",
                    "--format",
                    "jsonl",
                    "--output",
                    f"{directory}/rows",
                    *options,
                ]
                command = [sys.executable, "-m", "captioner.cli", *arguments]
                started = time.perf_counter()
                # The command and all that it starts keep to these cores.
                limited = [
                    sys.executable,
                    "-c",
                    _LIMITED,
                    ",".join(map(str, available[-cores:])),
                    *command,
                ]
                subprocess.run(limited, check=True, capture_output=True)
                seconds[count] = time.perf_counter() - started
        rate = (many - few) / (seconds[many] - seconds[few])
        print(
            f"| {name} | {rate:.1f} | {seconds[few] - few / rate:.1f} |"
            f" {1e6 / rate / 3600 * cores:.1f} |",
            flush=True,
        )


_LIMITED = (
    "import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1].split(',')));"
    " os.execv(sys.argv[2], sys.argv[2:])"
)


if __name__ == "__main__":
    run_app("benchmark_folder", app)
