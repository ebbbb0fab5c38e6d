"""What the server lets in: only the routes that the page needs, bodies of bounded size, and no
address to fetch anything from.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio import processing_utils
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rnnkit.errors import UserError
from webui.errors import refusal, sentence
from webui.uploads import DISK_FULL, MAX_FILE, MAX_PHOTO, MEGABYTE, disk_has_room

API = "/gradio_api"
# Parts of Gradio that this page has no use for. Each could read, write or fetch something.
CLOSED = (
    *(
        f"{API}/{route}"
        for route in (
            "proxy=",
            "component_server",
            "process_recording",
            "stream",
            "vibe",
            "undo-vibe",
            "run-history",
        )
    ),
    *(f"{API}/{route}" for route in ("file/", "deep_link", "custom_component", "dev")),
    "/monitoring",
    "/svelte",
)
MAX_BODY = MAX_PHOTO * 4 // 3 + MEGABYTE  # a photo in base64, and the settings
MAX_UPLOAD = 5 * MAX_FILE  # one request with several files
BUSY = b'{"detail": "The page is busy with other visitors: try again in a moment."}'


class RequestFilter:
    """ASGI middleware that refuses what the page has no use for, and bounds the rest."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is refused; hand on any other."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif (refused := _refused(scope)) is not None:
            await refused(scope, receive, send)
        elif scope["method"] == "POST":
            await self._hand_on(scope, _bounded(receive, _limit(scope["path"])), _friendly(send))
        else:
            await self._hand_on(scope, receive, send)

    async def _hand_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """To Gradio; a request that it fails on, for it asks for what is not there, is answered by
        a sentence.
        """
        answered = False

        async def noting(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except ClientDisconnect:
            pass
        except Exception as error:
            said = refusal(error)
            if not answered:
                await _answer(400, said)(scope, receive, send)


def _refused(scope: Scope) -> JSONResponse | None:
    path = scope["path"]
    if path.startswith(CLOSED):
        return _answer(404, "This page has no such route.")
    if path.startswith(f"{API}/file=") and ":" in path.removeprefix(f"{API}/file=")[:8]:
        return _answer(403, "Addresses are not fetched.")
    if scope["method"] != "POST":
        return None
    length = dict(scope["headers"]).get(b"content-length", b"")
    if length.isdigit() and int(length) > _limit(path):
        return _answer(413, f"That is more than the limit of {_limit(path) // MEGABYTE} MB.")
    if path.startswith(f"{API}/upload"):
        if not length.isdigit():
            return _answer(411, "An upload must say how long it is.")
        if not disk_has_room(int(length)):
            return _answer(507, sentence(UserError(DISK_FULL)))
    return None


def _limit(path: str) -> int:
    return MAX_UPLOAD if path.startswith(f"{API}/upload") else MAX_BODY


def _bounded(receive: Receive, limit: int) -> Receive:
    """The body, cut off where it is longer than it may be; what parses it then says that it is
    damaged.
    """
    left = limit

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    return bounded


def _friendly(send: Send) -> Send:
    """Says in words that the queue is full, which Gradio says in numbers."""
    full = False

    async def friendly(message: Message) -> None:
        nonlocal full
        if message["type"] == "http.response.start" and message["status"] == 503:
            full = True
            headers = [
                pair
                for pair in message["headers"]
                if pair[0].lower() not in (b"content-length", b"content-encoding")
            ]
            message = {
                **message,
                "headers": [*headers, (b"content-length", str(len(BUSY)).encode())],
            }
        elif full and message["type"] == "http.response.body":
            message = {**message, "body": b"" if message.get("more_body") else BUSY}
        await send(message)

    return friendly


def _answer(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)


async def _fetch_nothing(*_: Any, **__: Any) -> Any:
    raise gr.Error("Addresses are not fetched: send the file itself.", print_exception=False)


def close_fetching() -> None:
    """Gradio would download a file that a client gives as an address; here it says no, wherever the
    address came in.
    """
    for name in ("async_ssrf_protected_download", "async_ssrf_protected_get"):
        assert hasattr(processing_utils, name), (
            f"this version of Gradio fetches by another way than {name}"
        )
        setattr(processing_utils, name, _fetch_nothing)
