"""One run over many photos: which, where their captions go, who writes them, and what is said about
it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from captioner.captioner import Captioner
from captioner.data.path_list import PathList
from captioner.jobs.find_photos import find_photos, read_list
from captioner.jobs.pipeline import caption_photos
from captioner.jobs.progress import Summary, tell, with_progress
from captioner.outputs.base import Output, open_output
from captioner.outputs.resumable_file import ResumableFile
from captioner.outputs.text_formats import ROW_FORMATS
from captioner.types import CaptionResult, Decoding
from rnnkit.errors import UserError

ENGINES = ("local", "ray")


@dataclass(frozen=True, kw_only=True)
class CaptionJob:
    """What `captioner caption` was asked for; the fields are its options."""

    paths: tuple[str, ...] = ()
    from_file: str | None = None
    recursive: bool = False
    format: str = "tsv"
    output: Path | None = None
    existing: str = "skip"
    embed: bool = False
    in_place: bool = False
    fail_fast: bool = False
    dry_run: bool = False
    decoding: Decoding
    batch_size: int = 32
    workers: int
    device: str = "auto"
    backend: str = "auto"
    model: Path | None = None
    engine: str = "local"
    ray_actors: int | None = None


def run_job(job: CaptionJob) -> bool:
    """Caption the photos; False if some of them failed, each of which has been named on stderr.

    Raises: UserError before anything is written where it cannot be done as asked; OSError where
        writing fails on the way: what was written before then is whole.
    """
    if job.engine not in ENGINES:
        raise UserError(f"unknown --engine '{job.engine}': use {' or '.join(ENGINES)}")
    if job.in_place and (not job.embed or job.output is not None):
        raise UserError(
            "--in-place changes the photos themselves: it goes with --embed, and without --output"
        )
    if bool(job.paths) == (job.from_file is not None):
        raise UserError(
            "give images, folders or globs, or --from-file with a list of photos, and not both"
        )
    photos = (
        find_photos(job.paths, recursive=job.recursive)
        if job.from_file is None
        else read_list(job.from_file)
    )
    summary = Summary()
    for name, reason in photos.unread.items():
        summary.count(Path(name), reason)
    if job.engine == "ray":
        return _run_on_ray(job, photos, summary)
    output = _choose_output(job, photos, summary)
    todo, total = output.photos, len(output.photos) if isinstance(output.photos, Sequence) else None
    if job.dry_run:
        _say_what_would_be_done(photos, todo, summary)
        return not summary.failed
    summary.skipped += 0 if total is None else len(photos) - total
    asked = len(photos) + len(photos.unread)
    with _summed_up(summary, None if total is None else asked, output), suppress(_FirstFailure):
        if job.fail_fast and summary.failed:
            raise _FirstFailure
        with output:
            if total != 0:
                captioner = Captioner.load(job.model, device=job.device, backend=job.backend)
                batches = caption_photos(
                    captioner, todo, job.decoding, batch_size=job.batch_size, workers=job.workers
                )
                with closing(with_progress(batches, total)) as shown:
                    _write(shown, output, summary, fail_fast=job.fail_fast)
    return not summary.failed


def _choose_output(job: CaptionJob, photos: PathList, summary: Summary) -> Output:
    shards = [photo for photo in photos if photo.suffix == ".tar"]
    if job.output == Path("-") and (job.embed or job.format == "webdataset"):
        raise UserError(
            "--output - is standard output, but copies and shards go to a folder: name one"
        )
    if job.embed:
        from captioner.outputs.photo_metadata import MetadataOutput

        if job.format != "tsv":
            raise UserError(
                f"--embed writes into photos, so it has no --format {job.format}: leave out one of"
                " the two"
            )
        if job.output is None and not job.in_place:
            raise UserError(
                "--embed needs --output with a folder for copies, or --in-place to change the"
                " photos themselves"
            )
        return MetadataOutput(
            photos,
            job.existing,
            job.output,
            [Path(path) for path in job.paths if Path(path).is_dir()],
        )
    if job.format == "webdataset":
        from captioner.outputs.webdataset import CaptionedShards, PhotoShards

        if job.output is None:
            raise UserError("tar shards go to a folder: give it as --output")
        if not shards:
            return PhotoShards(photos, job.existing, job.output)
        if len(shards) < len(photos):
            raise UserError(
                f"'{shards[0]}' is a shard but others are photos: give only shards or only photos"
            )
        return CaptionedShards(shards, job.existing, job.output, summary)
    if shards:
        raise UserError(
            f"'{shards[0]}' is a tar shard: add --format webdataset and --output with a folder for"
            " shards with captions"
        )
    return open_output(
        job.format, job.output, sys.stdout, photos, existing=job.existing, num_captions=job.decoding.num_captions,
        made_by=f"{job.model and job.model.resolve()} {job.decoding}",
    )  # fmt: skip


class _FirstFailure(Exception):
    """With --fail-fast; raised so that an output which is only published whole is not."""


def _write(
    batches: Iterator[list[CaptionResult]], output: Output, summary: Summary, *, fail_fast: bool
) -> None:
    for rows in batches:
        with _interrupts_wait():
            for row in rows:  # all of the batch: they are computed already
                summary.count(row.path, output(row) or row.error)
        if fail_fast and summary.failed:
            raise _FirstFailure


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """A first Ctrl-C takes effect at the end of this, so that no row is lost or written and not
    counted; a second one at once.
    """
    in_main = (
        threading.current_thread() is threading.main_thread()
    )  # no other may say what a signal does
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    pressed = False

    def note(*_: object) -> None:
        nonlocal pressed
        if pressed:  # the reader of a pipe may take its time
            raise KeyboardInterrupt
        pressed = True

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if pressed:
        raise KeyboardInterrupt


@contextmanager
def _summed_up(summary: Summary, asked: int | None, output: Output | None = None) -> Iterator[None]:
    """Says at the end what became of the photos, also where the end comes early; the line of the
    error follows.
    """

    def sum_up() -> None:
        if isinstance(output, ResumableFile) and output.part is not None:
            tell(f"the new rows are in '{output.part}' so far: the same command goes on with them")
        if asked != 1:  # one photo says enough for itself
            tell(str(summary))

    try:
        yield
    except UserError:
        if summary.captioned or summary.failed:  # else nothing was begun
            sum_up()
        raise
    except BaseException as error:
        sum_up()
        if isinstance(error, BrokenPipeError):
            tell("nobody reads the output any more; stopped")
        raise
    sum_up()


def _say_what_would_be_done(photos: PathList, todo: object, summary: Summary) -> None:
    """A line a photo; of what would fail only that is known which is not there."""
    names = {str(photo) for photo in todo} if isinstance(todo, Sequence) else set(photos.names)
    missing = 0
    for name in photos.names:
        what = "skip" if name not in names else "caption" if os.path.exists(name) else "fail"  # noqa: PTH110 - never raises
        print(f"{what}\t{ROW_FORMATS['tsv'].key(Path(name))}")
        if what == "fail":
            missing += 1
            summary.count(Path(name), "no such file")
    failing = f", fail {missing}" if missing else ""
    tell(
        f"would caption {len(names) - missing}, skip {len(photos) - len(names)}{failing}; nothing"
        " was done"
    )


def _run_on_ray(job: CaptionJob, photos: PathList, summary: Summary) -> bool:
    from captioner.jobs.ray_runner import ShardFolder, caption_with_ray

    if job.embed or job.fail_fast:
        raise UserError("--embed and --fail-fast need --engine local")
    shards = ShardFolder(job.output, job.format, photos, job.existing)
    if job.dry_run:
        _say_what_would_be_done(photos, shards.photos, summary)
        return not summary.failed
    summary.skipped += len(photos) - len(shards.photos)
    with _summed_up(summary, len(photos) + len(photos.unread)):
        shards.mend()
        if shards.photos:
            batches = caption_with_ray(
                shards, job.decoding, model=job.model, device=job.device, backend=job.backend,
                batch_size=job.batch_size, workers=job.workers, actors=job.ray_actors,
            )  # fmt: skip
            with closing(with_progress(batches, len(shards.photos))) as shown:
                for row in chain.from_iterable(shown):
                    summary.count(row.path, row.error)
    return not summary.failed
