"""The routes that the list of photos talks to: JSON in and out, below /photos.

A browser's tab has one album, whose token is in the address. `RequestFilter` and `SiteGuard` stand
before these routes as before Gradio's own, so they are behind the login and closed to other sites.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from captioner import Decoding, ImageError
from rnnkit.errors import UserError
from webui.client_values import whole_number
from webui.decoding_options import chosen_decoding
from webui.errors import sentence
from webui.services.album import MAX_CAPTION, Author, PhotoRow, Wording, checked_caption
from webui.services.album_pictures import SIDES, picture
from webui.services.album_run import AlbumRun
from webui.services.albums import Albums, Visit
from webui.services.caption_files import DOWNLOADS
from webui.shares import Visitor, network_of, refusal
from webui.uploads import MAX_NAME, MAX_PHOTOS
from webui.workers import Models

logger = logging.getLogger(__name__)
PHOTOS = "/photos"
SCRIPTS = Path(__file__).with_name("editor")
RUNS = 32  # albums being captioned at a time
GONE = "These photos are no longer on the server."
AUTHORS: dict[str, Author] = {"model": "model", "file": "file", "person": "person"}
Body = dict[str, Any]
Answer = dict[str, object]
Action = Callable[[Visit, Body], Answer | None]


def album_routes(albums: Albums, models: Models) -> list[BaseRoute]:
    """The routes."""
    answers = _Answers(albums, models)
    actions: dict[str, Action] = {
        "changes": lambda visit, body: None,
        "add": lambda visit, body: visit.album.add(body.get("files"))._asdict(),
        "edit": _edit,
        "undo": lambda visit, body: visit.album.undo(),
        "redo": lambda visit, body: visit.album.redo(),
        "remove": lambda visit, body: visit.album.remove(_numbers(body)),
        "run": answers.run,
        "stop": _stop,
    }
    routes: list[BaseRoute] = [
        Mount("/script", _Scripts(directory=SCRIPTS)),
        Route("/new", answers.new, methods=["POST"]),
        Route("/{token}/forget", answers.forget, methods=["POST"]),
        Route("/{token}/{size}/{row:int}", answers.picture),
        Route("/{token}/download/{kind}", answers.download),
        *(
            Route(f"/{{token}}/{name}", answers.after(action), methods=["POST"])
            for name, action in actions.items()
        ),
    ]
    return [Mount(PHOTOS, routes=routes)]


class _Answers:
    """What the routes answer, with the albums and the models that they need for it."""

    def __init__(self, albums: Albums, models: Models) -> None:
        self._albums, self._models = albums, models

    async def new(self, request: Request) -> Response:
        """A new album, with the rows that a browser has kept."""
        body = await _body(request)

        def begin() -> Answer:
            rows = _rows(body.get("rows", []))
            network = network_of(request.client.host if request.client else "")
            token, visit = self._albums.new(network)
            visit.album.restore(rows)
            return {"token": token, **_state(visit, 0)}

        return await _in_words(begin)

    def after(self, action: Action) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that changes an album and answers with what has changed."""

        async def endpoint(request: Request) -> Response:
            visit = self._albums.find(request.path_params["token"])
            if visit is None:
                return _gone()
            body = await _body(request)

            def answer() -> Answer:
                since = whole_number(body.get("since", 0), "the version")
                return (action(visit, body) or {}) | _state(visit, since)

            return await _in_words(answer)

        return endpoint

    def run(self, visit: Visit, body: Body) -> None:
        """The action that has photos captioned."""
        if visit.running:
            raise UserError("the photos are being captioned: press Stop first")
        busy = [Visitor(other.network, "") for other in self._albums if other.running]
        if (reason := refusal(Visitor(visit.network, str(id(visit))), busy, RUNS)) is not None:
            raise UserError(reason)
        decoding = _decoding(body.get("settings"))
        visit.run = AlbumRun(
            visit.album,
            _numbers(body),
            replace=body.get("replace") is True,
            seen=lambda: visit.seen,
        )
        visit.run.start(self._models, decoding)

    async def forget(self, request: Request) -> Response:
        """Nothing, once the album is deleted."""
        await run_in_threadpool(self._albums.close, request.path_params["token"])
        return JSONResponse({})

    def picture(self, request: Request) -> Response:
        """A photo as a JPEG."""
        visit = self._albums.find(request.path_params["token"])
        row = visit.album.row(request.path_params["row"]) if visit is not None else None
        size = request.path_params["size"]
        if visit is None or row is None or size not in SIDES:
            return _gone()
        try:
            path = picture(visit.album, row, size)
        except (ImageError, OSError):
            path = None
        if path is None:
            return JSONResponse({"detail": "There is no such picture."}, 404)
        return FileResponse(path, headers={"Cache-Control": "private, max-age=3600"})

    def download(self, request: Request) -> Response:
        """A file of all captions."""
        visit = self._albums.find(request.path_params["token"])
        kind = DOWNLOADS.get(request.path_params["kind"])
        if visit is None or kind is None:
            return _gone()
        name = f'attachment; filename="{kind.file_name}"'
        content = kind.make(visit.album.to_write())
        return Response(content, headers={"Content-Disposition": name, "Cache-Control": "no-store"})


class _Scripts(StaticFiles):
    """Files that a browser asks for anew, so that it never runs scripts of two versions."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _edit(visit: Visit, body: Body) -> None:
    edits = body.get("edits")
    if not isinstance(edits, list) or len(edits) > MAX_PHOTOS:
        raise UserError("the edits must be a list, no longer than there may be photos")
    texts = {}
    for edit in edits:
        if not isinstance(edit, dict):
            raise UserError("an edit must name its photo and the text")
        texts[whole_number(edit.get("id"), "the photo")] = checked_caption(edit.get("text"))
    visit.album.edit(texts, str(body.get("step", ""))[:40])


def _stop(visit: Visit, body: Body) -> None:
    if visit.run is not None:
        visit.run.stopped = True


def _state(visit: Visit, since: int) -> Answer:
    run = visit.run.as_json() if visit.run is not None else None
    return visit.album.changes(since) | {"run": run}


def _decoding(settings: object) -> Decoding:
    if not isinstance(settings, list):
        raise UserError("the settings have not arrived: load the page again")
    try:
        return replace(chosen_decoding(*settings), num_captions=1)
    except TypeError:
        raise UserError("the settings do not fit this page: load it again") from None


def _numbers(body: Body) -> list[int]:
    numbers = body.get("ids")
    if not isinstance(numbers, list) or len(numbers) > MAX_PHOTOS:
        raise UserError("the photos must be a list, no longer than there may be photos")
    return [whole_number(number, "the photo") for number in numbers]


def _rows(stored: object) -> list[PhotoRow]:
    """Rows as a browser kept them."""
    if not isinstance(stored, list) or len(stored) > MAX_PHOTOS:
        raise UserError("the rows must be a list, no longer than there may be photos")
    return [_row(record) for record in stored]


def _row(record: object) -> PhotoRow:
    if not isinstance(record, dict) or not isinstance(record.get("name"), str):
        raise UserError("a row must have a name")
    row = PhotoRow(0, record["name"].encode(errors="replace").decode()[-MAX_NAME:] or "photo")
    if isinstance(error := record.get("error"), str):
        row.error = error[:MAX_CAPTION]
    caption = checked_caption(record.get("caption", ""))
    if record.get("status") in ("waiting", "failed"):
        return row
    author = AUTHORS.get(str(record.get("author")), "person")
    score, confidence = _number(record.get("score")), _number(record.get("confidence"))
    row.wording = Wording(caption, author, math.nan if score is None else score, confidence)
    row.own = row.wording if author == "model" else None
    return row


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


async def _body(request: Request) -> Body:
    try:
        body = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError):
        body = None
    return body if isinstance(body, dict) else {}


async def _in_words(answer: Callable[[], Answer]) -> Response:
    try:
        return JSONResponse(await run_in_threadpool(answer))
    except UserError as error:
        return JSONResponse({"detail": sentence(error)}, 400)
    except Exception as error:
        logger.exception("a request for an album failed")
        kind = type(error).__name__
        return JSONResponse({"detail": f"Something unexpected went wrong ({kind})."}, 500)


def _gone() -> Response:
    return JSONResponse({"detail": GONE}, 404)
