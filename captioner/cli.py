"""The command line: captioner caption | edit | evaluate | explain | export | features | train."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from captioner.captioner import Captioner
from captioner.checkpoint import repeatable_words_of
from captioner.data.annotations import Example, read_dataset
from captioner.data.images import open_image
from captioner.evaluation.caption_split import captions_by_id, describe_decoding, locate_photos
from captioner.evaluation.predictions import read_predictions
from captioner.evaluation.references import choose_split, read_references
from captioner.evaluation.report import Comparison, Report, judge
from captioner.export import export_command
from captioner.features import features_command
from captioner.jobs.edits import Edit, edit_captions, without_photos
from captioner.jobs.job import CaptionJob, run_job
from captioner.jobs.pipeline import caption_photos, default_workers
from captioner.jobs.progress import print_status, with_progress
from captioner.options import (
    Append,
    Backend,
    BatchSize,
    Device,
    Extension,
    FromFile,
    Model,
    Prepend,
    Recursive,
    SidecarFolder,
    Workers,
)
from captioner.outputs.base import FORMAT_NAMES, format_of
from captioner.outputs.resumable_file import check_writable
from captioner.outputs.sidecars import EXTENSION
from captioner.outputs.text_around import TextAround
from captioner.training.config import TrainingConfig
from captioner.types import Decoding
from rnnkit.about import CompletionFlag, VersionFlag
from rnnkit.command_line import run_app
from rnnkit.errors import INTERRUPTED, SOME_FAILED, UserError
from rnnkit.runs import STATE, RunFolder, run_settings
from rnnkit.settings import settings_from, with_flags

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

SEARCH = ("beam_size", "max_length", "careful", "gender_clarity")
DECODING = (
    *("beam_size", "prefix", "min_length", "max_length", "length_penalty", "num_captions"),
    *("careful", "gender_clarity", "sample", "temperature", "top_p", "seed"),
)

REFERENCES = (
    "References: Karpathy's or COCO's JSON, Flickr8k's token file, a CSV, or plain text (a line per"
    " image, tabs between captions)."
)
TRAINING_CAPTIONS = (
    "Karpathy's or COCO's JSON, Flickr8k's token file, a CSV, or a folder of sidecars; may be given"
    " more than once."
)
PREDICTIONS = (
    "Captions to score: COCO results, jsonl, csv, tsv, or plain text in the references' order."
)
Compare = Annotated[
    Path | None,
    typer.Option(help="Another captioner's predictions for the same images, to compare with."),
]
Split = Annotated[
    str | None,
    typer.Option(
        help="train, val, test or all; if not given, test where the file names splits, else all."
    ),
]
AllowMissing = Annotated[
    bool,
    typer.Option(
        "--allow-missing", help="Score the images that have a caption, and count those without."
    ),
]
AbsoluteNames = Annotated[
    bool,
    typer.Option(
        "--absolute-names", help="Follow absolute names of photos that lead outside of --images."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")]
AsLatex = Annotated[bool, typer.Option("--latex", help="Print a LaTeX table.")]
Bootstrap = Annotated[
    int, typer.Option(min=0, help="Resamples for intervals and p-values; 0 leaves them out.")
]
BootstrapSeed = Annotated[
    int, typer.Option("--seed", min=0, help="The same seed draws the same resamples.")
]
Java = Annotated[
    bool, typer.Option(help="Add METEOR and SPICE where Java and the metrics extra are installed.")
]


@app.callback()
def about(version: VersionFlag = False, completion: CompletionFlag = None) -> None:
    """Write sentences about photos, and train and evaluate the network that does."""


@app.command("caption")
@with_flags(Decoding, only=DECODING, panel="Decoding")
def caption_command(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="Images, folders, globs or .tar shards."),
    ] = None,
    from_file: FromFile = None,
    recursive: Recursive = False,
    format: Annotated[
        str | None,
        typer.Option(
            help=f"Output format: {' | '.join(FORMAT_NAMES)}; if not given, what the name of"
            " --output ends with, else tsv."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="File to write, or folder for shards and copies; stdout if not given, or -."
        ),
    ] = None,
    csv_safe: Annotated[
        bool,
        typer.Option(
            "--csv-safe", help="In csv, put an apostrophe before cells that begin with = + - @."
        ),
    ] = False,
    existing: Annotated[
        str,
        typer.Option(
            help=(
                "What to do with captions that exist already: skip | overwrite | append | prepend"
                " (the new ones after or before them; for text around captions, see --append)."
            )
        ),
    ] = "skip",
    prepend: Prepend = "",
    append: Append = "",
    extension: Extension = None,
    sidecar_folder: SidecarFolder = None,
    embed: Annotated[
        bool,
        typer.Option("--embed", help="Write captions into the XMP and EXIF of copies in --output."),
    ] = False,
    in_place: Annotated[
        bool,
        typer.Option("--in-place", help="With --embed: change the photos themselves, not copies."),
    ] = False,
    fail_fast: Annotated[
        bool,
        typer.Option("--fail-fast", help="Stop after the first batch with a photo that fails."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only print what would be done, and the captions of three photos."
        ),
    ] = False,
    print_existing: Annotated[
        bool,
        typer.Option(
            "--print-existing", help="Only print which photos have which captions already."
        ),
    ] = False,
    review: Annotated[
        Path | None,
        typer.Option(
            help="Also write a contact sheet: an HTML page of the photos with their captions, the"
            " least sure first."
        ),
    ] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Mark captions that are less sure than this as unsure; see README."
        ),
    ] = None,
    batch_size: BatchSize = 32,
    workers: Workers = default_workers(),
    device: Device = "auto",
    backend: Backend = "auto",
    model: Model = None,
    runner: Annotated[
        str,
        typer.Option(
            "--runner",
            "--engine",
            help="local, or ray for a cluster, which writes shards (--format jsonl or parquet).",
        ),
    ] = "local",
    ray_actors: Annotated[
        int | None,
        typer.Option(
            min=1, help="Captioners on the cluster; one for each GPU or core if not given."
        ),
    ] = None,
    **decoding: Any,
) -> None:
    """Write a sentence about each photo, one line per photo: path<TAB>caption.

    If a run is stopped, the same command continues it. Photos that failed are tried again.
    """
    job = CaptionJob(
        paths=tuple(paths or ()),
        from_file=from_file,
        recursive=recursive,
        format=format
        or _format(embed=embed, for_sidecars=bool(extension or sidecar_folder), output=output),
        output=output,
        extension=extension,
        sidecar_folder=sidecar_folder,
        csv_safe=csv_safe,
        if_exists=existing,
        embed=embed,
        in_place=in_place,
        fail_fast=fail_fast,
        dry_run=dry_run,
        print_existing=print_existing,
        review=review,
        decoding=settings_from(Decoding, None, decoding),
        text_around=TextAround(prepend, append),
        min_confidence=min_confidence,
        batch_size=batch_size,
        workers=workers,
        device=device,
        backend=backend,
        model=model,
        runner=runner,
        ray_actors=ray_actors,
    )
    if not run_job(job):
        raise typer.Exit(SOME_FAILED)


def _format(*, embed: bool, for_sidecars: bool, output: Path | None) -> str:
    """The format of an output if none was asked for."""
    if embed:
        return "tsv"
    return "sidecar" if for_sidecars and output is None else format_of(output)


@app.command("edit")
def edit_command(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="FOLDER_OR_FILE...",
            help="Folders of photos with sidecars or a metadata.jsonl, or files: a sidecar, tsv,"
            " csv, jsonl.",
        ),
    ],
    replace: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Put B where A stands, as whole words; B may be ''."),
    ] = None,
    prepend: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="Put TEXT before captions that do not already begin with it."
        ),
    ] = "",
    append: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="Put TEXT after captions that do not already end with it."
        ),
    ] = "",
    dedupe: Annotated[
        bool, typer.Option("--dedupe", help="Remove a photo's duplicate captions.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print each change: name, old and new caption.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Look into folders inside folders too.")
    ] = False,
    extension: Extension = None,
    sidecar_folder: SidecarFolder = None,
) -> None:
    """Edit captions that are there already.

    A caption that changes loses its score and confidence, and its row in jsonl says "edited": true;
    everything else stays as it was, to the byte. Nothing is written until everything has been read.
    """
    with_captions = without_photos(paths)
    files = edit_captions(
        with_captions,
        Edit(replace, TextAround(prepend, append), dedupe),
        recursive=recursive,
        extension=extension or EXTENSION,
        sidecar_folder=sidecar_folder,
        dry_run=dry_run,
    )
    changes = [change for file in files for change in file.changes]
    if dry_run:
        for change in changes:
            new = "(taken out)" if change.new is None else change.new
            print(f"{change.name}\t{change.old}\t{new}")
    touched = sum(bool(file.changes) for file in files)
    verb, end = ("would change", "; nothing was done") if dry_run else ("changed", "")
    captions = "caption" if len(changes) == 1 else "captions"
    of_files = "file" if len(files) == 1 else "files"
    if photos := len(paths) - len(with_captions):
        end = f"; left out {photos} {'photo' if photos == 1 else 'photos'}{end}"
    print_status(f"{verb} {len(changes)} {captions} in {touched} of {len(files)} {of_files}{end}")


@app.command("evaluate")
@with_flags(Decoding, only=SEARCH, panel="Decoding")
def evaluate_command(
    annotations: Annotated[Path, typer.Option(help=REFERENCES)],
    predictions: Annotated[Path | None, typer.Option(help=PREDICTIONS)] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the photos, to caption them now and score the captions."),
    ] = None,
    compare: Compare = None,
    split: Split = None,
    allow_missing: AllowMissing = False,
    absolute_names: AbsoluteNames = False,
    as_json: AsJson = False,
    markdown: AsMarkdown = False,
    latex: AsLatex = False,
    bootstrap: Bootstrap = 1000,
    seed: BootstrapSeed = 0,
    java: Java = True,
    batch_size: BatchSize = 32,
    workers: Workers = default_workers(),
    device: Device = "auto",
    backend: Backend = "auto",
    model: Model = None,
    **decoding: Any,
) -> None:
    """Score captions with BLEU-1 to 4, ROUGE-L and CIDEr-D, and with METEOR and SPICE where Java
    and the metrics extra are installed.
    """
    if (predictions is None) == (images is None):
        raise UserError(
            "give either --predictions (captions to judge) or --images (photos to caption and"
            " judge)"
        )
    if as_json + markdown + latex > 1:
        raise UserError("give only one of --json, --markdown and --latex")
    dataset = read_references(annotations) if images is None else read_dataset(annotations, None)
    examples, chosen = choose_split(dataset, split)
    if images is not None:
        examples = locate_photos(
            examples, images, allow_missing=allow_missing, absolute_names=absolute_names
        )

    def read(file: Path) -> dict[str, str]:
        return read_predictions(
            file, examples, others=dataset.examples, allow_missing=allow_missing
        )

    rivals = read(compare) if compare is not None else None
    if predictions is not None:
        captions, description, failed = read(predictions), str(predictions), False
    else:
        captioner = Captioner.load(model, device=device, backend=backend)
        choice = settings_from(Decoding, None, decoding)
        captions = _caption_examples(captioner, examples, choice, batch_size, workers)
        description, failed = _describe(captioner, choice), len(captions) < len(examples)
    both = captions.keys() if rivals is None else captions.keys() & rivals.keys()
    judged = [example for example in examples if str(example.image_id) in both]

    def report_on(captions: dict[str, str], description: str) -> Report:
        return judge(
            captions,
            judged,
            data=str(annotations),
            split=chosen,
            decoding=description,
            missing=len(examples) - len(judged),
            bootstrap=bootstrap,
            seed=seed,
            java=java,
        )

    alone = report_on(captions, description)
    report = alone if rivals is None else Comparison(alone, report_on(rivals, str(compare)))
    if as_json:
        print(json.dumps(report.as_json(), indent=1))
    elif markdown:
        print(report.table().markdown())
    elif latex:
        print(report.table().latex())
    else:
        print(report.table().text())
    if failed:
        raise typer.Exit(SOME_FAILED)


def _caption_examples(
    captioner: Captioner,
    examples: Sequence[Example],
    decoding: Decoding,
    batch_size: int,
    workers: int,
) -> dict[str, str]:
    """Captions by image id; a photo that cannot be used has none and is named on stderr."""
    photos = [example.path for example in examples]
    batches = caption_photos(captioner, photos, decoding, batch_size=batch_size, workers=workers)
    results = list(chain.from_iterable(with_progress(batches, len(photos))))
    for result in results:
        if result.error is not None:
            print_status(f"{result.path}: {result.error} (left out of the scores)")
    return captions_by_id(examples, results)


def _describe(captioner: Captioner, decoding: Decoding) -> str:
    return describe_decoding(
        decoding,
        length_penalty=captioner.length_penalty,
        no_repeats=repeatable_words_of(captioner.info) is not None,
        gender_clarity=captioner.gender_clarity(decoding),
    )


@app.command("explain")
@with_flags(Decoding, only=SEARCH, panel="Decoding")
def explain_command(
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    output: Annotated[Path, typer.Option(help="Figure to write (.png, .pdf, .svg).")],
    device: Device = "auto",
    backend: Backend = "auto",
    model: Model = None,
    **decoding: Any,
) -> None:
    """Draw where the network looked while it wrote each word."""
    # matplotlib takes a second to import.
    from captioner.figures.attention import FIGURE_FORMATS, draw_attention

    choice = settings_from(Decoding, None, decoding)

    image = open_image(photo)
    if output.exists() and output.samefile(photo):
        raise UserError(f"--output '{output}' is the photo itself: give the figure another name")
    if output.suffix.lower() not in FIGURE_FORMATS:
        raise UserError(
            f"--output '{output}' is not a known kind of figure: use .png, .pdf or .svg"
        )
    check_writable(output)
    captioner = Captioner.load(model, device=device, backend=backend)
    caption = captioner.caption(
        image,
        beam_size=choice.beam_size,
        max_length=choice.max_length,
        careful=choice.careful,
        gender_clarity=choice.gender_clarity,
        attention=True,
    )
    draw_attention(image, caption, output)
    print(f"{photo}\t{caption.text}")


@app.command("train")
@with_flags(TrainingConfig)
def train_command(
    *,
    annotations: Annotated[list[Path], typer.Option(help=TRAINING_CAPTIONS)],
    images: Annotated[
        list[Path], typer.Option(help="Folder of the photos, once for each --annotations.")
    ],
    output: Annotated[
        Path, typer.Option(help="Run folder: checkpoint, metrics.jsonl, metrics.png.")
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --output, with its settings.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="JSON file with settings; flags override it.")
    ] = None,
    absolute_names: AbsoluteNames = False,
    device: Device = "auto",
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder for computed features; the user's cache folder if not given."),
    ] = None,
    **flags: Any,
) -> None:
    """Train a captioner on your own photos; --output then serves as --model."""
    from captioner.training.trainer import train  # accelerate takes seconds to import

    if len(annotations) != len(images):
        raise UserError(
            f"{len(annotations)} --annotations but {len(images)} --images: give one folder of"
            " photos for each file of captions"
        )
    run = RunFolder(output, "captioner")
    settings = run_settings(TrainingConfig, run, config, flags, resume=resume)
    datasets = [
        read_dataset(file, folder, absolute_names=absolute_names)
        for file, folder in zip(annotations, images, strict=True)
    ]
    try:
        best = train(datasets, output, settings, device=device, resume=resume, cache=cache)
    except KeyboardInterrupt:
        if (output / STATE).exists():
            saved = f"the last complete epoch is saved in {output}"
        else:
            saved = "no epoch was complete yet"
        print_status(f"interrupted; {saved}: run the same command with --resume to continue")
        sys.exit(INTERRUPTED)
    if best:  # only in the first of several processes
        scores = f"CIDEr-D {100 * best['cider_d']:.1f}, BLEU-4 {100 * best['bleu_4']:.1f}"
        print(f"best: epoch {best['epoch']}, {scores}; the checkpoint is in {output}")


app.command("features")(features_command)
app.command("export")(export_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `captioner` command."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("captioner").setLevel(logging.INFO)
    run_app("captioner", app, arguments)


if __name__ == "__main__":
    main()
