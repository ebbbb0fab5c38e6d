"""The installed Gradio still has everything that the page touches in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradio as gr
import pytest
from gradio import processing_utils

from rnnkit.errors import UserError
from webui.gradio_compat import (
    FETCHES,
    answer_misfits,
    close_fetching,
    describe_parameters,
    end_connections,
    fill_in_defaults,
)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine gives. It runs in a thread because Playwright has a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


@pytest.mark.parametrize("name", FETCHES)
def test_gradio_fetches_addresses_by_the_functions_that_are_closed(name: str) -> None:
    assert asyncio.iscoroutinefunction(getattr(processing_utils, name))
    close_fetching()
    with pytest.raises(gr.Error, match="Addresses are not fetched"):
        run(getattr(processing_utils, name)("http://example.com/a.jpg"))


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `close_fetching` changes is as before afterwards."""
    for name in FETCHES:
        monkeypatch.setattr(processing_utils, name, getattr(processing_utils, name))


def test_a_page_refuses_to_start_if_gradio_fetches_in_another_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(processing_utils, FETCHES[0])
    with pytest.raises(UserError, match=f"cannot run with Gradio .*, which has no '{FETCHES[0]}'"):
        close_fetching()


def test_a_request_that_gradio_cannot_process_gets_the_answer() -> None:
    def echo(text: str) -> str:
        return text

    with gr.Blocks() as page:
        gr.api(echo, api_name="echo")
    assert asyncio.iscoroutinefunction(page.process_api)
    answer_misfits(page, lambda error: gr.Error(f"answered {type(error).__name__}"))
    with pytest.raises(gr.Error, match="answered ValueError"):
        run(page.process_api(0, []))


@pytest.mark.parametrize(("printed", "shown"), [(True, "answered Error"), (False, "a sentence")])
def test_an_error_of_gradios_own_is_answered_and_one_of_ours_is_shown_as_it_is(
    printed: bool, shown: str
) -> None:
    def fail(text: str) -> str:
        raise gr.Error("a sentence", print_exception=printed)

    with gr.Blocks() as page:
        gr.api(fail, api_name="fail")
    answer_misfits(page, lambda error: gr.Error(f"answered {type(error).__name__}"))
    with pytest.raises(gr.Error, match=shown):
        run(page.process_api(0, [""]))


def test_connections_are_ended_before_the_server_stops() -> None:
    with gr.Blocks() as page:
        gr.Markdown("a page")
    page.launch(prevent_thread_lock=True, quiet=True)
    try:
        page.app.stop_event = asyncio.Event()
        end_connections(page)
        assert page.app.stop_event.is_set()
    finally:
        page.close(verbose=False)


def test_what_a_docstring_says_about_a_parameter_is_on_the_api_page() -> None:
    def greet(name: str) -> str:
        """Greet someone.

        Args:
            name: Whom to greet.
        """
        return name

    with gr.Blocks() as page:
        describe_parameters(gr.api(greet, api_name="greet"), greet)
    (parameter,) = page.get_api_info()["named_endpoints"]["/greet"]["parameters"]
    assert parameter["label"] == "name"
    assert parameter["python_type"]["description"] == "Whom to greet."


def test_values_left_out_at_the_end_of_a_call_take_the_defaults() -> None:
    def joined(first: str, second: str = "b", third: str = "c") -> str:
        return first + second + third

    with gr.Blocks() as page:
        gr.api(joined, api_name="joined")
    fill_in_defaults(page)

    def call(*values: str) -> Any:
        return run(page.process_api(page.fns[0], list(values)))["data"]

    assert call("1") == ["1bc"] and call("1", "2") == ["12c"] and call("1", "2", "3") == ["123"]
    with pytest.raises(ValueError, match="needed: 3, got: 0"):
        call()


@pytest.mark.parametrize("function", [end_connections, answer_misfits, fill_in_defaults])
def test_a_gradio_without_what_is_touched_is_refused_in_a_sentence(
    function: Callable[..., Any],
) -> None:
    arguments = [object(), gr.Error] if function is answer_misfits else [object()]
    with pytest.raises(UserError, match=f"cannot run with Gradio {gr.__version__}"):
        function(*arguments)
