"""A page that is busy, or has no language model, served from the tests' own process."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import gradio as gr
import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file

from captioner import Caption, Captioner, Decoding
from webui import app, uploads
from webui.folder_tab import write_all
from webui.models import Loading, Models, SharedCaptioner


class Blocked:
    """Stands for a captioner that is at work until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def prepare(self, image: Any) -> np.ndarray:
        return np.zeros((2, 2, 3), np.uint8)

    def encode(self, pixels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(pixels)

    def caption_features(self, features: torch.Tensor, decoding: Decoding, *, attention: bool = False) -> list[list[Caption]]:
        self.let_go.wait(60)
        return [[Caption("a sentence", 0.0, ("a", "sentence"))] for _ in features]


@pytest.fixture
def blocked() -> Blocked:
    return Blocked()


@pytest.fixture
def served(blocked: Blocked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[gr.Blocks]:
    """A page that lets one event wait, whose captioner is blocked, and that has no language model."""
    for name in (
        "GRADIO_TEMP_DIR",
        "GRADIO_EXAMPLES_CACHE",
        "GRADIO_ANALYTICS_ENABLED",
        "HF_HUB_OFFLINE",
        "GRADIO_ANALYTICS_CACHE_FREQUENCY",
    ):
        monkeypatch.setenv(name, "")  # so that they are as before afterwards
    uploads.prepare_gradio()
    monkeypatch.setattr(app, "WAITING", 1)
    monkeypatch.setattr(app, "FILES_LIVE", 3)
    monkeypatch.setattr(app, "SWEEP_EVERY", 1)
    models = Models(charlm=tmp_path / "nowhere")
    models.captioner = Loading(lambda: SharedCaptioner(cast(Captioner, blocked)))
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


def test_a_page_that_closes_lets_its_visitors_go_from_the_servers_own_thread(served: gr.Blocks, address: str) -> None:
    threads = []

    class Told(asyncio.Event):
        def set(self) -> None:
            if not self.is_set():
                threads.append(threading.current_thread())
            super().set()

    served.app.stop_event = Told()
    visitors = [Client(address, verbose=False, ssl_verify=False) for _ in range(5)]  # each holds a connection open
    app.close(served)
    assert threads == [served.server.thread]
    assert not served.server.thread.is_alive()
    assert len(visitors) == 5


def test_a_full_queue_is_said_in_words_and_who_waits_is_answered(address: str, blocked: Blocked, tower: Path) -> None:
    clients = [Client(address, verbose=False, ssl_verify=False) for _ in range(45)]

    def ask(client: Client) -> str:
        try:
            return str(client.predict(handle_file(tower), api_name="/caption"))
        except Exception as error:
            return str(error)

    with ThreadPoolExecutor(len(clients)) as pool:
        running = [pool.submit(ask, client) for client in clients]
        full = 0
        while not full:
            full = sum(job.done() for job in running)
        blocked.let_go.set()
        answers = [job.result() for job in running]
    assert set(answers) == {"a sentence", "Queue is full! Please try again."}


def test_a_full_queue_is_a_sentence_in_the_browser(address: str, blocked: Blocked, tower: Path, visit: Callable[..., Any]) -> None:
    page = visit(address=address)
    client = Client(address, verbose=False, ssl_verify=False)
    jobs = []
    waiting = 0
    while waiting < 10:  # looks in a row, for events on their way into the model are in the queue too
        status = urllib.request.urlopen(f"{address}/gradio_api/queue/status", timeout=20).read()
        waiting = waiting + 1 if json.loads(status)["queue_size"] else 0
        if not waiting:
            jobs.append(client.submit(handle_file(tower), api_name="/caption"))
        page.wait_for_timeout(100)
    page.locator("#photo input[type=file]").first.set_input_files(tower)
    page.get_by_text("busy").first.wait_for()
    blocked.let_go.set()


def test_without_a_language_model_two_tabs_say_so_and_the_others_work(address: str, blocked: Blocked, visit: Callable[..., Any]) -> None:
    page = visit(tab="Write", address=address)
    page.get_by_text("No text can be written: no checkpoint at").wait_for()
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_text("No checkpoint at").first.wait_for()
    page.get_by_role("button", name="Write", exact=True).wait_for()
    page.get_by_role("tab", name="Inside", exact=True).click()
    page.get_by_text("There is no network to look into: no checkpoint at").wait_for()
    assert urllib.request.urlopen(address, timeout=20).status == 200


def test_what_visitors_send_and_get_is_deleted_after_a_while_and_the_examples_stay(address: str, blocked: Blocked, tower: Path) -> None:
    blocked.let_go.set()
    client = Client(address, verbose=False, ssl_verify=False)
    before = {path for path in uploads.temporary_folder().rglob("*") if path.is_file()}
    _, file = client.predict([handle_file(tower)], api_name="/caption_many")
    assert "a sentence" in Path(file).read_text(encoding="utf-8")
    sent = {path for path in uploads.temporary_folder().rglob("*") if path.is_file()} - before
    sent |= {Path(path) for path in write_all([["dog.jpg", "a dog", ""]], {})}  # what an edit of the table writes
    assert {".csv", ".jsonl", ".zip"} <= {path.suffix for path in sent}
    for _ in range(300):
        if not any(path.exists() for path in sent):
            break
        time.sleep(0.1)
    assert [path.name for path in sent if path.exists()] == []
    kept = {path.name for path in before if path.exists()}
    assert {"tower.jpg", "lion.jpg"} <= kept
