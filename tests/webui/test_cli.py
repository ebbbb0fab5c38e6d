"""The command: what it says, what it refuses, how fast it starts, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnkit.errors import UserError
from tests.webui.conftest import Server
from webui.cli import _credentials, _names


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "webui.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--captioner", "nowhere"], "no checkpoint at 'nowhere'"),
        (["--charlm", "."], "no checkpoint at '.'"),
        (["--device", "toaster"], "unknown device 'toaster'"),
        (["--auth", "me"], "--auth must be USER:PASSWORD"),
        (
            ["--host", "no-such-host.invalid"],
            "there is no host 'no-such-host.invalid': choose another with --host",
        ),
        (
            ["--host", "192.0.2.1"],
            "192.0.2.1 is not an address of this machine: choose another with --host",
        ),
    ],
)
def test_a_wrong_flag_is_refused_in_one_line_before_anything_is_loaded(
    arguments: list[str], message: str
) -> None:
    done = run(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("webui: ") and message in line


def test_a_password_may_hold_colons() -> None:
    assert _credentials("me:a:b") == ("me", "a:b")


@pytest.mark.parametrize(
    "host", ["photos.example.org", "pc", "192.168.1.5", "[2001:db8::1]", "::1"]
)
def test_names_and_numbers_may_be_allowed(host: str) -> None:
    assert _names([host]) == [host.strip("[]")]


@pytest.mark.parametrize("host", ["https://a.org", "a.org:80", "a.org/x", "*", "", "1.2.3.4:80"])
def test_anything_but_a_name_is_not_allowed(host: str) -> None:
    with pytest.raises(UserError, match="--allow-host takes a name alone"):
        _names([host])


def test_a_port_that_is_taken_is_named_without_advice_for_programmers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("--port", str(port))
    assert done.returncode == 2
    assert (
        done.stderr
        == f"webui: port {port} is taken by another program: choose another with --port\n"
    )


def test_shown_to_the_network_without_a_password_it_warns_and_with_one_it_asks_for_it(
    serve: Callable[..., Server], small_charlm: Path
) -> None:
    open_ = serve("--charlm", str(small_charlm), "--host", "0.0.0.0")
    log = (open_.connections.parent / "log").read_text()
    assert (
        "warning: anyone who can reach 0.0.0.0 can use this page" in log
        and "--auth USER:PASSWORD" in log
    )
    _end(open_)
    closed = serve("--charlm", str(small_charlm), "--host", "0.0.0.0", "--auth", "me:secret")
    assert "warning" not in (closed.connections.parent / "log").read_text()
    for route in ("config", "gradio_api/info", "gradio_api/heartbeat/x", "photos/x/small/1"):
        assert _answer(f"{closed.address}/{route}") == 401, route
    for route in ("call/caption", "upload", "cancel", "reset"):
        assert _answer(f"{closed.address}/gradio_api/{route}", b"{}") in (401, 403, 422), route
    wrong, right = b"username=me&password=guess", b"username=me&password=secret"
    for _ in range(4):
        started = time.monotonic()
        assert _answer(f"{closed.address}/login", wrong) == 400
    assert time.monotonic() - started > 0.9
    assert _answer(f"{closed.address}/login", right) == 200
    _end(closed)


def _answer(address: str, body: bytes | None = None) -> int:
    """The status of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, body), timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    port = int(server.address.rpartition(":")[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; tells which address this machine has
        own = probe.getsockname()[0]
    if own.startswith("127."):
        pytest.skip("this machine has no other address than its own")
    with socket.socket() as tried, pytest.raises(OSError):
        tried.settimeout(5)
        tried.connect((own, port))


@pytest.mark.slow
def test_it_starts_within_ten_seconds_of_work_and_leaves_no_file_behind(
    serve: Callable[..., Server], small_charlm: Path
) -> None:
    running = serve("--charlm", str(small_charlm))
    ticks = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    # Seconds of processor time, because a busy machine's clock says nothing.
    assert (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK") < 20
    assert running.temporary.exists()
    assert _end(running) == 0
    assert not running.temporary.exists()


def _end(server: Server) -> int:
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    code = server.process.wait(60)
    assert time.monotonic() - started < 30
    return code
