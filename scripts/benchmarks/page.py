"""Speed of the page on this machine as a visitor sees it: in a browser, and through gradio_client.

    python scripts/benchmarks/page.py photo PHOTOS      from a dropped photo to its caption
    python scripts/benchmarks/page.py text              from the click on Write to the first letter
    python scripts/benchmarks/page.py clients PHOTOS    20 clients on /caption, and no page at all
    python scripts/benchmarks/page.py start             from the command to the first answer

PHOTOS is a folder of photos. `photo` and `text` need Chromium and Playwright (the test extra).
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from captioner import Captioner, Decoding
from captioner.jobs.find_photos import find_photos
from captioner.jobs.pipeline import caption_photos
from rnnkit.command_line import run_app
from rnnkit.errors import UserError

app = typer.Typer(add_completion=False, no_args_is_help=True)
Photos = Annotated[Path, typer.Argument(help="Folder of photos.")]
Charlm = Annotated[
    Path | None, typer.Option(help="Checkpoint folder; the bundled one if not given.")
]
# Clicks a button and resolves with the milliseconds until the element's text (or value) changes.
CHANGED = """([selector, button]) => new Promise((done) => {
  const read = () => {
    const e = document.querySelector(selector);
    return e ? (e.value ?? e.innerText) : '';
  };
  const before = read(), started = performance.now();
  document.querySelector(button).click();
  const look = () => {
    if (read() !== before) done(performance.now() - started);
    else requestAnimationFrame(look);
  };
  look();
})"""


@app.command()
def photo(photos: Photos, repeats: int = 40) -> None:
    """Milliseconds from a photo put into the form to its caption on the page, warm."""
    with served() as address, browser(address) as page:
        times = []
        for path in itertools.islice(itertools.cycle(find_photos([str(photos)])), repeats + 3):
            started = time.perf_counter()
            before = page.locator("#caption-result").inner_text()
            page.locator("#photo input[type=file]").first.set_input_files(path)
            page.wait_for_function(
                "(before) => { const e = document.querySelector('#caption-result');"
                " return e.innerText !== before && e.querySelector('.caption'); }",
                arg=before,
                polling="raf",
            )
            times.append(1000 * (time.perf_counter() - started))
            page.get_by_role("button", name="Remove Image").click()
            page.get_by_text("its caption appears here").wait_for()
        report("photo dropped to caption shown", times[3:])


@app.command()
def text(repeats: int = 20, charlm: Charlm = None) -> None:
    """Milliseconds from the click on Write to the first character of the text."""
    with served(charlm) as address, browser(address) as page:
        page.get_by_role("tab", name="Write", exact=True).click()
        times = []
        for _ in range(repeats + 2):
            page.locator("#seed input").fill(str(time.time_ns() % 2**31))  # another text each time
            page.wait_for_timeout(300)
            times.append(page.evaluate(CHANGED, ["#text textarea", "#write"]))
            page.locator("#write").wait_for(timeout=60_000)
            page.wait_for_timeout(200)
        report("click to first character", times[2:])


@app.command()
def clients(photos: Photos, clients: int = 20, each: int = 10, repeats: int = 5) -> None:
    """Photos a second through many clients at once, and through the captioner alone, in turn."""
    from gradio_client import Client, handle_file

    paths = list(itertools.islice(itertools.cycle(find_photos([str(photos)])), clients * each))
    captioner = Captioner.load()
    captioner.caption(paths[0])
    ratios = []
    with served() as address:
        # The clients run on the very cores that serve them, so they are made as light as possible:
        # otherwise each would prepare for TLS and look for proxies three times a call.
        light: dict[str, Any] = {
            "ssl_verify": ssl.create_default_context(),
            "httpx_kwargs": {"trust_env": False},
        }
        connected = [Client(address, verbose=False, **light) for _ in range(clients)]
        connected[0].predict(handle_file(paths[0]), api_name="/caption")

        def work(number: int) -> list[str]:
            mine = paths[number::clients]
            return [
                connected[number].predict(handle_file(path), api_name="/caption") for path in mine
            ]

        for _ in range(repeats):
            started = time.perf_counter()
            alone = [
                row.captions[0].text
                for rows in caption_photos(captioner, paths, Decoding())
                for row in rows
            ]
            speed = len(paths) / (time.perf_counter() - started)
            started = time.perf_counter()
            with ThreadPoolExecutor(clients) as pool:
                answers = list(pool.map(work, range(clients)))
            through = len(paths) / (time.perf_counter() - started)
            same = sum(alone[number::clients] == answers[number] for number in range(clients))
            ratios.append(through / speed)
            print(
                f"alone {speed:6.1f} photos/s, {clients} clients {through:6.1f}, ratio"
                f" {ratios[-1]:.2f}",
                flush=True,
            )
            print(
                f"{same} of {clients} got exactly the captions of the captioner alone", flush=True
            )
    print(f"median ratio of {repeats}: {statistics.median(ratios):.2f}")


@app.command()
def start(repeats: int = 3) -> None:
    """Milliseconds from the command to the page's first answer."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        with served(wait_for_models=False):
            times.append(1000 * (time.perf_counter() - started))
    report("command to first answer", times)


def report(what: str, milliseconds: list[float]) -> None:
    """Print the median and the slow end."""
    ranked = sorted(milliseconds)
    late = ranked[min(len(ranked) - 1, int(0.95 * len(ranked)))]
    print(
        f"{what}: median {statistics.median(ranked):.0f} ms, 95th percentile {late:.0f} ms of"
        f" {len(ranked)}"
    )


@contextmanager
def served(charlm: Path | None = None, *, wait_for_models: bool = True) -> Iterator[str]:
    """Run a server for the measurement; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "webui.cli",
        "--port",
        str(port),
        *(["--charlm", str(charlm)] if charlm else []),
    ]
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(command, env=os.environ | {"PYTHONWARNINGS": "ignore"})
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{address}/config", timeout=5).read()
                break
            except OSError:
                if process.poll() is not None:
                    raise UserError("the page did not start") from None
                time.sleep(0.05)
        if wait_for_models:
            time.sleep(1)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def browser(address: str) -> Iterator[Any]:
    """Open the page in Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UserError("Playwright is not installed: pip install 'show-and-spell[test]'") from None
    chromium = shutil.which("chromium")
    if chromium is None:
        raise UserError("there is no Chromium: apt-get install chromium")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = opened.new_page(viewport={"width": 1280, "height": 860})
        page.goto(address)
        page.get_by_role("tab", name="Caption").wait_for(timeout=60_000)
        yield page
        opened.close()


if __name__ == "__main__":
    run_app("benchmark_page", app)
