"""Tab 2: many photos at once: files or ZIPs in, a gallery that fills, a table to edit, and the
captions as files.
"""

from __future__ import annotations

import csv
import json
import math
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any, cast

import gradio as gr

from captioner import Captioner, Decoding
from captioner.data.images import ImageError, open_image
from captioner.jobs.pipeline import caption_photos
from rnnkit.errors import UserError
from webui.decoding_options import decoding, options
from webui.errors import in_words, sentence
from webui.html import notice
from webui.session_store import Kept
from webui.uploads import (
    MAX_FILE,
    MAX_PHOTO,
    MAX_PHOTOS,
    Budget,
    is_zip,
    new_folder,
    received,
    temporary_folder,
    unpacked,
)
from webui.workers import Models, SharedCaptioner, turn

HEADERS = ["File", "Caption", "Note"]
EMPTY = notice("Drop photos, or a ZIP of photos, and press Caption them.")
THUMBNAIL = 360
PHOTOS_A_BATCH = 8
SECONDS_BETWEEN_UPDATES = 0.7


@dataclass
class Entry:
    """One photo of a job, and what became of it."""

    name: str
    path: Path | None = None
    caption: str | None = None  # not yet; an empty one is a caption too
    score: float = math.nan
    error: str = ""
    thumbnail: str | None = None

    @property
    def done(self) -> bool:
        """Captioned, or known to be of no use."""
        return self.caption is not None or bool(self.error)

    @property
    def cells(self) -> list[str]:
        """Its row in the table."""
        return [self.name, self.caption or "", self.error]


@dataclass
class Job:
    """A run, and whether its visitor has pressed Stop."""

    stopped: bool = False


def gather(files: Any, folder: Path) -> list[Entry]:
    """The photos in what a client sent, ZIPs unpacked into the folder; what cannot be used is an
    entry with its reason.

    No two entries have one name: a second "a.jpg" is "a (2).jpg".

    Raises: UserError if there is nothing, or too much.
    """
    values = files if isinstance(files, list) else [files]
    _check_number(len(values))
    entries: list[Entry] = []
    budget = Budget()
    for value in values:
        try:
            upload = received(value, limit=MAX_FILE)
            if is_zip(upload):
                entries += _members(unpacked(upload, Path(tempfile.mkdtemp(dir=folder)), budget))
                continue
            received(value, limit=MAX_PHOTO)
        except UserError as error:
            name = str(value.get("orig_name") or "file") if isinstance(value, dict) else "file"
            entries.append(Entry(name, error=sentence(error)))
            continue
        path = upload.source
        if isinstance(path, bytes):
            path = folder / f"{len(entries)}"
            path.write_bytes(cast(bytes, upload.source))
        budget.photos -= 1
        entries.append(Entry(upload.name, path))
    _check_number(len(entries))
    _tell_apart(entries)
    return entries


def caption_entries(
    captioner: SharedCaptioner, entries: list[Entry], choice: Decoding
) -> Iterator[None]:
    """Fill the entries in, a batch at a time."""
    usable = [entry for entry in entries if entry.path is not None]
    photos = [cast(Path, entry.path) for entry in usable]
    left = iter(usable)
    for rows in caption_photos(
        cast(Captioner, captioner), photos, choice, batch_size=PHOTOS_A_BATCH
    ):
        for row, entry in zip(rows, left, strict=False):
            if row.error is not None:
                entry.error = _note(row.error)
            else:
                entry.caption, entry.score = row.captions[0].text, row.captions[0].score
        yield


def scores_of(entries: list[Entry]) -> dict[str, float]:
    """The scores of those that are captioned, by name."""
    return {entry.name: entry.score for entry in entries if entry.caption is not None}


def write_csv(rows: list[list[str]], scores: dict[str, float], folder: Path) -> str:
    """captions.csv of a table, with the columns of `captioner caption --format csv`; returns its
    path.
    """
    path = folder / "captions.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("path", "caption", "score", "status", "error"))
        table.writerows(
            (name, text, _score(scores, name), "error" if note else "ok", note)
            for name, text, note in rows
        )
    return str(path)


def write_jsonl(rows: list[list[str]], scores: dict[str, float], folder: Path) -> str:
    """captions.jsonl of a table, with the fields of `captioner caption --format jsonl`; returns its
    path.
    """
    path = folder / "captions.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for name, text, note in rows:
            record: dict[str, Any] = (
                {"path": name, "status": "error", "error": note}
                if note
                else {"path": name, "caption": text}
            )
            if not note:
                record |= {"score": round(scores[name], 4)} if name in scores else {}
                record["status"] = "ok"
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return str(path)


def write_sidecars(rows: list[list[str]], folder: Path) -> str:
    """captions.zip of a table, a .txt for each photo; returns its path."""
    path = folder / "captions.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        taken: dict[str, int] = {}
        for name, text, note in rows:
            if not note:
                archive.writestr(_sidecar(name, taken), text + "\n")
    return str(path)


def write_all(rows: list[list[str]], scores: dict[str, float]) -> list[str]:
    """The three files of a table."""
    folder = new_folder()
    return [
        write_csv(rows, scores, folder),
        write_jsonl(rows, scores, folder),
        write_sidecars(rows, folder),
    ]


def build(models: Models) -> None:
    """Draw the tab."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            files = gr.File(
                label="Photos, or a ZIP of photos",
                file_count="multiple",
                elem_id="files",
                height=220,
            )
            with gr.Row():
                start = gr.Button("Caption them", variant="primary")
                stop = gr.Button("Stop", visible=False)
            with gr.Accordion("Options", open=False):
                chosen = options()
                chosen.num_captions.visible = False
        with gr.Column(scale=6, min_width=300):
            progress = gr.HTML(EMPTY, elem_id="progress", container=False, apply_default_css=False)
            gallery = gr.Gallery(
                label="Captions",
                columns=3,
                height=430,
                object_fit="cover",
                elem_id="gallery",
                buttons=[],
                visible=False,
            )
    with gr.Column(visible=False) as results:
        gr.Markdown("### The captions\nClick a caption to change it; the files below follow.")
        table = gr.Dataframe(
            headers=HEADERS, datatype="str", type="array", interactive=True, wrap=True, label="Captions, editable", elem_id="table",
            static_columns=[0, 2], buttons=[], column_widths=["28%", "47%", "25%"],
        )  # fmt: skip
        with gr.Row():
            downloads = [
                gr.DownloadButton(f"Download {kind}") for kind in ("CSV", "JSONL", "sidecar ZIP")
            ]
    scores, token = gr.State({}), gr.State(None)
    jobs: Kept[Job] = Kept("there is nothing to stop")

    @in_words
    def run(files: Any, *settings: Any) -> Iterator[dict[Any, Any]]:
        if not files:
            raise UserError("there are no photos yet: drop some, or a ZIP of them")
        choice = replace(decoding(*settings), num_captions=1)
        captioner = models.captioner.get()
        with tempfile.TemporaryDirectory(
            dir=temporary_folder(), ignore_cleanup_errors=True
        ) as work:
            entries = gather(files, Path(work))
            thumbnails = new_folder()
            started = told = time.monotonic()
            job = Job()
            running = {
                start: gr.update(visible=False),
                stop: gr.update(visible=True),
                token: jobs.keep(job),
            }
            running |= dict.fromkeys(
                downloads, gr.update(interactive=False)
            )  # they hold the files of the run before
            yield running | _shown(entries, thumbnails, started)
            for _ in caption_entries(captioner, entries, choice):
                if job.stopped:
                    break
                if time.monotonic() - told > SECONDS_BETWEEN_UPDATES:
                    told = time.monotonic()
                    yield _shown(entries, thumbnails, started)
            done = [entry for entry in entries if entry.done]
            said = {
                progress: notice(
                    f"Stopped. {len(done)} of {len(entries)} photos are done; their captions are"
                    " below."
                )
            }
            yield (
                _shown(entries, thumbnails, started)
                | _finished(done)
                | (said if job.stopped else {})
            )

    def _shown(entries: list[Entry], folder: Path, started: float) -> dict[Any, Any]:
        done = [entry for entry in entries if entry.done]
        pictures = [(path, entry.caption) for entry in done if (path := _thumbnail(entry, folder))]
        return {
            progress: _progress(done, entries, time.monotonic() - started),
            gallery: gr.update(value=pictures, visible=True),
            table: gr.update(value=[entry.cells for entry in done]),
            results: gr.update(visible=bool(done)),
            scores: scores_of(done),
        }

    def _finished(entries: list[Entry]) -> dict[Any, Any]:
        rows = [entry.cells for entry in entries]
        files = [
            gr.update(value=file, interactive=True) for file in write_all(rows, scores_of(entries))
        ]
        return _buttons() | dict(zip(downloads, files, strict=True))

    def _buttons() -> dict[Any, Any]:
        return {start: gr.update(visible=True), stop: gr.update(visible=False)}

    @in_words
    def rewrite(rows: Any, scores: Any) -> list[str]:
        return write_all(_rows(rows), scores if isinstance(scores, dict) else {})

    def halt(token: Any) -> None:
        # The run itself says then that it has stopped, so that nothing of it comes later.
        with suppress(UserError):
            jobs.get(token).stopped = True

    outputs = [start, stop, progress, gallery, table, results, scores, token, *downloads]
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    running = start.click(
        run,
        [files, *chosen.components],
        outputs,
        preprocess=False,
        concurrency_id="captioner",
        concurrency_limit=32,
        **private,
    )
    running.failure(_buttons, None, [start, stop], queue=False, **private)
    stop.click(halt, token, None, queue=False, **private)
    table.input(rewrite, [table, scores], downloads, trigger_mode="always_last", **private)


def _check_number(photos: int) -> None:
    if photos > MAX_PHOTOS:
        raise UserError(
            f"{photos} photos are more than the limit of {MAX_PHOTOS} in one go: use `captioner"
            " caption` for a folder"
        )


def _members(found: Iterator[tuple[str, Path | str]]) -> list[Entry]:
    return [
        Entry(name, where) if isinstance(where, Path) else Entry(name, error=_note(where))
        for name, where in found
    ]


def _note(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}."


def _tell_apart(entries: list[Entry]) -> None:
    """Names come from several folders and ZIPs, and captions and scores are found by them."""
    taken = {entry.name: 1 for entry in entries}
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            entry.name = _numbered(entry.name, taken)
        seen.add(entry.name)


def _numbered(name: str, taken: dict[str, int]) -> str:
    """The name, or the first of "name (2)", "name (3)", ... that is not taken; it is then.

    Args:
        taken: how far each name is counted, so that a thousand of one name are not counted a
            thousand times.
    """
    suffix = PurePosixPath(name).suffix
    free = name
    while free in taken:
        taken[name] += 1
        free = f"{name.removesuffix(suffix)} ({taken[name]}){suffix}"
    taken[free] = 1
    return free


def _rows(table: Any) -> list[list[str]]:
    rows = table if isinstance(table, list) else []
    return [
        [str(cell or "") for cell in [*row, "", "", ""][:3]]
        for row in rows
        if isinstance(row, list | tuple) and any(row)
    ]


def _score(scores: dict[str, float], name: str) -> str:
    return f"{scores[name]:.4f}" if name in scores else ""


def _sidecar(name: str, taken: dict[str, int]) -> str:
    """A .txt's name inside the ZIP, inside its folder, unlike the others."""
    parts = [
        part
        for part in PurePosixPath(name.replace("\\", "/")).parts
        if part not in ("/", "..", ".")
    ] or ["photo"]
    return _numbered(str(PurePosixPath(*parts).with_suffix(".txt")), taken)


def _thumbnail(entry: Entry, folder: Path) -> str | None:
    if entry.thumbnail is None and entry.caption is not None and entry.path is not None:
        try:
            with turn(entry.path):
                image = open_image(entry.path, size=(THUMBNAIL, THUMBNAIL))
        except ImageError:
            return None
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        target = folder / f"{len(list(folder.iterdir()))}.jpg"
        image.save(target, quality=85)
        entry.thumbnail = str(target)
    return entry.thumbnail


def _progress(done: list[Entry], entries: list[Entry], seconds: float) -> str:
    failed = sum(bool(entry.error) for entry in done)
    line = f"{len(done)} of {len(entries)} photos in {seconds:.1f} s"
    if failed:
        line += f"; {failed} could not be used: see the notes"
    return (
        f'<div class="progress"><progress max="{len(entries)}" value="{len(done)}"'
        f' aria-label="Photos done"></progress><p aria-live="polite">{escape(line)}</p></div>'
    )
