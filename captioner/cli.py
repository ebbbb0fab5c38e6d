"""The command line: captioner caption | evaluate | explain | train."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from captioner.captioner import Captioner
from captioner.data.annotations import Example, read_dataset
from captioner.data.images import open_image
from captioner.evaluation.predictions import read_predictions
from captioner.evaluation.references import choose_split, read_references
from captioner.evaluation.report import Comparison, Report, judge
from captioner.jobs.job import CaptionJob, run_job
from captioner.jobs.pipeline import caption_photos, default_workers
from captioner.jobs.progress import tell, with_progress
from captioner.outputs.base import FORMAT_NAMES
from captioner.training.config import TrainingConfig
from captioner.types import Decoding
from rnnkit.command_line import run_app
from rnnkit.errors import INTERRUPTED, SOME_FAILED, UserError
from rnnkit.runs import STATE
from rnnkit.settings import settings_from, with_flags

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Model = Annotated[
    Path | None, typer.Option(help="Checkpoint or run folder; the bundled model if not given.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Backend = Annotated[str, typer.Option(help="What runs the networks: auto, torch or openvino.")]
BeamSize = Annotated[int, typer.Option(help="Sentences kept while searching; 1 is greedy.")]
MaxLength = Annotated[int, typer.Option(help="Longest caption in words.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Photos computed at once.")]
Workers = Annotated[int, typer.Option(min=1, help="Threads that decode photos.")]

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
        "--allow-missing", help="Score the images that have a caption, and say how many have none."
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
def about() -> None:
    """Write sentences about photos, and train and evaluate the network that does."""


@app.command("caption")
def caption_command(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="Images, folders, globs or .tar shards."),
    ] = None,
    from_file: Annotated[
        str | None,
        typer.Option(help="Take the photos from a list, one path per line; - is standard input."),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Look into folders inside folders too.")
    ] = False,
    format: Annotated[
        str, typer.Option(help=f"Output format: {' | '.join(FORMAT_NAMES)}.")
    ] = "tsv",
    output: Annotated[
        Path | None,
        typer.Option(
            help="File to write, or folder for shards and copies; stdout if not given, or -."
        ),
    ] = None,
    existing: Annotated[
        str,
        typer.Option(
            help=(
                "What to do with captions that are there already: skip | overwrite | append |"
                " prepend."
            )
        ),
    ] = "skip",
    embed: Annotated[
        bool,
        typer.Option("--embed", help="Write captions into the XMP and EXIF of copies in --output."),
    ] = False,
    in_place: Annotated[
        bool,
        typer.Option("--in-place", help="With --embed: change the photos themselves, not copies."),
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first photo that fails.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    beam_size: BeamSize = 3,
    num_captions: Annotated[int, typer.Option(help="Candidates for each photo, best first.")] = 1,
    max_length: MaxLength = 20,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw words at random instead of searching.")
    ] = False,
    temperature: Annotated[
        float, typer.Option(help="Below 1 makes likely words likelier; with --sample.")
    ] = 1.0,
    top_p: Annotated[
        float,
        typer.Option(
            help=(
                "Draw only from the likeliest words whose probabilities sum to this; with --sample."
            )
        ),
    ] = 1.0,
    seed: Annotated[
        int | None, typer.Option(help="The same seed draws the same sentences; with --sample.")
    ] = None,
    batch_size: BatchSize = 32,
    workers: Workers = default_workers(),
    device: Device = "auto",
    backend: Backend = "auto",
    model: Model = None,
    engine: Annotated[
        str,
        typer.Option(
            help="local, or ray for a cluster, which writes shards (--format jsonl or parquet)."
        ),
    ] = "local",
    ray_actors: Annotated[
        int | None,
        typer.Option(
            min=1, help="Captioners on the cluster; one for each GPU or core if not given."
        ),
    ] = None,
) -> None:
    """Write a sentence about each photo, one line per photo: path<TAB>caption.

    If a run is stopped, the same command continues it. Photos that failed are tried again.
    """
    decoding = Decoding(
        beam_size=beam_size,
        num_captions=num_captions,
        max_length=max_length,
        sample=sample,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    )
    job = CaptionJob(
        paths=tuple(paths or ()),
        from_file=from_file,
        recursive=recursive,
        format=format,
        output=output,
        existing=existing,
        embed=embed,
        in_place=in_place,
        fail_fast=fail_fast,
        dry_run=dry_run,
        decoding=decoding,
        batch_size=batch_size,
        workers=workers,
        device=device,
        backend=backend,
        model=model,
        engine=engine,
        ray_actors=ray_actors,
    )
    if not run_job(job):
        raise typer.Exit(SOME_FAILED)


@app.command("evaluate")
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
    as_json: AsJson = False,
    markdown: AsMarkdown = False,
    latex: AsLatex = False,
    bootstrap: Bootstrap = 1000,
    seed: BootstrapSeed = 0,
    java: Java = True,
    beam_size: BeamSize = 3,
    max_length: MaxLength = 20,
    batch_size: BatchSize = 32,
    workers: Workers = default_workers(),
    device: Device = "auto",
    backend: Backend = "auto",
    model: Model = None,
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
        raise UserError("give one of --json, --markdown and --latex")
    dataset = read_references(annotations) if images is None else read_dataset(annotations, None)
    examples, chosen = choose_split(dataset, split)
    if images is not None:
        examples = _with_photos(examples, images, allow_missing=allow_missing)

    def read(file: Path) -> dict[str, str]:
        return read_predictions(
            file, examples, others=dataset.examples, allow_missing=allow_missing
        )

    rivals = read(compare) if compare is not None else None
    failed = False
    if predictions is not None:
        captions, decoding = read(predictions), str(predictions)
    else:
        captioner = Captioner.load(model, device=device, backend=backend)
        choice = Decoding(beam_size=beam_size, max_length=max_length)
        captions = _caption_examples(
            captioner, examples, choice, batch_size=batch_size, workers=workers
        )
        decoding, failed = _described(captioner, choice), len(captions) < len(examples)
    kept = [
        e
        for e in examples
        if str(e.image_id) in captions and (rivals is None or str(e.image_id) in rivals)
    ]

    def judged(found: dict[str, str], decoding: str) -> Report:
        missing = len(examples) - len(kept)
        about = {"data": str(annotations), "split": chosen, "decoding": decoding}
        return judge(
            found, kept, **about, missing=missing, bootstrap=bootstrap, seed=seed, java=java
        )

    alone = judged(captions, decoding)
    report = alone if rivals is None else Comparison(alone, judged(rivals, str(compare)))
    table = report.table()
    shown = table.markdown() if markdown else table.latex() if latex else table.text()
    print(json.dumps(report.as_json(), indent=1) if as_json else shown)
    if failed:
        raise typer.Exit(SOME_FAILED)


def _with_photos(
    examples: Sequence[Example], images: Path, *, allow_missing: bool
) -> list[Example]:
    """The examples with their photos' paths in a folder.

    Raises: UserError naming photos that are not there, unless that is allowed.
    """
    found = [replace(example, path=images / example.path) for example in examples]
    absent = [str(example.path) for example in found if not example.path.is_file()]
    if absent and not allow_missing:
        few = ", ".join(absent[:3])
        raise UserError(
            f"{len(absent)} of {len(found)} photos are not there, for example {few}:"
            " --allow-missing scores the others"
        )
    return found


def _caption_examples(
    captioner: Captioner,
    examples: Sequence[Example],
    choice: Decoding,
    *,
    batch_size: int,
    workers: int,
) -> dict[str, str]:
    """Captions by image id; a photo that cannot be used has none and is named on stderr."""
    photos = [example.path for example in examples]
    batches = with_progress(
        caption_photos(captioner, photos, choice, batch_size=batch_size, workers=workers),
        len(photos),
    )
    rows = [row for batch in batches for row in batch]
    for row in rows:
        if row.error is not None:
            tell(f"{row.path}: {row.error} (left out of the scores)")
    return {
        str(example.image_id): row.captions[0].text
        for example, row in zip(examples, rows, strict=True)
        if row.error is None
    }


def _described(captioner: Captioner, choice: Decoding) -> str:
    """How captions were made, for the report."""
    said = (
        f"beam {choice.beam_size}, at most {choice.max_length} words, length penalty"
        f" {captioner.length_penalty:g}"
    )
    if captioner.info.get("decoding", {}).get("repeatable") is not None:
        said += ", no word twice but those that people repeat"
    return said


@app.command("explain")
def explain_command(
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    output: Annotated[Path, typer.Option(help="Figure to write (.png, .pdf, .svg).")],
    beam_size: BeamSize = 3,
    max_length: MaxLength = 20,
    device: Device = "auto",
    backend: Backend = "auto",
    model: Model = None,
) -> None:
    """Draw where the network looked while it wrote each word."""
    from captioner.attention_figure import (
        FIGURE_FORMATS,
        draw_attention,
    )  # matplotlib takes a second to import

    image = open_image(photo)
    if output.exists() and output.samefile(photo):
        raise UserError(f"--output '{output}' is the photo itself: give the figure another name")
    if output.suffix.lower() not in FIGURE_FORMATS:
        raise UserError(f"--output '{output}' has no ending of a figure: use .png, .pdf or .svg")
    captioner = Captioner.load(model, device=device, backend=backend)
    caption = captioner.caption(image, beam_size=beam_size, max_length=max_length, attention=True)
    try:
        draw_attention(image, caption, output)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write the figure '{output}' ({error})") from None
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
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --output.")] = False,
    config: Annotated[
        Path | None, typer.Option(help="JSON file with settings; flags win over it.")
    ] = None,
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
    settings = settings_from(TrainingConfig, config, flags)
    datasets = [
        read_dataset(file, folder) for file, folder in zip(annotations, images, strict=True)
    ]
    try:
        best = train(datasets, output, settings, device=device, resume=resume, cache=cache)
    except KeyboardInterrupt:
        saved = (
            f"the last whole epoch is saved in {output}"
            if (output / STATE).exists()
            else "no epoch was whole yet"
        )
        tell(f"interrupted; {saved}: continue with the same command and --resume")
        raise typer.Exit(INTERRUPTED) from None
    if best:  # of several processes only the first knows
        scores = f"CIDEr-D {100 * best['cider_d']:.1f}, BLEU-4 {100 * best['bleu_4']:.1f}"
        print(f"best: epoch {best['epoch']}, {scores}; the checkpoint is in {output}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `captioner` command."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("captioner").setLevel(logging.INFO)
    run_app("captioner", app, arguments)


if __name__ == "__main__":
    main()
