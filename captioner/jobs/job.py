"""`captioner caption`: one run over many photos, from finding them to the summary."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path

from captioner.captioner import Captioner
from captioner.data.path_list import PathList
from captioner.jobs.find_photos import find_photos, read_photo_list, require_one_source
from captioner.jobs.pipeline import caption_photos
from captioner.jobs.preview import print_existing, print_plan, print_sample
from captioner.jobs.progress import Summary, print_status, with_progress
from captioner.outputs.base import Output, Readable, open_output
from captioner.outputs.contact_sheet import Sheet, check_sheet
from captioner.outputs.resumable_file import ResumableFile, check_writable
from captioner.outputs.sidecars import EXTENSION, Sidecars
from captioner.outputs.text_around import TextAround
from captioner.types import Caption, CaptionResult, Decoding, EncodedPicture
from rnnkit.errors import UserError, either

RUNNERS = ("local", "ray")
LATER_SETTINGS = ("gender_clarity", "min_length", "prefix")
SAMPLES = 3  # photos that a dry run captions
TOO_EARLY = "stopped before the first batch of photos was done"


@dataclass(frozen=True, kw_only=True)
class CaptionJob:
    """What `captioner caption` was asked for; the fields are its options."""

    paths: tuple[str, ...]
    from_file: str | None
    recursive: bool
    format: str
    output: Path | None
    extension: str | None
    sidecar_folder: Path | None
    csv_safe: bool
    if_exists: str
    embed: bool
    in_place: bool
    fail_fast: bool
    dry_run: bool
    print_existing: bool
    review: Path | None
    decoding: Decoding
    text_around: TextAround
    min_confidence: float | None
    batch_size: int
    workers: int
    device: str
    backend: str
    model: Path | None
    runner: str
    ray_actors: int | None


def run_job(job: CaptionJob) -> bool:
    """Caption the photos; False if some of them failed, each of which is named on stderr.

    Raises: UserError before anything is written, if it cannot be done as asked; OSError if writing
        fails on the way, when everything written before that is complete.
    """
    _check_options(job)
    if job.from_file is not None:
        photos = read_photo_list(job.from_file)
    else:
        copies = job.output if job.embed else None  # not photos to be captioned
        photos = find_photos(job.paths, recursive=job.recursive, leave_out=copies)
    summary = Summary()
    for folder, reason in photos.unread.items():
        summary.count(Path(folder), reason)
    if job.runner == "ray":
        _run_on_ray(job, photos, summary)
    else:
        _run_locally(job, photos, summary)
    return not summary.failed


def _check_options(job: CaptionJob) -> None:
    if job.runner not in RUNNERS:
        raise UserError(f"unknown --runner '{job.runner}': use {either(RUNNERS)}")
    if job.in_place and (not job.embed or job.output is not None):
        raise UserError(
            "--in-place changes the photos themselves: use it with --embed and without --output"
        )
    require_one_source(job.paths, job.from_file)
    if job.runner == "ray" and (job.embed or job.fail_fast):
        raise UserError("--embed and --fail-fast need --runner local")
    if (job.extension or job.sidecar_folder) and (job.format != "sidecar" or job.embed):
        raise UserError("--extension and --sidecar-folder are for --format sidecar: leave them out")
    if job.print_existing and (job.runner == "ray" or job.format == "webdataset"):
        raise UserError("--print-existing cannot look into shards: give photos, and --runner local")
    if job.review is not None:
        if job.runner == "ray" or job.format == "webdataset":
            raise UserError("--review is not supported for shards: leave it out")
        check_writable(job.review)
        check_sheet(job.review)
    if job.csv_safe and (job.format != "csv" or job.embed or job.runner == "ray"):
        raise UserError("--csv-safe is for --format csv: leave it out")


def _run_locally(job: CaptionJob, photos: PathList, summary: Summary) -> None:
    output = _choose_output(job, photos, summary)
    if job.print_existing:
        if not isinstance(output, Readable):
            raise UserError(
                "--print-existing has to know where captions are: add --output FILE, --format"
                " sidecar, --format metadata or --embed"
            )
        print_existing(output.existing(photos), len(photos))
        return
    refused = output.refused if isinstance(output, Sidecars) else {}
    todo, total, asked = output.photos, None, None
    if isinstance(todo, Sequence):  # nobody knows how many photos are in tar shards
        total, asked = len(todo), len(photos) + len(photos.unread)
    for photo, reason in refused.items():
        summary.count(photo, reason)
    if job.dry_run:
        print_plan(photos, todo, summary, refused)
        if isinstance(todo, Sequence):
            _print_samples(job, output, todo[:SAMPLES])
        return
    if total is not None:
        summary.skipped += len(photos) - total - len(refused)
    sheet = None if job.review is None else Sheet(job.review)
    with _final_summary(summary, asked, output), suppress(_FirstFailure):
        if job.fail_fast and summary.failed:
            raise _FirstFailure
        with output:
            if total != 0:
                captioner = Captioner.load(job.model, device=job.device, backend=job.backend)
                if job.min_confidence is not None:
                    captioner.require_confidence("--min-confidence")
                batches = _caption(captioner, todo, job)
                if sheet is not None:
                    batches = sheet.noting(batches)
                with closing(with_progress(batches, total)) as shown:
                    _write(shown, output, summary, fail_fast=job.fail_fast)
        if sheet is not None:
            sheet.write(photos, output.existing if isinstance(output, Readable) else None, refused)


def _caption(
    captioner: Captioner, photos: Iterable[Path | EncodedPicture], job: CaptionJob
) -> Iterator[list[CaptionResult]]:
    captioner.vocabulary.encode_prefix(job.decoding.prefix)  # before the first photo is decoded
    return caption_photos(
        captioner,
        photos,
        job.decoding,
        batch_size=job.batch_size,
        workers=job.workers,
        min_confidence=job.min_confidence,
        text_around=job.text_around,
    )


def _print_samples(job: CaptionJob, output: Output, photos: Sequence[Path]) -> None:
    """Print what some photos' captions would be."""
    photos = [photo for photo in photos if os.path.exists(photo)]  # noqa: PTH110 - may raise
    if not photos:
        return
    captioner = Captioner.load(job.model, device=job.device, backend=job.backend)
    old: dict[Path, tuple[Caption, ...]] = {}
    if job.if_exists in ("append", "prepend") and isinstance(output, Readable):
        old = dict(output.existing(photos))
    plain = replace(job, text_around=TextAround())
    for row in chain.from_iterable(_caption(captioner, photos, plain)):
        place = "after" if job.if_exists == "append" else "before"
        print_sample(row, job.text_around, old.get(row.path, ()), place)


def _run_on_ray(job: CaptionJob, photos: PathList, summary: Summary) -> None:
    from captioner.jobs.ray_runner import ShardFolder, caption_with_ray

    shards = ShardFolder(job.output, job.format, photos, job.if_exists)
    if job.dry_run:
        print_plan(photos, shards.photos, summary, {})
        return
    summary.skipped += len(photos) - len(shards.photos)
    with _final_summary(summary, len(photos) + len(photos.unread)):
        shards.mend()
        if shards.photos:
            batches = caption_with_ray(
                shards,
                job.decoding,
                model=job.model,
                device=job.device,
                backend=job.backend,
                batch_size=job.batch_size,
                workers=job.workers,
                min_confidence=job.min_confidence,
                text_around=job.text_around,
                actors=job.ray_actors,
            )
            with closing(with_progress(batches, len(shards.photos))) as shown:
                for row in chain.from_iterable(shown):
                    summary.count(row.path, row.error, unsure=row.unsure)


# --- where captions go ----------------------------------------------------------------------------


def _choose_output(job: CaptionJob, photos: PathList, summary: Summary) -> Output:
    if job.output == Path("-") and (job.embed or job.format == "webdataset"):
        raise UserError(
            "--output - is standard output, but copies and shards go to a folder: name one"
        )
    if job.embed:
        return _metadata_output(job, photos)
    shards = [photo for photo in photos if photo.suffix == ".tar"]
    if job.format == "webdataset":
        return _shard_output(job, photos, shards, summary)
    if shards:
        raise UserError(
            f"'{shards[0]}' is a tar shard: add --format webdataset and --output with a folder for"
            " shards with captions"
        )
    if job.output is not None and job.output.is_file():
        _refuse_inputs(job.output, photos, job.from_file)
    model = None if job.model is None else os.path.realpath(job.model)
    return open_output(
        job.format,
        job.output,
        sys.stdout,
        photos,
        if_exists=job.if_exists,
        num_captions=job.decoding.num_captions,
        made_by=f"{model} {settings_text(job.decoding, job.text_around)}"
        f"{_at_least(job.min_confidence)}",
        csv_safe=job.csv_safe,
        extension=job.extension or EXTENSION,
        sidecar_folder=job.sidecar_folder,
        roots=[Path(path) for path in job.paths if Path(path).is_dir()],
    )


def settings_text(decoding: Decoding, text_around: TextAround) -> str:
    """What makes the captions. Settings that came later are named only where they are used, so that
    a run which an earlier version began can be continued.
    """
    values = {
        field.name: getattr(decoding, field.name)
        for field in fields(decoding)
        if field.name not in LATER_SETTINGS or getattr(decoding, field.name) != field.default
    }
    text = f"Decoding({', '.join(f'{name}={value!r}' for name, value in values.items())})"
    return f"{text} {text_around}" if text_around else text


def _at_least(confidence: float | None) -> str:
    return "" if confidence is None else f" {confidence}"


def _refuse_inputs(output: Path, photos: PathList, from_file: str | None) -> None:
    """Raises: UserError if the output is the list of photos or one of the photos."""
    if from_file not in (None, "-") and output.samefile(from_file):
        raise UserError(f"--output '{output}' is the list of photos itself: give it another name")
    names = {output.name, Path(os.path.realpath(output)).name}
    for name in photos.names:
        if os.path.basename(name) in names and Path(name).exists() and output.samefile(name):  # noqa: PTH119
            raise UserError(f"--output '{output}' is one of the photos: give it another name")


def _metadata_output(job: CaptionJob, photos: PathList) -> Output:
    from captioner.outputs.photo_metadata import MetadataOutput

    if job.format != "tsv":
        raise UserError(
            f"--embed writes into photos and cannot be combined with --format {job.format}: leave"
            " one of them out"
        )
    if job.output is None and not job.in_place:
        raise UserError(
            "--embed needs --output with a folder for copies, or --in-place to change the photos"
            " themselves"
        )
    roots = [Path(path) for path in job.paths if Path(path).is_dir()]
    return MetadataOutput(photos, job.if_exists, job.output, roots)


def _shard_output(
    job: CaptionJob, photos: PathList, shards: Sequence[Path], summary: Summary
) -> Output:
    from captioner.outputs.webdataset import CaptionedShards, PhotoShards

    if job.output is None:
        raise UserError("tar shards go to a folder: give it as --output")
    if not shards:
        return PhotoShards(photos, job.if_exists, job.output)
    if len(shards) < len(photos):
        raise UserError(
            f"'{shards[0]}' is a shard but others are photos: give only shards or only photos"
        )
    return CaptionedShards(shards, job.if_exists, job.output, summary)


# --- the run --------------------------------------------------------------------------------------


class _FirstFailure(Exception):
    """With --fail-fast; raised so that an output that is published only at the end is not."""


def _write(
    batches: Iterator[list[CaptionResult]], output: Output, summary: Summary, *, fail_fast: bool
) -> None:
    for rows in batches:
        with _interrupts_wait():
            for row in rows:  # the whole batch: it is computed already
                summary.count(row.path, output(row) or row.error, unsure=row.unsure)
        if fail_fast and summary.failed:
            raise _FirstFailure


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Delay a first Ctrl-C to the end of the block, so that no row is lost, or written and not
    counted. A second one takes effect at once.
    """
    # No other thread may set what a signal does.
    in_main = threading.current_thread() is threading.main_thread()
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
def _final_summary(
    summary: Summary, asked: int | None, output: Output | None = None
) -> Iterator[None]:
    """Print what became of the photos, also if the run ends early; the error's line comes last."""

    def sum_up(*, done: bool = False) -> None:
        if isinstance(output, ResumableFile) and output.part is not None:
            print_status(
                f"partial results are in '{output.part}'; run the same command to continue"
            )
        if asked != 1 or summary.unsure:  # a single photo speaks for itself
            print_status(str(summary) if summary or done else TOO_EARLY)
        if done and summary.skipped and not summary:
            print_status(
                "all photos have captions already; --existing overwrite replaces them, for instance"
                " after a change of options"
            )

    try:
        yield
    except UserError:
        if summary:  # otherwise nothing was begun
            sum_up()
        raise
    except BaseException as error:
        sum_up()
        if isinstance(error, BrokenPipeError):
            print_status("nobody reads the output any more; stopped")
        raise
    sum_up(done=True)
