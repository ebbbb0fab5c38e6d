"""Edits captions that are there already: sidecars, and files of rows."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from captioner.data.images import EXTENSIONS
from captioner.jobs.find_photos import find_photos
from captioner.outputs.csv_layout import CsvLayout, as_it_was, defused
from captioner.outputs.image_folders import NAME as METADATA
from captioner.outputs.resumable_file import refuse_other_parts
from captioner.outputs.sidecars import EXTENSION, sidecar_names, with_dot
from captioner.outputs.text_around import TextAround, check_line
from captioner.outputs.text_formats import Csv, json_line
from rnnkit.errors import UserError, either, problem
from rnnkit.files import write_file
from rnnkit.run_lock import RunLock

SIDECARS = (EXTENSION, ".caption")  # by their names; others only if the caller says so


@dataclass(frozen=True)
class Edit:
    """What happens to every caption, in this order; calling it edits one.

    Attributes:
        replace: what is replaced, where it stands as whole words, and what comes in its place.
        around: text that is put around captions which do not begin or end with it already.
        dedupe: a caption that its photo has already is taken out.
    """

    replace: tuple[str, str] | None = None
    around: TextAround = field(default_factory=TextAround)
    dedupe: bool = False

    def __post_init__(self) -> None:
        if self.replace is None and not self.around and not self.dedupe:
            raise UserError("nothing to do: give --replace, --prepend, --append or --dedupe")
        if self.replace is not None:
            for text in self.replace:
                check_line(text, "--replace")
            if not self.replace[0].strip():
                raise UserError("--replace needs words to look for")

    def __call__(self, text: str) -> str:
        if self.replace is not None:
            old, new = self.replace
            pattern = (
                (r"\b" if re.match(r"\w", old) else "")
                + re.escape(old)
                + (r"\b" if re.search(r"\w$", old) else "")
            )
            replaced = re.sub(pattern, lambda _: new, text)
            if replaced != text:  # words that are gone leave no gap
                text = re.sub(" {2,}", " ", replaced).strip()
        if not text.strip():
            return ""
        return self.around.once(text)


@dataclass(frozen=True)
class Change:
    """A caption before and after; None where it goes because its photo has it already."""

    name: str
    old: str
    new: str | None


class _Captions:
    """Edits the captions of a file one by one, and remembers what changed."""

    def __init__(self, edit: Edit) -> None:
        self._edit, self.changes = edit, list[Change]()
        self._seen: dict[str, set[str]] = {}

    def __call__(self, name: str, text: str) -> str | None:
        """The caption of a photo as it is to be; None if it is to go."""
        new = self._edit(text)
        if not new:
            raise UserError(
                f"'{text}' of '{name}' would become an empty caption; nothing was changed"
            )
        seen = self._seen.setdefault(name, set())
        again = self._edit.dedupe and new in seen
        seen.add(new)
        if again or new != text:
            self.changes.append(Change(name, text, None if again else new))
        return None if again else new


# --- which files ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class EditedFile:
    """A file with its new content, and the captions that change."""

    path: Path
    data: bytes
    changes: Sequence[Change]
    is_sidecar: bool


def edit_captions(
    paths: Sequence[str],
    edit: Edit,
    *,
    recursive: bool = False,
    extension: str = EXTENSION,
    sidecar_folder: Path | None = None,
    dry_run: bool = False,
) -> list[EditedFile]:
    """Edit the captions in files and beside the photos in folders.

    A file is a sidecar, or rows in tsv, csv, jsonl or metadata.jsonl; in a folder, the sidecars of
    its photos and its metadata.jsonl are edited. Everything is read before the first file is
    written; a file that does not change is not touched, nor is a row in one that does.

    Args:
        recursive: look into folders inside folders too.
        extension, sidecar_folder: see `captioner.outputs.sidecars.Sidecars`.
        dry_run: write nothing.

    Returns: all files that have captions, with those that do not change.
    Raises: UserError before anything is written, for a path without captions, a file that is
        something else, or a caption that would become empty.
    """
    names = sidecar_names(extension, sidecar_folder, [Path(path) for path in paths])
    files, locks = [], []
    for path in dict.fromkeys(_files(paths, names, with_dot(extension), recursive=recursive)):
        lock = RunLock(path)  # before the file is read
        files.append(_edited(path, edit, with_dot(extension)))
        if not files[-1].is_sidecar:
            refuse_other_parts(path)
            locks.append(lock)
    if dry_run:
        return files
    with ExitStack() as held:
        for lock in locks:
            held.enter_context(lock)
        for file in files:
            if file.changes:
                write_file(file.path, file.data)
    return files


def without_photos(paths: Sequence[str]) -> list[str]:
    """The paths that may have captions: photos are left out, which a glob of the shell brings in.

    Raises: UserError if there are only photos.
    """
    kept = [path for path in paths if Path(path).suffix.lower() not in EXTENSIONS]
    if paths and not kept:
        raise UserError(
            f"'{paths[0]}' is a photo, and its captions are in another file: give that file, or the"
            " folder; nothing was changed"
        )
    return kept


def _files(
    paths: Sequence[str], sidecar: Callable[[Path], Path], extension: str, *, recursive: bool
) -> Iterator[Path]:
    for text in paths:
        path = Path(os.path.realpath(text))
        if path.is_dir():
            photos = find_photos([text], recursive=recursive)
            named = _captions_of(sidecar, photos)
            found = [
                Path(os.path.realpath(file)) for file in dict.fromkeys(named) if file.is_file()
            ]
            if not found:
                raise UserError(
                    f"no captions in '{text}' (looked for {METADATA} and for a {extension} file of"
                    " each photo)"
                )
            yield from found
        elif path.is_file():
            yield path
        else:
            raise UserError(f"there is nothing at '{text}': give a folder or a file of captions")


def _captions_of(sidecar: Callable[[Path], Path], photos: Iterable[Path]) -> Iterator[Path]:
    """The files that may have captions of photos: their sidecars, and what their folders have."""
    for photo in photos:
        yield sidecar(photo)
        yield photo.parent / METADATA


def _edited(path: Path, edit: Edit, extension: str) -> EditedFile:
    captions = _Captions(edit)
    try:
        data = path.read_bytes()
        editor = _editor(path, data, extension)
        pieces = editor(path, data, captions)
        return EditedFile(path, b"".join(pieces), captions.changes, editor is _sidecar)
    except OSError as error:
        raise UserError(f"cannot read '{path}' ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"'{path}' is not a file of captions ({problem(error)}); nothing was changed"
        ) from None


Editor = Callable[[Path, bytes, _Captions], Iterator[bytes]]


def _editor(path: Path, data: bytes, extension: str) -> Editor:
    kind = path.suffix.lower()
    if kind in (".json", ".parquet", ".tar"):
        raise UserError(
            f"'{path}' cannot be edited: edit sidecars, tsv, csv, jsonl or {METADATA}, or caption"
            " again with --existing overwrite"
        )
    if b"\0" in data:
        raise ValueError("it is not text in UTF-8")
    by_name: dict[str, Editor] = {".jsonl": _jsonl, ".csv": _csv, ".tsv": _tsv}
    if kind in by_name:
        return by_name[kind]
    # A file of rows may have any name.
    lines = [line for line in data.splitlines() if line.strip()]
    if lines and all(line.count(b"\t") == 1 for line in lines):
        return _tsv
    if kind not in (*SIDECARS, extension.lower()):
        raise UserError(
            f"'{path}' is not a file of captions by its name: give a sidecar ({either(SIDECARS)};"
            " others with --extension), tsv, csv or jsonl; nothing was changed"
        )
    return _sidecar


# --- kinds of files -------------------------------------------------------------------------------


def _sidecar(path: Path, data: bytes, captions: _Captions) -> Iterator[bytes]:
    mark = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
    yield mark
    for line in data[len(mark) :].splitlines(keepends=True):
        text, end = _text_and_end(line)
        yield _line(text, captions(str(path), text) if text.strip() else text, line, end)


def _tsv(path: Path, data: bytes, captions: _Captions) -> Iterator[bytes]:
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        cells, end = _text_and_end(line)
        if cells.count("\t") != 1:
            raise ValueError(f"line {number} has {cells.count(chr(9))} tabs, not one")
        name, text = cells.split("\t")
        new = captions(name, text)
        yield _line(cells, None if new is None else f"{name}\t{new}", line, end)


def _text_and_end(line: bytes) -> tuple[str, bytes]:
    text = line.rstrip(b"\r\n")
    return text.decode(errors="surrogateescape"), line[len(text) :]


def _line(old: str, new: str | None, line: bytes, end: bytes) -> bytes:
    if new == old:
        return line
    return b"" if new is None else new.encode(errors="surrogateescape") + end


def _csv(path: Path, data: bytes, captions: _Captions) -> Iterator[bytes]:
    header = data.splitlines(keepends=True)[0] if data else b""
    layout = CsvLayout.of(header)
    yield header
    place = len(header)
    for record in Csv(layout).read(BytesIO(data[place:])):
        if not record.whole:
            raise ValueError("it ends in the middle of a row")
        start = data.index(record.data, place)  # lines without cells come in between
        yield data[place:start]
        place = start + len(record.data)
        (name, text, _, status, error, _), added = layout.split(record.data)
        if status == "error":
            yield record.data
            continue
        plain = as_it_was(text)
        new = captions(name, plain)
        if new == plain:
            yield record.data
        elif new is not None:
            cell = new if plain == text else defused(new)
            yield layout.join([name, cell, "", status, error, ""], added)
    yield data[place:]


def _jsonl(path: Path, data: bytes, captions: _Captions) -> Iterator[bytes]:
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        body = line.rstrip(b"\r\n")
        if not body.strip():
            yield line
            continue
        try:
            record = json.loads(body)
            before = len(captions.changes)
            new = (
                _metadata_row(record, captions) if "file_name" in record else _row(record, captions)
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"line {number}: {problem(error)}") from None
        if len(captions.changes) == before:
            yield line
        elif new is not None:
            yield json_line(new) + line[len(body) :]


def _metadata_row(record: dict[str, Any], captions: _Captions) -> dict[str, Any] | None:
    """A row of metadata.jsonl with its captions edited; None if all of them go."""
    old = record.get("captions") or [record["text"]]
    new = [
        text for text in (captions(record["file_name"], text) for text in old) if text is not None
    ]
    return _with_several(record | {"text": new[0]}, new) if new else None


def _row(record: dict[str, Any], captions: _Captions) -> dict[str, Any] | None:
    """A row of jsonl with its captions edited: those have no score and no confidence any more, and
    the row says that it was edited. None if all of its captions go.
    """
    if record["status"] == "error":
        return record
    several = record.get("captions") or [record]
    new = []
    for candidate in several:
        text = captions(record["path"], candidate["caption"])
        if text is not None:
            unchanged = text == candidate["caption"]
            new.append(candidate if unchanged else _without_scores(candidate) | {"caption": text})
    if not new:
        return None
    if new[0]["caption"] != record["caption"]:
        record = _without_scores(record)
    best = record | {"caption": new[0]["caption"]}
    texts = {candidate["caption"] for candidate in several}
    if any(candidate["caption"] not in texts for candidate in new):
        best["edited"] = True
    return best if "captions" not in record else _with_several(best, new)


def _without_scores(record: dict[str, Any]) -> dict[str, Any]:
    gone = ("score", "confidence", "word_confidence")
    return {name: value for name, value in record.items() if name not in gone}


def _with_several(record: dict[str, Any], captions: Sequence[Any]) -> dict[str, Any]:
    """A row with the list of its captions, which one caption alone does not need."""
    if len(captions) > 1:
        return record | {"captions": list(captions)}
    return {name: value for name, value in record.items() if name != "captions"}
