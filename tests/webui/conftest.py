"""A server for all tests of the page, as a visitor would start it: the bundled models, but a small
language model, and small ones for names and translations.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio
import pytest
import torch
from gradio_client import Client

from charlm.training.config import TrainingConfig
from charlm.training.trainer import train
from sequences import Tagger, Translator
from sequences.network.architecture import SentenceDropout
from tests.charlm.conftest import VERSE
from tests.sequences.conftest import PAIRS, SMALL, TAGGED

# Writes down every connection that the server tries to make to another machine, and every name
# that it looks up.
WATCH = """
import os, sys
def watch(event, arguments):
    if event not in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        return
    where = arguments[1] if event == "socket.connect" else arguments[0]
    host = where[0] if isinstance(where, tuple) else where
    if isinstance(host, bytes):
        host = host.decode()
    if host is not None and not str(host).startswith(("127.", "localhost", "::1", "/", "\\0")):
        with open(os.environ["WATCH_FILE"], "a") as file:
            file.write(f"{event} {where}\\n")
sys.addaudithook(watch)
"""


# True once Gradio has attached the page's scripts, and nothing has been added to the page for five
# frames: a tab loads its components when it is first opened.
READY = """() => {
  const count = document.querySelectorAll('*').length;
  [window.calm, window.count] = [count === window.count ? (window.calm ?? 0) + 1 : 0, count];
  return 'ready' in document.documentElement.dataset && window.calm >= 5;
}"""
# What `prepare_gradio` sets.
GRADIO_SETTINGS = (
    "GRADIO_TEMP_DIR",
    "GRADIO_EXAMPLES_CACHE",
    "GRADIO_ANALYTICS_ENABLED",
    "HF_HUB_OFFLINE",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY",
    "GRADIO_ANALYTICS_MAX_EVENTS",
)


@dataclass
class Server:
    """The running page."""

    address: str
    temporary: Path  # its folder of uploads
    connections: Path  # a line for every connection to elsewhere
    process: subprocess.Popen[str]

    def outgoing(self) -> str:
        """What it tried to reach."""
        return self.connections.read_text() if self.connections.exists() else ""


def connect(address: str) -> Client:
    """A client that is patient with a busy machine; httpx's own five seconds can be too short."""
    return Client(address, verbose=False, ssl_verify=False, httpx_kwargs={"timeout": 120})


@pytest.fixture(scope="session")
def small_charlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model that has learned a verse, so wide that a test has time to stop it."""
    folder = tmp_path_factory.mktemp("charlm") / "verse"
    settings = TrainingConfig(
        hidden_size=512,
        num_layers=2,
        embedding_size=8,
        batch_size=4,
        sequence_length=32,
        epochs=3,
        learning_rate=0.003,
        warmup_steps=5,
    )
    assert train(VERSE * 10, folder, settings, device=torch.device("cpu"))
    return folder


@pytest.fixture(scope="session")
def small_sequences(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A tagger of names and a translator that have learned nothing, to be served by --sequences."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sequences")
    Tagger.new(TAGGED, SMALL, SentenceDropout(), min_count=1).save(folder / "names")
    Translator.new(PAIRS, SMALL, SentenceDropout(), min_count=1).save(folder / "translator")
    return [folder / "names", folder / "translator"]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Starts servers with more arguments; they end with the tests."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> Server:
        folder = tmp_path_factory.mktemp("server")
        (folder / "sitecustomize.py").write_text(WATCH)
        (folder / "tmp").mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = os.environ | {
            "WATCH_FILE": str(folder / "connections"),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONPATH": os.pathsep.join(
                [str(folder), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
            ),
        }
        log = (folder / "log").open("w")
        process = subprocess.Popen(
            [sys.executable, "-m", "webui.cli", "--port", str(port), *arguments],
            env=environment,
            text=True,
            stdout=log,
            stderr=log,
        )
        running.append(process)
        address = f"http://127.0.0.1:{port}"
        for _ in range(1200):
            if process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"{address}/robots.txt", timeout=5).read()
                (temporary,) = (folder / "tmp").glob("show-and-spell-*")
                return Server(address, temporary, folder / "connections", process)
            except OSError:
                time.sleep(0.1)
        raise AssertionError((folder / "log").read_text())

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(30)


@pytest.fixture(scope="session")
def server(serve: Callable[..., Server], small_charlm: Path, small_sequences: list[Path]) -> Server:
    """The page with all models."""
    readers = [argument for folder in small_sequences for argument in ("--sequences", str(folder))]
    return serve("--charlm", str(small_charlm), *readers)


@pytest.fixture(scope="session")
def tower() -> Path:
    """A photo that comes with Gradio."""
    return Path(gradio.get_image("tower.jpg"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser; without one the tests are skipped."""
    playwright = pytest.importorskip(
        "playwright.sync_api",
        reason="Playwright is not installed: pip install show-and-spell[test]",
    )
    path = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if path is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Opens the page at a width, light or dark, and waits until it is ready. A request to another
    machine or an error in the console fails the test.
    """
    opened: list[Any] = []
    requested: list[str] = []
    errors: list[str] = []

    def open_page(
        width: int = 1280, *, dark: bool = False, tab: str | None = None, address: str | None = None
    ) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": 860}, color_scheme="dark" if dark else "light"
        )
        context.set_default_timeout(60_000)
        opened.append(context)
        page = context.new_page()
        page.on("request", lambda request: requested.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address or request.getfixturevalue("server").address)
        page.wait_for_function(READY)
        if tab:
            page.get_by_role("tab", name=tab, exact=True).click()
            page.locator(f"[role=tab][aria-selected=true]:text-is('{tab}')").wait_for()
            page.wait_for_function(READY)
        return page

    yield open_page
    for context in opened:
        context.close()
    outside = [
        url for url in requested if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))
    ]
    assert outside == []
    assert errors == []
