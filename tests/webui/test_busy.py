"""A page that is busy, or has no language model, served from the tests' own process."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file

from captioner import Caption, Captioner, Decoding
from charlm.analysis.comparison_cells import untrained_cells
from charlm.vocabulary import CharacterVocabulary
from tests.webui.conftest import GRADIO_SETTINGS, connect
from webui import app, uploads
from webui.lazy_model import LazyModel
from webui.services import writing
from webui.workers import CaptionWorker, Models, TextWorker


class Blocked:
    """Stands in for a captioner that is at work until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def prepare(self, image: Any) -> np.ndarray:
        return np.zeros((2, 2, 3), np.uint8)

    def caption_pixels(
        self, pixels: np.ndarray, decoding: Decoding, *, attention: bool = False
    ) -> list[list[Caption]]:
        self.let_go.wait(600)
        return [[Caption("a sentence", 0.0, ("a", "sentence"))] for _ in pixels]


@pytest.fixture
def blocked() -> Blocked:
    return Blocked()


@pytest.fixture
def models(blocked: Blocked, tmp_path: Path) -> Models:
    """A captioner that is blocked, and no language model."""
    models = Models(charlm=tmp_path / "nowhere")
    models.captioner = LazyModel(lambda: CaptionWorker(cast(Captioner, blocked)))
    return models


@pytest.fixture
def served(
    blocked: Blocked, models: Models, monkeypatch: pytest.MonkeyPatch
) -> Iterator[gr.Blocks]:
    """A page that an address may ask for three things at a time."""
    for name in GRADIO_SETTINGS:
        monkeypatch.setenv(name, "")  # so that they are as before afterwards
    uploads.prepare_gradio()
    monkeypatch.setattr(app, "PLACES", 4)
    monkeypatch.setattr(app, "FILES_LIVE", 3)
    monkeypatch.setattr(app, "SWEEP_EVERY", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = app.launch(models, port=port)
    yield page
    blocked.let_go.set()
    app.close(page)


@pytest.fixture
def address(served: gr.Blocks) -> str:
    return str(served.local_url).rstrip("/")


def test_a_page_that_closes_lets_its_visitors_go_from_the_servers_own_thread(
    served: gr.Blocks, address: str
) -> None:
    threads = []

    class Told(asyncio.Event):
        def set(self) -> None:
            if not self.is_set():
                threads.append(threading.current_thread())
            super().set()

    served.app.stop_event = Told()
    visitors = [connect(address) for _ in range(5)]  # each holds a connection open
    app.close(served)
    assert threads == [served.server.thread]
    assert not served.server.thread.is_alive()
    assert len(visitors) == 5


def test_a_full_queue_is_reported_in_words_and_those_who_wait_are_answered(
    address: str, blocked: Blocked, tower: Path
) -> None:
    clients = [connect(address) for _ in range(5)]

    def ask(client: Client) -> str:
        try:
            return str(client.predict(handle_file(tower), api_name="/caption"))
        except Exception as error:
            return str(error)

    with ThreadPoolExecutor(len(clients)) as pool:
        running = [pool.submit(ask, client) for client in clients]
        while not any(job.done() for job in running):
            time.sleep(0.02)
        blocked.let_go.set()
        answers = [job.result() for job in running]
    assert set(answers) == {"a sentence", "Queue is full! Please try again."}


def test_a_full_queue_is_a_sentence_in_the_browser(
    served: gr.Blocks, address: str, blocked: Blocked, tower: Path, visit: Callable[..., Any]
) -> None:
    page = visit(address=address)
    jobs = [connect(address).submit(handle_file(tower), api_name="/caption") for _ in range(3)]
    while sum(map(bool, served._queue.active_jobs)) < 3:
        page.wait_for_timeout(20)
    page.locator("#photo input[type=file]").first.set_input_files(tower)
    page.get_by_text("busy").first.wait_for()
    blocked.let_go.set()
    assert {job.result() for job in jobs} == {"a sentence"}


def test_without_a_language_model_two_tabs_say_so_and_the_others_work(
    address: str, blocked: Blocked, visit: Callable[..., Any]
) -> None:
    page = visit(tab="Write", address=address)
    page.get_by_text("No text can be written. No checkpoint at").wait_for()
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_text("No checkpoint at").first.wait_for()
    page.get_by_role("button", name="Write", exact=True).wait_for()
    page.get_by_role("tab", name="Inside", exact=True).click()
    page.get_by_text("There is no network to look into. No checkpoint at").wait_for()
    assert urllib.request.urlopen(address, timeout=20).status == 200


def test_what_visitors_send_and_get_is_deleted_after_a_while(
    address: str, blocked: Blocked, tower: Path
) -> None:
    blocked.let_go.set()
    client = connect(address)
    before = {path for path in uploads.temporary_folder().rglob("*") if path.is_file()}
    _, file = client.predict([handle_file(tower)], api_name="/caption_many")
    assert "a sentence" in Path(file).read_text(encoding="utf-8")
    sent = {path for path in uploads.temporary_folder().rglob("*") if path.is_file()} - before
    assert ".csv" in {path.suffix for path in sent}
    for _ in range(1200):
        if not any(path.exists() for path in sent):
            break
        time.sleep(0.1)
    assert [path.name for path in sent if path.exists()] == []


@dataclass
class SlowReader:
    """Reads the first prompt for as long as a test wants, and the others as usual."""

    begun: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def begin(self, worker: TextWorker, prompt: Any, seed: int, count: int) -> writing.Draft:
        draft = begin(worker, prompt, seed, count)
        if not self.begun.is_set():
            self.begun.set()
            self.let_go.wait(600)
        return draft


begin = writing.begin
SEEN = """() => {
  window.seen = [];
  const box = document.querySelector('#text .text');
  setInterval(() => {
    const start = box.textContent.slice(0, 8);
    if (start && !window.seen.includes(start)) window.seen.push(start);
  }, 2);
}"""


@pytest.fixture
def reader(models: Models, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowReader]:
    """Of a page that has a small language model."""
    models.charlm = LazyModel(
        lambda: TextWorker(untrained_cells(CharacterVocabulary.of("The rain And who will"))["gru"])
    )
    slow = SlowReader()
    monkeypatch.setattr(writing, "begin", slow.begin)
    yield slow
    slow.let_go.set()


def test_another_text_asked_for_while_a_prompt_is_read_is_the_only_one(
    reader: SlowReader, served: gr.Blocks, address: str, visit: Callable[..., Any]
) -> None:
    page = visit(tab="Write", address=address)
    page.evaluate(SEEN)
    page.get_by_label("number input for Length").fill("100")
    page.get_by_label("Prompt").fill("The rain")
    page.get_by_role("button", name="Write", exact=True).click()
    assert reader.begun.wait(60)
    page.get_by_label("Prompt").fill("And who will")
    page.get_by_label("Prompt").press("Shift+Enter")
    page.get_by_text("100 characters").wait_for()
    reader.let_go.set()
    while any(served._queue.active_jobs):  # the first has nothing more to say
        page.wait_for_timeout(20)
    page.get_by_label("number input for Length").fill("40")
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("40 characters").wait_for()  # whatever the first had to say came before
    assert page.evaluate("window.seen") == ["And who "]
    page.wait_for_function(
        "(length) => document.querySelector('#text .text').textContent.length === length",
        arg=len("And who will") + 140,
    )
    assert page.evaluate("window.seen") == ["And who "]


def test_a_text_can_be_stopped_while_its_prompt_is_read(
    reader: SlowReader, address: str, visit: Callable[..., Any]
) -> None:
    page = visit(tab="Write", address=address)
    page.get_by_label("Prompt").fill("The rain")
    page.get_by_role("button", name="Write", exact=True).click()
    with page.expect_response(lambda response: "/run/predict" in response.url):
        page.get_by_role("button", name="Stop", exact=True).click()
    reader.let_go.set()
    page.get_by_text("Stopped. Continue picks up from here.").wait_for()
    assert page.locator("#text .text").text_content() == "The rain"


def test_a_request_that_fits_nothing_is_answered_by_a_sentence_and_prints_no_traceback(
    address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def answer(path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{address}/gradio_api/{path}", data, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except http.client.IncompleteRead as error:  # a stream that ends in an error
            return 200, error.partial.decode()

    event = json.loads(answer("call/caption", {"data": []})[1])["event_id"]
    assert "needed: 10, got: 0" in answer(f"call/caption/{event}")[1]
    for path, body in (
        ("call/nowhere", {"data": []}),
        ("call/v2/nowhere", {"photo": 1}),
        ("call/v2/caption", {}),
        ("call/v2/caption", {"photograph": 1}),
        ("queue/join", {"data": [], "fn_index": 9999, "session_hash": "x"}),
    ):
        status, text = answer(path, body)
        assert status == 400 and "does not fit what the page takes" in text, path
    assert "unexpected_error" in answer("queue/data?session_hash=unknown")[1]
    assert urllib.request.urlopen(address, timeout=60).status == 200
    assert "Traceback" not in "".join(capfd.readouterr())
