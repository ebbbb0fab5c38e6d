"""What the server lets in: only the routes that the page needs, and bodies of bounded size."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rnnkit.errors import UserError
from webui.album_routes import PHOTOS
from webui.errors import misfit, sentence
from webui.gradio_compat import logged_in
from webui.logins import Logins
from webui.shares import network_of
from webui.uploads import DISK_FULL, MAX_FILE, MAX_PHOTO, MEGABYTE, disk_has_room

API = "/gradio_api"
# Parts of Gradio that this page has no use for. Each could read, write or fetch something.
CLOSED = (
    f"{API}/proxy=",
    f"{API}/component_server",
    f"{API}/process_recording",
    f"{API}/stream",
    f"{API}/vibe",
    f"{API}/undo-vibe",
    f"{API}/run-history",
    f"{API}/file/",
    f"{API}/deep_link",
    f"{API}/custom_component",
    f"{API}/dev",
    "/monitoring",
    "/svelte",
)
MAX_BODY = MAX_PHOTO * 4 // 3 + MEGABYTE  # a photo in base64, and the settings
MAX_UPLOAD = 5 * MAX_FILE  # one request with several files
MAX_ROWS = 8 * MEGABYTE  # the captions of as many photos as there may be
# Gradio answers the first three to everybody, also to those who have not logged in.
WITH_LOGIN = (f"{API}/heartbeat", f"{API}/cancel", f"{API}/reset", f"{PHOTOS}/")


class RequestFilter:
    """ASGI middleware that refuses what the page has no use for, and bounds the rest."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self._logins = app, Logins()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is refused; pass on any other."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif (refusal := _refusal(scope)) is not None:
            await refusal(scope, receive, send)
        elif scope["method"] == "POST":
            bounded = _bound(receive, _limit(scope["path"]))
            if scope["path"].rstrip("/") == "/login":
                await self._log_in(scope, bounded, send)
            else:
                await self._pass_on(scope, bounded, send)
        else:
            await self._pass_on(scope, receive, send)

    async def _log_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on an attempt to log in, once its turn has come."""
        network = network_of((scope.get("client") or ("",))[0])
        wait = self._logins.attempt(network)
        if wait is None:
            await _answer(429, "Too many wrong passwords: try again in a minute.")(
                scope, receive, send
            )
            return

        async def note_success(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                self._logins.succeeded(network)
            await send(message)

        await asyncio.sleep(wait)
        await self._pass_on(scope, receive, note_success)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to Gradio, and answer one that it fails on with a sentence."""
        answered = False

        async def note_answer(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, receive, note_answer)
        except ClientDisconnect:
            pass
        except Exception as error:
            answer = misfit(error)
            if not answered:
                await _answer(400, answer)(scope, receive, send)


def _refusal(scope: Scope) -> JSONResponse | None:
    path = scope["path"]
    if path.startswith(CLOSED):
        return _answer(404, "This page has no such route.")
    if path.startswith(f"{API}/file=") and ":" in path.removeprefix(f"{API}/file=")[:8]:
        return _answer(403, "Addresses are not fetched.")
    if path.startswith(WITH_LOGIN) and not logged_in(Request(scope)):
        return _answer(401, "Log in first.")
    if scope["method"] != "POST":
        return None
    length = dict(scope["headers"]).get(b"content-length", b"")
    if length.isdigit() and int(length) > _limit(path):
        return _answer(413, f"That is more than the limit of {_limit(path) // MEGABYTE} MB.")
    if path.startswith(f"{API}/upload"):
        if not length.isdigit():
            return _answer(411, "An upload must state its length.")
        if not disk_has_room(int(length)):
            return _answer(507, sentence(UserError(DISK_FULL)))
    return None


def _limit(path: str) -> int:
    if path.startswith(f"{PHOTOS}/"):
        return MAX_ROWS
    return MAX_UPLOAD if path.startswith(f"{API}/upload") else MAX_BODY


def _bound(receive: Receive, limit: int) -> Receive:
    """Cut off a body that is too long; whatever parses it then finds it damaged."""
    left = limit

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    return bounded


def _answer(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)
