"""Puts the page together and serves it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import gradio as gr
from starlette.middleware import Middleware

from webui import api, page_scripts
from webui.album_routes import album_routes
from webui.errors import misfit, page_error
from webui.gradio_compat import (
    answer_misfits,
    close_fetching,
    end_connections,
    fill_in_defaults,
    guard_sites,
    use_fair_queue,
)
from webui.middleware import RequestFilter
from webui.services.albums import Albums
from webui.sites import Names, SiteGuard
from webui.tabs import caption, inside, many_photos, read, score, write
from webui.theme import STYLES, theme
from webui.uploads import MAX_FILE, prepare_gradio, remove_old_folders
from webui.workers import Models

TITLE = "Show and Spell"
# Says, to the page's own scripts and to programs that drive it, that Gradio has attached its own.
READY = """() => {
  document.documentElement.dataset.ready = '';
  document.dispatchEvent(new Event('page-ready'));
}"""
PLACES = 128  # events under way for one model; later visitors are asked to try again
SESSIONS = 1000  # visitors' tabs that the page remembers
FILES_LIVE, SWEEP_EVERY = 3600, 600  # seconds
# What screen readers would be told by Gradio's keys, of which it has no translation itself.
WORDS = {
    "common.complete": "Done",
    "common.upload": "Upload",
    "common.video": "Video",
    "common.webcam": "Camera",
}
HEAD = """
<header class="masthead">
  <div>
    <h1>Show and Spell</h1>
    <p>Recurrent networks: one writes a sentence about a photo, one writes text a character at a
    time, and others read sentences. They all run on this machine, and nothing leaves it.</p>
  </div>
  <label class="appearance">Appearance
    <select id="appearance">
      <option value="system">System</option>
      <option value="light">Light</option>
      <option value="dark">Dark</option>
    </select>
  </label>
</header>
"""


def build(models: Models) -> gr.Blocks:
    """The page, not yet served."""
    with gr.Blocks(
        title=TITLE,
        analytics_enabled=False,
        delete_cache=(SWEEP_EVERY, FILES_LIVE),
        fill_width=False,
    ) as page:
        api.build(models)  # first, so that no event of a tab takes their names
        gr.HTML(HEAD, container=False, apply_default_css=False)
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Caption", id="caption"):
                caption.build(models)
            with gr.Tab("Many photos", id="many"):
                many_photos.build()
            with gr.Tab("Write", id="write"):
                write.build(models)
            with gr.Tab("Read", id="read") as read_tab:
                read.build(models, read_tab)
            with gr.Tab("Inside", id="inside") as inside_tab:
                inside.build(models, inside_tab)
            with gr.Tab("Score", id="score"):
                score.build(models)
        gr.on(None, None, js=READY, api_visibility="private")  # when the page opens
    fill_in_defaults(page)
    answer_misfits(page, lambda error: page_error(misfit(error)))
    use_fair_queue(page, places=PLACES, concurrency=16)
    return page


def launch(
    models: Models,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    share: bool = False,
    auth: tuple[str, str] | None = None,
    allow_hosts: Sequence[str] = (),
    mcp: bool = False,
    open_browser: bool = False,
) -> gr.Blocks:
    """Serve the page from a thread; returns the page once it answers.

    Args:
        allow_hosts: names that it answers to beside its own.

    Raises: OSError if the port is taken, UserError if Gradio has changed too much.
    """
    prepare_gradio()
    close_fetching()
    names = Names(host.strip("[]"), allow_hosts)
    guard_sites(lambda app: SiteGuard(app, names))
    page, albums = build(models), Albums()
    page.launch(
        server_name=host,
        server_port=port,
        share=share,
        auth=auth,
        mcp_server=mcp,
        inbrowser=open_browser,
        prevent_thread_lock=True,
        quiet=True,
        show_error=False,
        max_threads=64,
        max_file_size=MAX_FILE,
        enable_monitoring=False,
        ssr_mode=False,
        run_history=False,
        i18n=gr.I18n(en=WORDS),
        footer_links=["api"],  # not Gradio's settings, which offer what this page does not have
        app_kwargs={
            "middleware": [Middleware(RequestFilter)],
            "routes": album_routes(albums, models),
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
        },
        theme=theme(),
        css_paths=STYLES,
        head=page_scripts.head(),
        state_session_capacity=SESSIONS,
    )
    if page.share_url:
        names.add(page.share_url)
    models.start()  # not sooner, because it would hold up the page
    threading.Thread(target=_sweep, args=(page, albums), daemon=True, name="sweep").start()
    return page


def close(page: gr.Blocks) -> None:
    """Stop serving."""
    if page.is_running and page.server is not None:
        end_connections(page)
        page.close(verbose=False)


def _sweep(page: gr.Blocks, albums: Albums) -> None:
    while page.is_running:
        time.sleep(SWEEP_EVERY)
        remove_old_folders(FILES_LIVE)
        albums.expire()
