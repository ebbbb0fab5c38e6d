"""The page put together, and the server that shows it."""

from __future__ import annotations

import threading
import time

import gradio as gr
from gradio import data_classes
from starlette.middleware import Middleware

from webui import api as endpoints
from webui.errors import requests_in_words
from webui.middleware import RequestFilter, close_fetching
from webui.tabs import caption as caption_tab
from webui.tabs import inside as inside_tab
from webui.tabs import many_photos as folder_tab
from webui.tabs import score as score_tab
from webui.tabs import write as write_tab
from webui.theme import STYLE, theme
from webui.uploads import MAX_FILE, prepare_gradio, remove_old_folders
from webui.workers import Models

TITLE = "Show and Spell"
WAITING = 128  # events in the queue; who comes later is told to try again
FILES_LIVE, SWEEP_EVERY = 3600, 600  # seconds
BUSIEST = ("/queue/data", "/queue/join", "/upload")
LOOK_FOR_EVENTS, LOOK_FOR_PROGRESS = 0.004, 0.05  # seconds
HEAD = """
<header class="masthead">
  <h1>Show and Spell</h1>
  <p>Two recurrent networks: one writes a sentence about a photo, the other writes text a character at a time.
  Both run on this machine; nothing leaves it.</p>
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
        endpoints.build(models)  # first, so that no event of a tab takes their names
        gr.HTML(HEAD, container=False, apply_default_css=False)
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Caption", id="caption"):
                caption_tab.build(models)
            with gr.Tab("Many photos", id="many"):
                folder_tab.build(models)
            with gr.Tab("Write", id="write"):
                write_tab.build(models)
            with gr.Tab("Inside", id="inside"):
                inside_tab.build(models)
            with gr.Tab("Score", id="score"):
                score_tab.build()
    requests_in_words(page)
    page.queue(max_size=WAITING, default_concurrency_limit=16)
    # Gradio would look for new events a thousand times a second, which takes 3 % of a core for a
    # page that nobody uses.
    page._queue.sleep_when_free, page._queue.progress_update_sleep_when_free = (
        LOOK_FOR_EVENTS,
        LOOK_FOR_PROGRESS,
    )
    # Icons of buttons that this page has not; each photo's path would be resolved and compared with
    # theirs.
    if hasattr(data_classes, "_StaticFiles"):
        data_classes._StaticFiles.all_paths.clear()
    return page


def launch(
    models: Models,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    share: bool = False,
    auth: tuple[str, str] | None = None,
    mcp: bool = False,
    open_browser: bool = False,
) -> gr.Blocks:
    """Serve the page from a thread; returns it when it answers.

    Raises: OSError if the port is taken.
    """
    prepare_gradio()
    close_fetching()
    page = build(models)
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
        footer_links=["api", "settings"],
        app_kwargs={
            "middleware": [Middleware(RequestFilter)],
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
        },
        theme=theme(),
        css_paths=[STYLE],
        strict_cors=True,
    )
    _busiest_first(page.app)
    models.start()  # not sooner: it would hold up the page
    threading.Thread(target=_sweep, args=(page,), daemon=True, name="sweep").start()
    return page


def _busiest_first(app: gr.routes.App) -> None:
    """Put the routes that every call takes before the hundred others, each of which the server
    would try for each request.
    """
    included = [
        route.original_router for route in app.router.routes if hasattr(route, "original_router")
    ]
    for router in (app.router, *included):
        # A new list: the server's thread may be going through the old one.
        router.routes = sorted(
            router.routes, key=lambda route: not str(getattr(route, "path", "")).endswith(BUSIEST)
        )
        getattr(
            router, "_mark_routes_changed", lambda: None
        )()  # newer versions of FastAPI remember the order


def close(page: gr.Blocks) -> None:
    """Stop serving.

    Gradio alone would set the event that ends its visitors' connections from the thread that calls
    this, and fail where one of them comes or goes at that moment; so it is set in the server's own
    thread first.
    """
    if page.is_running and page.server is not None:
        ended = threading.Event()

        def end() -> None:
            page.app.stop_event.set()
            ended.set()

        page.server.servers[0].get_loop().call_soon_threadsafe(end)
        ended.wait(5)
        page.close(verbose=False)


def _sweep(page: gr.Blocks) -> None:
    while page.is_running:
        time.sleep(SWEEP_EVERY)
        remove_old_folders(FILES_LIVE)
