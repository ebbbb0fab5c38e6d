"""What one visitor can do to the others, over HTTP, to a page in the tests' own process."""

from __future__ import annotations

import base64
import http.client
import io
import json
import socket
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from captioner import Caption, Captioner, Decoding
from charlm.analysis.comparison_cells import untrained_cells
from charlm.vocabulary import CharacterVocabulary
from tests.webui.conftest import GRADIO_SETTINGS
from webui import app, gradio_compat, uploads
from webui.gradio_compat import FairQueue, Sessions
from webui.lazy_model import LazyModel
from webui.services import writing
from webui.tabs import write
from webui.workers import CaptionWorker, Models, TextWorker

ATTACKER, VISITOR = "10.0.0.1", "10.0.0.2"
LONG: list[Any] = ["The rain", 20_000, 1.0, 0, 1.0, "", 1]
CAPTION: list[Any] = [3, 20, False, 1.0, 1.0, None]


class Quick:
    """Stands in for a captioner."""

    def __init__(self) -> None:
        self.pace = 0.0  # seconds for each batch
        self.photos = 0

    def prepare(self, image: Any) -> np.ndarray:
        return np.zeros((2, 2, 3), np.uint8)

    def caption_pixels(
        self, pixels: np.ndarray, decoding: Decoding, *, attention: bool = False
    ) -> list[list[Caption]]:
        self.photos += len(pixels)
        time.sleep(self.pace)
        return [[Caption("a sentence", 0.0, ("a", "sentence"))] for _ in pixels]


@pytest.fixture(scope="module")
def quick() -> Quick:
    return Quick()


@pytest.fixture(scope="module")
def page(quick: Quick) -> Iterator[gr.Blocks]:
    """A page that looks often for those who have left, and waits for them for as long as a busy
    machine may need.
    """
    patch = pytest.MonkeyPatch()
    for name in GRADIO_SETTINGS:
        patch.setenv(name, "")  # so that they are as before afterwards
    uploads.prepare_gradio()
    patch.setattr(gradio_compat, "UNHEARD", 600.0)
    patch.setattr(gradio_compat, "LOOK_EVERY", 0.05)
    models = Models()
    models.captioner = LazyModel(lambda: CaptionWorker(cast(Captioner, quick)))
    models.charlm = LazyModel(
        lambda: TextWorker(untrained_cells(CharacterVocabulary.of("The rain And who will"))["gru"])
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = app.launch(models, port=port)
    yield page
    app.close(page)
    patch.undo()


@pytest.fixture
def queue(page: gr.Blocks) -> Iterator[FairQueue]:
    """The page's queue, empty at the beginning."""
    queue = cast(FairQueue, page._queue)
    yield queue
    eventually(lambda: under_way(queue) == 0)


def under_way(queue: FairQueue) -> int:
    return len(queue.event_ids_to_events)


def eventually(holds: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


class Client:
    """Sends raw requests from an address, as a proxy on this machine would pass them on."""

    def __init__(self, page: gr.Blocks, address: str = VISITOR) -> None:
        self._port, self._from = page.server_port, {"X-Forwarded-For": address}

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        headers = {"Content-Type": "application/json", **self._from}
        connection.request("POST", f"/gradio_api/{path}", json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def listen(self, path: str) -> http.client.HTTPConnection:
        """A connection on which an event's messages arrive."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request("GET", f"/gradio_api/{path}", headers=self._from)
        return connection

    def call(self, endpoint: str, data: list[Any], session: str | None = None) -> str:
        """All messages of an event, as text."""
        status, answer = self.post(f"call/{endpoint}", {"data": data, "session_hash": session})
        if status != 200:
            return str(answer)
        connection = self.listen(f"call/{endpoint}/{answer['event_id']}")
        return connection.getresponse().read().decode()


@pytest.fixture
def visitor(page: gr.Blocks) -> Client:
    return Client(page)


@pytest.fixture
def attacker(page: gr.Blocks) -> Client:
    return Client(page, ATTACKER)


@pytest.fixture(scope="module")
def photo() -> str:
    """A small picture as a data URL."""
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    return f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"


def test_texts_that_nobody_reads_delay_neither_captions_nor_texts_of_others_and_end(
    queue: FairQueue,
    attacker: Client,
    visitor: Client,
    page: gr.Blocks,
    photo: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = [attacker.post("call/generate", {"data": LONG}) for _ in range(66)]
    refused = {str(answer["detail"]) for status, answer in answers if status == 503}
    assert refused == {"You have 64 requests under way, the most allowed: wait for some to finish."}
    for client in (visitor, Client(page, ATTACKER)):
        for endpoint, data in (("caption", [photo, *CAPTION]), ("generate", ["The", 5, *LONG[2:]])):
            started = time.monotonic()
            assert "event: complete" in client.call(endpoint, data, session="a tab")
            assert time.monotonic() - started < 10  # 0.1 on an idle machine
    assert under_way(queue) >= 64
    monkeypatch.setattr(gradio_compat, "UNHEARD", 0.5)
    eventually(lambda: under_way(queue) == 0)


def test_an_event_ends_when_its_listener_has_gone(queue: FairQueue, visitor: Client) -> None:
    _, answer = visitor.post("call/generate", {"data": LONG})
    connection = visitor.listen(f"call/generate/{answer['event_id']}")
    assert connection.getresponse().readline()
    event = queue.event_ids_to_events[answer["event_id"]]
    connection.close()
    eventually(lambda: not event.alive)


def test_many_photos_are_not_captioned_for_nobody(
    queue: FairQueue,
    quick: Quick,
    visitor: Client,
    photo: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quick, "pace", 1.0)
    before = quick.photos
    visitor.post("call/caption_many", {"data": [[photo] * 500, *CAPTION]})
    eventually(lambda: quick.photos > before)
    monkeypatch.setattr(gradio_compat, "UNHEARD", 0.5)
    eventually(lambda: under_way(queue) == 0)
    assert quick.photos - before < 500


def test_an_event_with_a_listener_goes_on_for_as_long_as_it_takes(
    queue: FairQueue,
    quick: Quick,
    visitor: Client,
    photo: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quick, "pace", 1.5)
    _, answer = visitor.post("call/caption", {"data": [photo, *CAPTION]})
    listening = visitor.listen(f"call/caption/{answer['event_id']}").getresponse()
    monkeypatch.setattr(gradio_compat, "UNHEARD", 0.5)
    assert "a sentence" in listening.read().decode()


def test_nothing_is_kept_of_a_call_that_is_over(
    queue: FairQueue, page: gr.Blocks, visitor: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = cast(Sessions, page.app.state_holder)
    before = set(sessions.session_data)
    for prompt in ("The", 1):  # an answer and a refusal
        visitor.call("generate", [prompt, 5, *LONG[2:]])
    visitor.post("call/generate", {"data": ["The", 5, *LONG[2:]]})  # and one that nobody fetches
    monkeypatch.setattr(gradio_compat, "UNHEARD", 0.5)
    eventually(lambda: not queue.pending_messages_per_session)
    assert not queue.pending_event_ids_session
    assert set(sessions.session_data) <= before
    assert set(sessions.time_last_used) == set(sessions.session_data)


def test_a_session_takes_little_memory(page: gr.Blocks) -> None:
    session = page.app.state_holder["somebody"]
    assert session.config_values == {}
    page.app.state_holder.forget("somebody")


def test_the_one_who_has_the_most_sessions_gives_one_up(page: gr.Blocks) -> None:
    sessions = Sessions()
    sessions.set_blocks(
        cast(
            gr.Blocks,
            SimpleNamespace(state_session_capacity=4, default_config=page.default_config),
        )
    )
    for name, owner in (("mine", "me"), *((f"{number}", "other") for number in range(6))):
        sessions.owners[name] = owner
        sessions[name]
    assert list(sessions.session_data) == ["mine", "3", "4", "5"]


def fn_index(page: gr.Blocks, name: str) -> int:
    """The index of an event by its handler's name, which a page's own script finds in the
    configuration.
    """
    return next(int(index) for index, fn in page.fns.items() if fn.name == name)


def run(client: Client, page: gr.Blocks, name: str, data: list[Any], session: str) -> str:
    """All messages of one of the page's own events, as text."""
    body = {"data": data, "fn_index": fn_index(page, name), "session_hash": session}
    status, answer = client.post("queue/join", body)
    assert status == 200, answer
    connection = client.listen(f"queue/data?session_hash={session}")
    return connection.getresponse().read().decode()


def test_two_hundred_drafts_of_others_do_not_end_a_visitors_continue(
    queue: FairQueue, page: gr.Blocks, visitor: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "SECONDS_BETWEEN_YIELDS", 0)
    settings = [3, 1.0, 0, 1.0, ""]
    run(visitor, page, "start", [None, "And who", 1, 1, *settings], "mine")
    start = page.fns[fn_index(page, "start")].fn  # because 201 requests would take long
    for _ in range(201):
        list(start(write.WritingDesk(), "T", 1, 1, 1, *settings[1:]))
    assert "And who" in run(visitor, page, "resume", [None, *settings], "mine")


def test_a_session_without_a_name_is_refused_in_a_sentence(
    queue: FairQueue, page: gr.Blocks, visitor: Client
) -> None:
    body = {"data": ["The", 5, *LONG[2:]], "fn_index": fn_index(page, "generate")}
    status, answer = visitor.post("queue/join", body | {"session_hash": ""})
    assert status == 400 and "The session must have a name" in answer["detail"]


def test_no_call_goes_around_the_queue(page: gr.Blocks, visitor: Client, photo: str) -> None:
    status, answer = visitor.post("run/caption", {"data": [photo, *CAPTION]})
    assert status == 404 and "Please join the queue" in answer["detail"]


def test_another_sites_page_can_neither_call_nor_read(page: gr.Blocks) -> None:
    def answer(headers: dict[str, str], body: bytes | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", page.server_port, timeout=60)
        path = "/gradio_api/upload" if body else "/config"
        connection.request("POST" if body else "GET", path, body, headers)
        return connection.getresponse()

    port = page.server_port
    for headers in ({"Host": f"evil.com:{port}"}, {"Host": "192.168.1.5", "Origin": "null"}):
        assert answer(headers).status == 403
    read = answer({"Origin": "http://evil.com"})
    assert read.status == 200 and read.getheader("Access-Control-Allow-Origin") is None
    assert answer({"Origin": "http://evil.com"}, b"x").status == 403
    assert answer({"Origin": f"http://127.0.0.1:{port}"}, b"x").status == 400  # no multipart
