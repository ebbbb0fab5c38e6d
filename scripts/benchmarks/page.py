"""Speed and memory of the page on this machine: in a browser, for many clients, under attack.

    python scripts/benchmarks/page.py photo PHOTOS      from a dropped photo to its caption
    python scripts/benchmarks/page.py text              from the click on Write to the first letter
    python scripts/benchmarks/page.py editor PHOTOS     scrolling 500 photos, and saving an edit
    python scripts/benchmarks/page.py typing            from a key in Read to the new curve
    python scripts/benchmarks/page.py clients PHOTOS    20 clients on /caption, and no page at all
    python scripts/benchmarks/page.py start             from the command to the first answer
    python scripts/benchmarks/page.py memory            resident memory over 5,000 calls (Linux)
    python scripts/benchmarks/page.py crowd PHOTOS      a caption while a client asks for 200 texts

PHOTOS is a folder of photos. `photo`, `text`, `editor` and `typing` need Chromium and Playwright
(the test extra).
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import time
import urllib.error
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
# Scrolls to the end and resolves with the milliseconds that each frame took.
SCROLLED = """() => new Promise((done) => {
  const frames = [];
  let last = performance.now();
  const step = (now) => {
    frames.push(now - last);
    last = now;
    scrollBy(0, 60);
    const left = document.documentElement.scrollHeight - innerHeight - scrollY;
    if (left > 1) requestAnimationFrame(step);
    else done(frames.slice(1));
  };
  requestAnimationFrame(step);
})"""
# Types into a caption and resolves with the milliseconds until the server has it.
EDITED = """(number) => new Promise((done) => {
  const field = document.querySelectorAll('.caption-field')[number];
  field.focus();
  field.value = `an edit of photo ${number}`;
  const started = performance.now();
  field.dispatchEvent(new InputEvent('input', {bubbles: true}));
  const look = () => {
    const saved = document.querySelector('.saving').textContent === 'Saved';
    if (saved) done(performance.now() - started);
    else setTimeout(look, 1);
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
            times.append(page.evaluate(CHANGED, ["#text .text", "#write"]))
            page.locator("#write").wait_for(timeout=60_000)
            page.wait_for_timeout(200)
        report("click to first character", times[2:])


@app.command()
def editor(photos: Photos, count: int = 500, edits: int = 40) -> None:
    """Milliseconds a frame while a list of photos scrolls, and from a letter typed to an edit
    saved.
    """
    paths = list(itertools.islice(find_photos([str(photos)]), count))
    with served() as address, browser(address) as page:
        page.get_by_role("tab", name="Many photos").click()
        page.locator(".photo-editor[data-ready]").wait_for(timeout=60_000)
        page.locator(".drop-place input").first.set_input_files(paths)
        page.wait_for_function(
            "(count) => document.querySelectorAll('.photo-row').length === count",
            arg=len(paths),
            timeout=600_000,
        )
        report("an edit saved", [page.evaluate(EDITED, number) for number in range(edits)])
        page.evaluate("scrollTo(0, 0)")
        processor = page.context.new_cdp_session(page)
        processor.send("Performance.enable", {"timeDomain": "threadTicks"})
        before = task_seconds(processor)
        frames = page.evaluate(SCROLLED)
        busy = 1000 * (task_seconds(processor) - before) / len(frames)
        report(f"a frame of {len(paths)} photos", frames)
        print(f"the page's thread computed for {busy:.1f} ms of each frame")


@app.command()
def typing(words: int = 20) -> None:
    """Milliseconds from a letter typed into Read to the label and the curve with it, warm."""
    with served() as address, browser(address) as page:
        page.get_by_role("tab", name="Read", exact=True).click()
        last = page.locator("#classify-result .curve li").last
        box = page.locator("#sentence textarea")
        box.fill(" ".join(["fine"] * words) + " ")
        times = []
        for letter in "unforgettably":
            before = last.text_content() or ""
            started = time.perf_counter()
            box.press_sequentially(letter)
            page.wait_for_function(
                "(before) => [...document.querySelectorAll('#classify-result .curve li')]"
                ".at(-1).textContent.split(':')[0] !== before",
                arg=before.split(":")[0],
                polling="raf",
            )
            times.append(1000 * (time.perf_counter() - started))
        report(f"letter to label, after {words} words", times[2:])


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


@app.command()
def memory(calls: int = 5000, every: int = 500, charlm: Charlm = None) -> None:
    """Megabytes of resident memory after so many calls of /generate, one character each."""
    with running(charlm) as (address, process):
        measured = []
        for number in range(calls + 1):
            if number % every == 0:
                measured.append((number, resident(process.pid)))
                print(f"{number:6} calls: {measured[-1][1]:7.1f} MB", flush=True)
            if number < calls:
                event = ask_for_text(address, length=1)
                url = f"{address}/gradio_api/call/generate/{event}"
                if b"event: complete" not in urllib.request.urlopen(url, timeout=60).read():
                    raise UserError("the page did not answer a call")
    after = [size for number, size in measured if number >= min(1000, calls)]
    print(f"growth after {min(1000, calls):,} calls: {after[-1] - after[0]:+.1f} MB")


@app.command()
def crowd(photos: Photos, texts: int = 200, repeats: int = 3) -> None:
    """Seconds that a visitor's captions take after another client has asked for many long texts,
    whose answers it never fetches.
    """
    from gradio_client import Client, handle_file

    (path,) = itertools.islice(find_photos([str(photos)]), 1)
    with running() as (address, _):
        visitor = Client(address, verbose=False)
        visitor.predict(handle_file(path), api_name="/caption")
        times = []
        for _ in range(repeats):
            accepted = [ask_for_text(address, length=20_000) for _ in range(texts)]
            started = time.perf_counter()
            visitor.predict(handle_file(path), api_name="/caption")
            times.append(1000 * (time.perf_counter() - started))
            waiting = texts - accepted.count(None)
            print(f"{waiting} of {texts} texts accepted: {times[-1]:.0f} ms", flush=True)
            time.sleep(40)  # until the texts that nobody fetches have ended
        report("caption in a crowd", times)


def ask_for_text(address: str, *, length: int) -> str | None:
    """Ask for a text as curl would; gives the event to ask for the answer, or None if there is no
    room for it.
    """
    request = urllib.request.Request(
        f"{address}/gradio_api/call/generate",
        json.dumps({"data": ["ROMEO:", length, 0.8, 0, 1.0, "", 1]}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(json.loads(answer.read())["event_id"])
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return None
        raise


def resident(pid: int) -> float:
    """Megabytes of a process that are in memory."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        raise UserError("memory can be measured on Linux only") from None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def task_seconds(session: Any) -> float:
    """Seconds of processor time that the page's main thread has taken."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(float(each["value"]) for each in metrics if each["name"] == "TaskDuration")


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
    with running(charlm, wait_for_models=wait_for_models) as (address, _):
        yield address


@contextmanager
def running(
    charlm: Path | None = None, *, wait_for_models: bool = True
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a server for the measurement; gives its address and its process."""
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
        yield address, process
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
