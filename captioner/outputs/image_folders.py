"""metadata.jsonl files, one in each folder of photos, as Hugging Face's imagefolder reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from captioner.data.path_list import PathList
from captioner.outputs.places import Places
from captioner.outputs.resumable_file import ResumableFile
from captioner.outputs.text_formats import Format, Record, json_line
from captioner.types import Caption, CaptionResult

NAME = "metadata.jsonl"


class Metadata(Format):
    """{"file_name", "text"} on each line, for photos with a caption; several captions are also in
    the list "captions". What else people have put into a row stays there.
    """

    name = "metadata"

    def __init__(self) -> None:
        self._added: dict[str, dict[str, Any]] = {}  # by photo

    def key(self, path: Path) -> str:
        return path.name

    def encode(self, row: CaptionResult) -> bytes:
        if not row.captions or row.unsure:
            return b""
        key = self.key(row.path)
        record = {"file_name": key, "text": row.captions[0].text} | self._added.get(key, {})
        if len(row.captions) > 1:
            record["captions"] = [caption.text for caption in row.captions]
        return json_line(record) + b"\n"

    def beginning(self, key: str) -> bytes:
        return json_line({"file_name": key})[:-1] + b", "

    def decode(self, data: bytes) -> Record:
        record = json.loads(data)
        if not isinstance(record, dict) or not isinstance(record["file_name"], str):
            raise TypeError("not a row with a file_name")
        texts = record.get("captions") or [record["text"]]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(f"a caption must be text, not {texts!r}")
        ours = ("file_name", "text", "captions")
        if added := {name: value for name, value in record.items() if name not in ours}:
            self._added[record["file_name"]] = added
        return Record(record["file_name"], data, tuple(map(Caption.written, texts)))


class ImageFolders:
    """A metadata.jsonl in each folder that has photos.

    Each is a `ResumableFile`, with its rules and errors; folders are written one after another, and
    `photos` come in this order.
    """

    def __init__(
        self,
        photos: Sequence[Path],
        if_exists: str,
        *,
        num_captions: int = 1,
        made_by: str = "",
    ) -> None:
        place = Places()
        self._place = place
        folders: dict[Path, list[str]] = {}
        for photo in photos:
            folders.setdefault(place(photo).parent, []).append(str(photo))
        self._files = {
            folder: ResumableFile(
                folder / NAME,
                Metadata(),
                PathList(names),
                if_exists,
                num_captions=num_captions,
                made_by=made_by,
            )
            for folder, names in folders.items()
            if folder.is_dir()  # photos that are nowhere have no row
        }
        elsewhere = [names for folder, names in folders.items() if folder not in self._files]
        self.photos: Sequence[Path] = PathList(
            chain(
                (str(photo) for file in self._files.values() for photo in file.photos),
                chain.from_iterable(elsewhere),
            )
        )

    def __enter__(self) -> Self:
        self._left = iter(self._files)  # folders that have not been entered yet
        self._open: Path | None = None
        return self

    def __call__(self, row: CaptionResult) -> None:
        folder = self._place(row.path).parent
        if folder not in self._files:
            return
        while self._open != folder:
            self._next()
        self._files[folder](row)

    def _next(self) -> bool:
        """Finish the file of a folder and begin that of the next one; False if there is none."""
        if self._open is not None:
            self._files[self._open].__exit__(None, None, None)
        self._open = next(self._left, None)
        if self._open is not None:
            self._files[self._open].__enter__()
        return self._open is not None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            while self._next():  # folders where everything is done may have a .part
                pass
        elif self._open is not None:
            self._files[self._open].__exit__(kind, error, trace)

    def existing(self, photos: Sequence[Path]) -> Iterator[tuple[Path, tuple[Caption, ...]]]:
        """Each photo and the captions that the file in its folder has of it."""
        by_folder: dict[Path, list[Path]] = {}
        for photo in photos:
            by_folder.setdefault(self._place(photo).parent, []).append(photo)
        for folder, group in by_folder.items():
            if folder in self._files:
                yield from self._files[folder].existing(group)
            else:
                yield from ((photo, ()) for photo in group)
