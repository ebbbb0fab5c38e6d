"""Tab 2: many photos at once, files or ZIPs; a gallery that fills, a table to edit, and the
captions as files.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from rnnkit.errors import UserError
from webui.decoding_options import chosen_decoding, options
from webui.errors import in_words
from webui.html import notice
from webui.services.caption_files import write_all
from webui.services.many_photos import (
    HEADERS,
    Entry,
    caption_entries,
    edited,
    gather,
    scores_of,
    thumbnail,
)
from webui.uploads import new_folder, temporary_folder
from webui.workers import Models

EMPTY = notice("Drop photos, or a ZIP of photos, and press “Caption them”.")
SECONDS_BETWEEN_UPDATES = 0.7


@dataclass
class CaptioningRun:
    """A run, and whether its visitor has pressed Stop."""

    stopped: bool = False


@dataclass
class PhotosDesk:
    """A visitor's tab, shared by all its events, even while a run is under way."""

    run: CaptioningRun = field(default_factory=CaptioningRun)


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
                chosen = options(candidates=False)
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
        gr.Markdown(
            "### The captions\n"
            "Double-click a caption to edit it; the files below follow your edits."
        )
        table = gr.Dataframe(
            headers=HEADERS,
            datatype="str",
            type="array",
            interactive=True,
            wrap=True,
            label="Captions, editable",
            elem_id="table",
            static_columns=[0, 2],
            buttons=[],
            column_widths=["28%", "47%", "25%"],
        )
        with gr.Row():
            downloads = [
                gr.DownloadButton(f"Download {kind}")
                for kind in ("CSV", "JSONL", "ZIP of text files")
            ]
    scores, desk = gr.State({}), gr.State(PhotosDesk())

    @in_words
    def caption(desk: PhotosDesk, files: Any, *settings: Any) -> Iterator[dict[Any, Any]]:
        if not files:
            raise UserError("there are no photos yet: drop some, or a ZIP of them")
        decoding = replace(chosen_decoding(*settings), num_captions=1)
        worker = models.captioner.get()
        with tempfile.TemporaryDirectory(
            dir=temporary_folder(), ignore_cleanup_errors=True
        ) as work:
            entries = gather(files, Path(work))
            thumbnails = new_folder()
            started = last_update = time.monotonic()
            run = desk.run = CaptioningRun()
            yield _running() | _progressed(entries, thumbnails, started)
            for _ in caption_entries(worker, entries, decoding):
                if run.stopped:
                    break
                late = time.monotonic() - last_update > SECONDS_BETWEEN_UPDATES
                if late and not all(entry.done for entry in entries):
                    last_update = time.monotonic()
                    yield _progressed(entries, thumbnails, started)
            update = _progressed(entries, thumbnails, started) | _finished(entries)
            if run.stopped:
                update[progress] = notice(
                    f"Stopped. {sum(entry.done for entry in entries)} of {len(entries)} photos are"
                    " done; their captions are below."
                )
            yield update

    def _running() -> dict[Any, Any]:
        buttons = {start: gr.update(visible=False), stop: gr.update(visible=True)}
        # The files are those of the run before.
        return buttons | dict.fromkeys(downloads, gr.update(interactive=False))

    def _progressed(entries: list[Entry], folder: Path, started: float) -> dict[Any, Any]:
        done = [entry for entry in entries if entry.done]
        pictures = [(path, entry.caption) for entry in done if (path := thumbnail(entry, folder))]
        return {
            progress: _progress(done, entries, time.monotonic() - started),
            gallery: gr.update(value=pictures, visible=True),
            table: gr.update(value=[entry.cells for entry in done]),
            results: gr.update(visible=bool(done)),
            scores: scores_of(done),
        }

    def _finished(entries: list[Entry]) -> dict[Any, Any]:
        rows = [entry.cells for entry in entries if entry.done]
        files = [
            gr.update(value=file, interactive=True) for file in write_all(rows, scores_of(entries))
        ]
        return _idle() | dict(zip(downloads, files, strict=True))

    def _idle() -> dict[Any, Any]:
        return {start: gr.update(visible=True), stop: gr.update(visible=False)}

    @in_words
    def rewrite(table: Any, scores: dict[str, float]) -> list[str]:
        return write_all(edited(table), scores)

    def halt(desk: PhotosDesk) -> None:
        # The run itself then says that it has stopped, so that nothing of it comes later.
        desk.run.stopped = True

    outputs = [start, stop, progress, gallery, table, results, scores, *downloads]
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    running = start.click(
        caption,
        [desk, files, *chosen.components],
        outputs,
        preprocess=False,
        concurrency_id="captioner",
        concurrency_limit=32,
        **private,
    )
    running.failure(_idle, None, [start, stop], queue=False, **private)
    stop.click(halt, desk, None, queue=False, **private)
    table.input(
        rewrite,
        [table, scores],
        downloads,
        preprocess=False,
        trigger_mode="always_last",
        **private,
    )


def _progress(done: list[Entry], entries: list[Entry], seconds: float) -> str:
    failed = sum(bool(entry.error) for entry in done)
    line = f"{len(done)} of {len(entries)} photos in {seconds:.1f} s"
    if failed:
        line += f"; {failed} could not be used: see the notes"
    return (
        f'<div class="progress"><progress max="{len(entries)}" value="{len(done)}"'
        f' aria-label="Photos done"></progress><p aria-live="polite">{escape(line)}</p></div>'
    )
