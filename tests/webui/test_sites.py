"""Whom the page answers: its own names, and its own pages."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from webui.sites import Names, SiteGuard

LOCAL, NETWORK = Names("127.0.0.1"), Names("0.0.0.0")
PROXIED = Names("127.0.0.1", ["Photos.example.org"])


@pytest.mark.parametrize("names", [LOCAL, NETWORK, PROXIED])
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:7860", "127.0.0.1:7860", "[::1]:80"])
def test_every_page_answers_to_this_machines_own_names(names: Names, host: str) -> None:
    assert names.include(host)


@pytest.mark.parametrize("names", [LOCAL, NETWORK, PROXIED])
@pytest.mark.parametrize(
    "host", ["evil.com", "localhost.evil.com", "127.0.0.1.evil.com:7860", "", ":7860", "[::1", "x@"]
)
def test_no_page_answers_to_a_name_that_another_site_could_have(names: Names, host: str) -> None:
    assert not names.include(host)


@pytest.mark.parametrize("host", ["192.168.1.5:7860", "[2001:db8::1]:7860", socket.gethostname()])
def test_a_page_for_the_network_answers_to_numbers_and_the_machines_name(host: str) -> None:
    assert NETWORK.include(host)
    assert not LOCAL.include(host)


def test_further_names_are_those_that_are_allowed_and_the_public_address() -> None:
    assert PROXIED.include("photos.example.org:443")
    shared = Names("127.0.0.1")
    shared.add("https://abc123.gradio.live")
    assert shared.include("abc123.gradio.live") and not LOCAL.include("abc123.gradio.live")


def ask(
    names: Names, method: str, headers: Iterable[tuple[str, str]]
) -> tuple[int, str, dict[str, str]]:
    """The status, the text and the headers that a request gets through a guard."""
    sent: list[Message] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen = [name.decode() for name, _ in scope["headers"]]
        await PlainTextResponse(json.dumps(seen))(scope, receive, send)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": "/gradio_api/upload",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }
    with ThreadPoolExecutor(1) as pool:  # because Playwright has a loop in this thread
        pool.submit(asyncio.run, SiteGuard(application, names)(scope, receive, send)).result()
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], sent[1]["body"].decode(), answered


OWN = ("host", "127.0.0.1:7860")


@pytest.mark.parametrize(
    ("names", "headers"),
    [
        (LOCAL, [OWN]),
        (LOCAL, [OWN, ("origin", "http://127.0.0.1:7860")]),
        (LOCAL, [("host", "LocalHost:7860"), ("origin", "http://localhost:7860")]),
        (LOCAL, [OWN, ("sec-fetch-site", "same-origin")]),
        (LOCAL, [OWN, ("sec-fetch-site", "none")]),
        (PROXIED, [OWN, ("origin", "https://photos.example.org")]),
        (NETWORK, [("host", "192.168.1.5"), ("origin", "https://192.168.1.5")]),
    ],
)
def test_the_pages_own_requests_and_those_of_programs_are_passed_on(
    names: Names, headers: list[tuple[str, str]]
) -> None:
    status, seen, _ = ask(names, "POST", headers)
    assert status == 200 and "origin" not in seen


@pytest.mark.parametrize(
    "headers",
    [
        [OWN, ("origin", "http://evil.com")],
        [OWN, ("origin", "null")],
        [OWN, ("origin", "")],
        [OWN, ("origin", "http://127.0.0.1:8888")],
        [OWN, ("origin", "http://localhost:7860")],
        [OWN, ("origin", "http://127.0.0.1:7860@evil.com")],
        [OWN, ("sec-fetch-site", "cross-site")],
        [OWN, ("sec-fetch-site", "same-site")],
    ],
)
@pytest.mark.parametrize("method", ["POST", "OPTIONS", "PUT", "DELETE"])
def test_another_sites_page_may_neither_upload_nor_call(
    headers: list[tuple[str, str]], method: str
) -> None:
    status, text, answered = ask(LOCAL, method, headers)
    assert status == 403 and "Other sites may not call this page." in text
    assert not any(name.startswith("access-control") for name in answered)


def test_another_sites_page_is_never_told_that_it_may_read() -> None:
    status, seen, _ = ask(LOCAL, "GET", [OWN, ("origin", "http://evil.com")])
    assert status == 200 and "origin" not in seen


@pytest.mark.parametrize("headers", [[("host", "evil.com:7860")], [], [OWN, ("host", "evil.com")]])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_to_another_name_is_refused_with_the_remedy(
    headers: list[tuple[str, str]], method: str
) -> None:
    status, text, _ = ask(LOCAL, method, headers)
    assert status == 403 and "--allow-host" in text
