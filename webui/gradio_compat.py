"""The only file that touches the insides of Gradio: one function for each touch, with its reason.

If the installed Gradio no longer has what a function touches, the page refuses to start and says
so. tests/webui/test_gradio_compat.py finds out earlier.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio import processing_utils
from gradio.utils import get_function_description

from rnnkit.errors import UserError

FETCHES = ("async_ssrf_protected_download", "async_ssrf_protected_get")


def close_fetching() -> None:
    """Refuse to download anything, wherever a client hid the address.

    Gradio downloads a file that a client gives as an address, so that any visitor could make this
    machine send requests. No setting turns that off.
    """
    _require(processing_utils, *FETCHES)
    for name in FETCHES:
        setattr(processing_utils, name, _fetch_nothing)


async def _fetch_nothing(*_: Any, **__: Any) -> Any:
    raise gr.Error("Addresses are not fetched: send the file itself.", print_exception=False)


def answer_misfits(page: gr.Blocks, answer: Callable[[Exception], gr.Error]) -> None:
    """Answer a request that Gradio itself cannot process, such as one with too few values.

    Gradio would send an empty answer and print a traceback.

    Args:
        answer: gives the error to show in place of Gradio's own.
    """
    _require(page, "process_api")
    process = page.process_api

    @functools.wraps(process)
    async def process_api(*args: Any, **kwargs: Any) -> Any:
        try:
            return await process(*args, **kwargs)
        except gr.Error:  # a handler's own answer
            raise
        except Exception as error:
            raise answer(error) from None

    page.process_api = process_api


def end_connections(page: gr.Blocks) -> None:
    """End the visitors' connections, from the server's own thread.

    `page.close` alone would set the event that ends them from the thread that calls it, and fails
    if a visitor comes or goes at that moment.
    """
    _require(page, "app", "server")
    _require(page.app, "stop_event")
    _require(page.server, "servers")
    ended = threading.Event()

    def end() -> None:
        page.app.stop_event.set()
        ended.set()

    page.server.servers[0].get_loop().call_soon_threadsafe(end)
    ended.wait(5)


def describe_parameters(endpoint: Any, function: Callable[..., Any]) -> None:
    """Show on the API page what a function's docstring says about each parameter.

    Gradio reads the docstring but shows only its first paragraph.

    Args:
        endpoint: what `gr.api` returned.
    """
    page = gr.context.Context.root_block
    _, parameters, _ = get_function_description(function)
    components = page.fns[endpoint["id"]].inputs
    for component, name in zip(components, inspect.signature(function).parameters, strict=True):
        _require(component, "_api_info")
        component.label = name
        component._api_info = {**component._api_info, "additional_description": parameters[name]}


def _require(owner: Any, *names: str) -> None:
    for name in names:
        if not hasattr(owner, name):
            raise UserError(
                f"the page cannot run with Gradio {gr.__version__}, which has no '{name}'",
                hint="install the version of Gradio that pyproject.toml names",
            )
