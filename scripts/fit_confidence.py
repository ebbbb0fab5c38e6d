"""Fits how sure a captioner is of its words on validation photos, and stores it in the checkpoint.

    python scripts/fit_confidence.py RUN --annotations A.json --images A/ --annotations B.json
    --images B/

`captioner train` does the same at its end; this is for checkpoints that were trained without it.
Prints how true the stated confidence is: each half of the photos by a model that was fitted on the
other half. With --measure the checkpoint stays as it is, and what it states already is compared
with photos that it was not fitted on.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from captioner import Captioner, Decoding
from captioner.data.annotations import read_dataset
from captioner.evaluation.caption_split import encode_photos
from captioner.training.confidence import (
    WrittenSentence,
    cross_fitted,
    fit_confidence,
    fit_folds,
    measure,
    write_sentences,
)
from rnnkit.checkpoint import update_config
from rnnkit.command_line import run_app
from rnnkit.errors import UserError


def fit(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint or run folder.")],
    annotations: Annotated[
        list[Path], typer.Option(help="Captions with the split; may be given more than once.")
    ],
    images: Annotated[
        list[Path], typer.Option(help="Folder of the photos, one for each --annotations.")
    ],
    split: Annotated[str, typer.Option(help="Photos to fit or to measure on.")] = "val",
    beam_size: Annotated[int, typer.Option(min=1, help="Beam size of the captions.")] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    backend: Annotated[str, typer.Option(help="auto, torch or openvino.")] = "auto",
    only_measure: Annotated[
        bool, typer.Option("--measure", help="Only compare what the checkpoint states.")
    ] = False,
) -> None:
    """Fit the confidence of a captioner's words, print how true it is, and store it."""
    if len(annotations) != len(images):
        raise UserError("give one --images for each --annotations")
    captioner = Captioner.load(checkpoint, device=device, backend=backend)
    if only_measure:
        captioner.require_confidence("--measure")
    decoding = Decoding(beam_size=beam_size, num_captions=1 if only_measure else beam_size)
    written: list[list[WrittenSentence]] = []
    for file, folder in zip(annotations, images, strict=True):
        usable, features, errors = encode_photos(captioner, read_dataset(file, folder).split(split))
        for error in errors:
            print(f"left out: {error}")
        written += write_sentences(captioner, usable, features, decoding)
    if only_measure:
        model = captioner.require_confidence("--measure")
        first = [group[0] for group in written]
        stated = [model.word_confidence(each.sentence, each.words) for each in first]
        print("\n".join(measure(first, stated).lines()))
        return
    fitted, folds = fit_confidence(list(chain.from_iterable(written))), fit_folds(written)
    if fitted is None or folds is None:
        raise UserError(f"{len(written)} photos have too few words to fit the confidence on")
    print("\n".join(measure(*cross_fitted(written, folds)).lines()))
    update_config(checkpoint, {"confidence": fitted.as_config()})
    print(f"\nstored in {checkpoint}")


if __name__ == "__main__":
    run_app("fit_confidence", fit)
