"""Where captions go: every format of output behind one interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TextIO, runtime_checkable

from captioner.outputs.image_folders import ImageFolders
from captioner.outputs.resumable_file import EXISTING, ResumableFile
from captioner.outputs.sidecars import EXTENSION, Sidecars
from captioner.outputs.stream import Stream
from captioner.outputs.text_formats import ROW_FORMATS, SAFE_CSV
from captioner.types import Caption, CaptionResult, EncodedPicture
from rnnkit.errors import UserError, either

FORMAT_NAMES = (*ROW_FORMATS, "sidecar", "metadata", "parquet", "webdataset")
_ENDINGS = {".jsonl": "jsonl", ".csv": "csv", ".json": "coco", ".parquet": "parquet"}


class Output(Protocol):
    """Says which photos it still wants captions of, then takes their rows.

    Nothing is changed before it is entered.
    """

    @property
    def photos(self) -> Sequence[Path] | Iterable[EncodedPicture]: ...

    def __enter__(self) -> Self: ...

    def __call__(self, row: CaptionResult) -> str | None:
        """Take a row, which is then in the output as a whole; returns the reason if this photo
        cannot have one.
        """

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@runtime_checkable
class Readable(Protocol):
    """An output whose captions can be read back."""

    def existing(self, photos: Sequence[Path]) -> Iterator[tuple[Path, tuple[Caption, ...]]]:
        """Each photo, in any order, and its captions, none if it has none."""


def format_of(output: Path | None) -> str:
    """The format that an output's name stands for; tsv if it says nothing."""
    return "tsv" if output is None else _ENDINGS.get(output.suffix.lower(), "tsv")


def open_output(
    format: str,
    output: Path | None,
    stdout: TextIO,
    photos: Sequence[Path] = (),
    *,
    if_exists: str = "skip",
    num_captions: int = 1,
    made_by: str = "",
    csv_safe: bool = False,
    extension: str = EXTENSION,
    sidecar_folder: Path | None = None,
    roots: Sequence[Path] = (),
) -> Output:
    """The output for rows of photos in a format.

    Args:
        output: a file; None or - is stdout, except for sidecars and metadata, which go beside their
            photos.
        if_exists: what to do with captions that exist already; see
            `captioner.outputs.resumable_file.ResumableFile` and `Sidecars`.
        num_captions, made_by: see `captioner.outputs.resumable_file.ResumableFile`.
        csv_safe: see `captioner.outputs.text_formats.Csv`.
        extension, sidecar_folder, roots: see `captioner.outputs.sidecars.Sidecars`.

    Raises: UserError for an unknown format, or an output that cannot be written or holds something
        else.
    """
    if format not in FORMAT_NAMES or format == "webdataset":
        raise UserError(f"unknown format '{format}': use {either(FORMAT_NAMES)}")
    if if_exists not in EXISTING:
        raise UserError(f"unknown --existing '{if_exists}': use {either(EXISTING)}")
    if format == "sidecar":
        if output is not None:
            raise UserError(
                "sidecars are written beside their photos: leave out --output, or use another"
                " --format; --sidecar-folder puts them elsewhere"
            )
        return Sidecars(photos, if_exists, extension=extension, folder=sidecar_folder, roots=roots)
    if format == "metadata":
        if output is not None:
            raise UserError(
                "a metadata.jsonl is written into each folder of photos: leave out --output, or use"
                " --format jsonl"
            )
        return ImageFolders(photos, if_exists, num_captions=num_captions, made_by=made_by)
    if output == Path("-"):
        output = None
    if format == "parquet":
        from captioner.outputs.parquet import open_parquet  # an extra

        return open_parquet(output, photos, if_exists, made_by=made_by)
    row_format = SAFE_CSV if csv_safe and format == "csv" else ROW_FORMATS[format]
    if output is None:
        return Stream(stdout, row_format, photos)
    is_device = output.exists() and not output.is_file() and not output.is_dir()  # or a named pipe
    if is_device:
        return Stream(output.open("w", encoding="utf-8"), row_format, photos, close=True)
    return ResumableFile(
        output, row_format, photos, if_exists, num_captions=num_captions, made_by=made_by
    )
