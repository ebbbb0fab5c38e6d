"""`captioner features`: what the encoder sees in photos, as one file of numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from torch import Tensor

from captioner.captioner import Captioner
from captioner.data.path_list import PathList
from captioner.jobs.find_photos import find_photos, read_photo_list, require_one_source
from captioner.jobs.pipeline import PhotoEncoder, default_workers, encode_photos
from captioner.jobs.progress import duration, print_status, with_progress
from captioner.options import Backend, BatchSize, Device, FromFile, Model, Recursive, Workers
from captioner.outputs.feature_file import FeatureFile, check_feature_file, open_feature_file
from captioner.types import CaptionResult
from rnnkit.errors import SOME_FAILED


def features_command(
    *,
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH...", help="Images, folders or globs.")
    ] = None,
    from_file: FromFile = None,
    recursive: Recursive = False,
    output: Annotated[Path, typer.Option(help="File to write: NAME.safetensors or NAME.npy.")],
    mean: Annotated[
        bool, typer.Option("--mean", help="Only each photo's mean region: (photos, channels).")
    ] = False,
    half: Annotated[bool, typer.Option("--half", help="Write float16, half the size.")] = False,
    batch_size: BatchSize = 32,
    workers: Workers = default_workers(),
    device: Device = "auto",
    backend: Backend = "auto",
    model: Model = None,
) -> None:
    """Write the encoder's features of photos to a file, with the photos' names.

    NAME.safetensors has a tensor, features: (photos, regions, channels), float32, regions row by
    row from the top left. With the bundled model that is (photos, 81, 1280), a grid of 9 x 9. Its
    metadata has names, the photos' paths in the same order as a JSON list, and encoder.

    NAME.npy has the same array, and NAME.names.json the names and the encoder.

    Photos that cannot be read are named and left out. The file appears when all photos are done,
    or not at all.
    """
    require_one_source(paths, from_file)
    check_feature_file(output)
    photos = (
        read_photo_list(from_file) if from_file else find_photos(paths or [], recursive=recursive)
    )
    for folder, reason in photos.unread.items():
        print_status(f"{folder}: {reason}")
    started = time.monotonic()
    captioner = Captioner.load(model, device=device, backend=backend)
    with open_feature_file(output, photos.names, captioner.encoder_name) as file:
        batches = _added(
            captioner, photos, file, mean=mean, half=half, batch_size=batch_size, workers=workers
        )
        with closing(with_progress(batches, len(photos), doing="encoding")) as shown:
            for _ in shown:
                pass
    done, failed = len(file.names), len(photos) + len(photos.unread) - len(file.names)
    print_status(
        f"photos with features in '{output}': {done}; failed: {failed};"
        f" {duration(time.monotonic() - started)}"
    )
    if failed:
        raise typer.Exit(SOME_FAILED)


def _added(
    encoder: PhotoEncoder[Tensor],
    photos: PathList,
    file: FeatureFile,
    *,
    mean: bool,
    half: bool,
    batch_size: int,
    workers: int,
) -> Iterator[list[CaptionResult]]:
    """Add the photos' features to a file; yields what became of each batch."""
    encoded = encode_photos(encoder, photos, batch_size=batch_size, workers=workers)
    with closing(encoded):
        for batch, errors, features in encoded:
            results = [
                CaptionResult(photo, error=error)
                for photo, error in zip(batch, errors, strict=True)
                if isinstance(photo, Path)
            ]
            for result in results:
                if result.error is not None:
                    print_status(f"{result.path}: {result.error}")
            if features is not None:
                rows = features.mean(dim=1) if mean else features  # (B, channels) or (B, R, ...)
                rows = rows.half() if half else rows.float()
                names = [str(result.path) for result in results if result.error is None]
                file.add(names, rows.cpu().numpy())
            yield results
