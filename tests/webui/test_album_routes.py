"""The routes of the list of photos: what they answer to whom, without a page or a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from captioner import Caption, Decoding
from tests.webui.services.test_album import jpeg, sent
from webui.album_routes import album_routes
from webui.middleware import RequestFilter
from webui.services.albums import Albums
from webui.sites import Names, SiteGuard
from webui.workers import Models

SETTINGS = ["Beam search", 3, 1, 20, 1, 1, "", False, "", "If clear"]


class Parrot:
    """Stands in for a captioner; says the same about every photo."""

    def caption(self, photo: Path, decoding: Decoding, *, run: object) -> list[Caption]:
        return [Caption("a parrot", -0.5, (), confidence=0.3)]


@pytest.fixture
def client() -> Iterator[TestClient]:
    """The routes behind the page's own guards."""
    models = SimpleNamespace(captioner=SimpleNamespace(get=Parrot))
    albums = Albums()
    app = Starlette(
        routes=album_routes(albums, cast(Models, models)),
        middleware=[
            Middleware(SiteGuard, names=Names("127.0.0.1")),
            Middleware(RequestFilter),
        ],
    )
    app.auth, app.cookie_id, app.tokens = None, "", {}  # type: ignore[attr-defined]
    with TestClient(app, base_url="http://127.0.0.1") as made:
        yield made
    for visit in albums:
        visit.album.close()


def post(client: TestClient, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    answer = client.post(f"/photos/{path}", json=body, headers=headers)
    return answer.status_code, answer.json()


def test_photos_are_captioned_and_what_a_person_wrote_is_replaced_only_when_asked(
    client: TestClient,
) -> None:
    token = post(client, "new", {})[1]["token"]
    files = [sent("a.jpg", jpeg()), sent("b.jpg", jpeg())]
    ids = [row["id"] for row in post(client, f"{token}/add", {"files": files})[1]["rows"]]
    post(client, f"{token}/edit", {"edits": [{"id": ids[0], "text": "mine"}], "step": "s"})

    def captions(replace: bool) -> list[str]:
        run = {"ids": ids, "settings": SETTINGS, "replace": replace}
        assert post(client, f"{token}/run", run)[0] == 200
        while not (state := post(client, f"{token}/changes", {})[1])["run"]["ended"]:
            pass
        return [row["caption"] for row in state["rows"]]

    assert captions(replace=False) == ["mine", "a parrot"]
    assert captions(replace=True) == ["a parrot", "a parrot"]
    download = client.get(f"/photos/{token}/download/jsonl")
    assert 'filename="captions.jsonl"' in download.headers["content-disposition"]
    assert download.text.count('"confidence": 0.3') == 2
    picture = client.get(f"/photos/{token}/small/{ids[0]}")
    assert picture.headers["content-type"] == "image/jpeg" and len(picture.content) < 20_000


def test_who_does_not_know_the_token_gets_nothing(client: TestClient) -> None:
    token = post(client, "new", {})[1]["token"]
    for wrong in ("", "x", token[:-1], token.swapcase()):
        assert client.post(f"/photos/{wrong}/changes", json={}).status_code == 404
        assert client.get(f"/photos/{wrong}/download/csv").status_code == 404
        assert client.get(f"/photos/{wrong}/small/1").status_code == 404
    post(client, f"{token}/forget", {})
    assert post(client, f"{token}/changes", {})[0] == 404


def test_other_sites_may_not_write_and_large_bodies_are_refused(client: TestClient) -> None:
    assert post(client, "new", {}, origin="https://evil.example")[0] == 403
    assert post(client, "new", {}, **{"sec-fetch-site": "cross-site"})[0] == 403
    assert post(client, "new", {}, origin="http://127.0.0.1")[0] == 200
    assert post(client, "new", {"rows": "x" * 9 * 2**20})[0] == 413


@pytest.mark.parametrize(
    ("action", "body", "words"),
    [
        ("edit", {"edits": [{"id": 1, "text": "x" * 2001}]}, "2,001 characters"),
        ("edit", {"edits": [{"id": 1, "text": None}]}, "A caption must be text"),
        ("edit", {"edits": [{"id": "x", "text": ""}]}, "whole number"),
        ("edit", {"edits": 5}, "must be a list"),
        ("edit", {"edits": [{}] * 501}, "must be a list"),
        ("edit", 5, "must be a list"),
        ("remove", {"ids": None}, "must be a list"),
        ("run", {"ids": [1], "settings": None}, "settings have not arrived"),
        ("run", {"ids": [1], "settings": [1] * 30}, "settings do not fit"),
        ("run", {"ids": [1], "settings": ["Beam search", "x", *SETTINGS[2:]]}, "beam size"),
        ("add", {"files": [{"path": "/etc/passwd"}]}, None),
        ("changes", {"since": "x"}, "whole number"),
    ],
)
def test_what_does_not_fit_is_answered_in_a_sentence(
    client: TestClient, action: str, body: Any, words: str | None
) -> None:
    token = post(client, "new", {"rows": [{"name": "a.jpg", "status": "waiting"}]})[1]["token"]
    status, answer = post(client, f"{token}/{action}", body)
    if words is None:  # a row says it
        assert "was not uploaded to this page" in answer["rows"][-1]["error"]
    else:
        assert status == 400 and words in answer["detail"]


def test_rows_that_a_browser_kept_come_back_as_they_were(client: TestClient) -> None:
    token = post(client, "new", {})[1]["token"]
    files = [sent(f"{name}.jpg", jpeg()) for name in "abc"]
    post(client, f"{token}/add", {"files": files})
    post(client, f"{token}/edit", {"edits": [{"id": 2, "text": "mine"}], "step": "s"})
    rows = post(client, f"{token}/changes", {})[1]["rows"]
    rows[0] |= {"caption": "a model's", "status": "ok", "score": -0.5, "confidence": 0.9}
    kept = post(client, "new", {"rows": rows})[1]["rows"]
    fields = ("name", "caption", "status", "author", "score", "confidence")
    assert [[row[field] for field in fields] for row in kept] == [
        [row[field] for field in fields] for row in rows
    ]
    assert not any(row["photo"] for row in kept)
    unfit: list[Any] = [[{}] * 501, [{"name": 5}], 5]
    for wrong in unfit:
        assert post(client, "new", {"rows": wrong})[0] == 400
