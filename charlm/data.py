"""Text files, and a text laid out as parallel streams that are cut into chunks."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from rnnkit.errors import UserError


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, line ends as they are; a byte order mark at the start is dropped.

    Raises: UserError naming the file and the offset of the first byte that is not UTF-8; OSError if
        it cannot be read.
    """
    data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = error.start + (path.stat().st_size - len(data))
        raise UserError(
            f"'{path}' is not UTF-8 text (byte 0x{data[error.start]:02x} at offset {offset})",
            hint="convert or repair the file",
        ) from None


@dataclass
class Corpus:
    """What a model is trained on.

    Attributes:
        left_out: the files of its folders that are not text.
    """

    text: str = ""
    left_out: list[Path] = field(default_factory=list)


def read_corpus(paths: Sequence[Path], *, leave_out: Path | None = None) -> Corpus:
    """The texts of files, and of folders' own text files in the order of their names, joined.

    A folder's text files are those that are UTF-8 without NUL. Hidden files and the folders inside
    are passed by.

    Args:
        leave_out: the run's folder, which cannot be one that is read.

    Raises: UserError as `read_text` does for a file that is named, or for a folder without text.
    """
    corpus = Corpus()
    for path in paths:
        if not path.is_dir():
            corpus.text += read_text(path)
            continue
        if leave_out is not None and leave_out.exists() and leave_out.samefile(path):
            raise UserError(
                f"'{path}' is read and cannot take the run as well", hint="choose another --output"
            )
        corpus.text += _read_folder(path, corpus.left_out)
    return corpus


def _read_folder(folder: Path, left_out: list[Path]) -> str:
    """The texts of a folder's files; those that are not text are added to `left_out`."""
    texts = []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            text = read_text(path)
        except UserError:
            text = "\0"
        if "\0" in text:
            left_out.append(path)
        else:
            texts.append(text)
    if not "".join(texts):
        raise UserError(
            f"there is no text file in '{folder}' itself, and folders inside it are not read",
            hint="name the files",
        )
    return "".join(texts)


def streams(
    ids: torch.Tensor, batch_size: int, offset: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """A text as parallel streams: each column is a stretch of it, to be read from top to bottom.

    Args:
        ids: (characters,).
        offset: where in the text the first stream starts. The text is a ring, so nothing is lost
            at its end.

    Returns: inputs and targets, both (length, batch_size), length = (characters - 1) // batch_size;
        a target is the character after its input. Up to batch_size - 1 characters before the offset
        are in no stream.
    Raises: UserError if the text is too short to give each stream one character and the next.
    """
    length = (len(ids) - 1) // batch_size
    if length < 1:
        raise UserError(
            f"{len(ids)} characters are too few for {batch_size} parallel streams",
            hint="use a longer text or a smaller --batch-size",
        )
    ring = torch.roll(ids, -offset)
    used = length * batch_size
    return ring[:used].view(batch_size, length).T, ring[1 : used + 1].view(batch_size, length).T


def chunks(
    inputs: torch.Tensor, targets: torch.Tensor, length: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Streams cut into chunks of at most `length` time steps, in order, so state carries over."""
    for start in range(0, len(inputs), length):
        yield inputs[start : start + length], targets[start : start + length]
