"""Reads examples: labelled texts, tagged sentences, and pairs of translations."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeVar

from rnnkit.errors import UserError

T = TypeVar("T")
MAX_SENTENCE = 100  # words in a file that has no blank line, which is then no file of sentences
MAX_SHOWN = 40  # characters of a line in a message


class Labelled(NamedTuple):
    """A text and its label."""

    text: str
    label: str


class Tagged(NamedTuple):
    """A sentence, with a tag for each word."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


class Pair(NamedTuple):
    """A text and its translation."""

    source: str
    target: str


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, without their ends; only a line end separates lines.

    Raises: UserError naming the file, if it is not UTF-8; OSError if it cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"'{path}' is not UTF-8 text (byte {error.start})") from None
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else []


def read_labelled(path: Path) -> list[Labelled]:
    """A TSV file whose header names the columns label and text, in any order, beside others.

    Raises: UserError naming the file and the line that does not fit.
    """
    lines = read_lines(path)
    header = lines[0].split("\t") if lines else []
    if not {"label", "text"} <= set(header):
        raise UserError(f"'{path}' needs a header with the columns label and text")
    label, text = header.index("label"), header.index("text")
    examples = []
    for number, line in enumerate(lines[1:], 2):
        fields = line.split("\t")
        if len(fields) != len(header) or not fields[label] or not fields[text].strip():
            raise UserError(
                f"line {number} of '{path}' has no label or no text: it needs {len(header)} columns"
            )
        examples.append(Labelled(fields[text], fields[label]))
    return _some(examples, path)


def read_tagged(path: Path) -> list[Tagged]:
    """CoNLL: a word and its tag a line, tab between, a blank line between sentences.

    Columns after the second are left out.

    Raises: UserError naming the file and the line that does not fit, or if no blank line ends a
        sentence anywhere.
    """
    examples = []
    words: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*read_lines(path), ""], 1):
        if line.strip():
            word, _, rest = line.partition("\t")
            tag = rest.partition("\t")[0]
            if not word.strip() or not tag or " " in tag.strip():
                raise UserError(
                    f"line {number} of '{path}' is not a word, a tab and a tag, but {_shown(line)}"
                )
            words.append(word)
            tags.append(tag)
        elif words:
            examples.append(Tagged(tuple(words), tuple(tags)))
            words, tags = [], []
    if len(examples) == 1 and len(examples[0].words) > MAX_SENTENCE:
        raise UserError(
            f"'{path}' has {len(examples[0].words):,} lines and no blank line between them: a blank"
            " line must end each sentence, and a line be a word, a tab and its tag"
        )
    return _some(examples, path)


def read_pairs(path: Path, *, source: int = 1, target: int = 2) -> list[Pair]:
    """A TSV file without a header: a text and its translation a line.

    Args:
        source, target: which columns they are, from 1.

    Raises: UserError naming the file and the line that does not fit.
    """
    examples = []
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split("\t")
        if len(fields) < max(source, target):
            raise UserError(
                f"line {number} of '{path}' has no column {max(source, target)}, only {len(fields)}"
            )
        pair = Pair(fields[source - 1].strip(), fields[target - 1].strip())
        if not all(pair):
            raise UserError(f"line {number} of '{path}' lacks a text or its translation")
        examples.append(pair)
    return _some(examples, path)


def _some(examples: list[T], path: Path) -> list[T]:
    if not examples:
        raise UserError(f"'{path}' has no examples")
    return examples


def _shown(line: str) -> str:
    """The beginning of a line, for a message."""
    return repr(line if len(line) <= MAX_SHOWN else f"{line[:MAX_SHOWN]}...")
