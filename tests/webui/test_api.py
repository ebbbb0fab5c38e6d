"""The named endpoints through gradio_client, and what happens to those who try other ways in."""

from __future__ import annotations

import base64
import csv
import io
import json
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import gradio
import pytest
from gradio_client import Client, handle_file
from PIL import Image, ImageOps

from captioner import Captioner
from charlm import CharLM
from tests.webui.conftest import Server, connect
from tests.webui.test_many_photos import make_zip
from tests.webui.test_page import write_score_files
from webui.example_photos import FOLDER

CAPTION: list[Any] = [3, 20, False, 1.0, 1.0, None]


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return connect(server.address)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twenty different photos, made of those that Gradio brings."""
    folder, made = tmp_path_factory.mktemp("photos"), []
    for name in ("tower.jpg", "lion.jpg", "cheetah.jpg", "cheetah1.jpg", "groot.jpeg"):
        image = Image.open(gradio.get_image(name)).convert("RGB")
        half = image.crop((0, 0, image.width // 2, image.height))
        for change, picture in (
            ("", image),
            ("-negative", ImageOps.invert(image)),
            ("-half", half),
            ("-turned", image.rotate(90)),
        ):
            made.append(folder / f"{Path(name).stem}{change}.png")
            picture.resize((160, 160)).save(made[-1])
    return made


def post(address: str, body: dict[str, Any]) -> tuple[int, str]:
    request = urllib.request.Request(
        address, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def get(address: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def call(server: Server, endpoint: str, data: list[Any]) -> str:
    """An endpoint's answer to a raw request, as text: what no client library has touched. The
    settings are filled up.
    """
    settings: dict[str, list[Any]] = {
        "caption": CAPTION,
        "caption_many": CAPTION,
        "generate": [20, 0.8, 0, 1.0, "", 1],
        "score": ["automatic", False],
    }
    status, answer = post(
        f"{server.address}/gradio_api/call/{endpoint}", {"data": data + settings[endpoint]}
    )
    if status != 200:
        return answer
    return get(f"{server.address}/gradio_api/call/{endpoint}/{json.loads(answer)['event_id']}")[
        1
    ].decode()


def test_caption_gives_the_sentence_that_the_captioner_gives(client: Client, tower: Path) -> None:
    assert (
        client.predict(handle_file(tower), api_name="/caption")
        == Captioner.load(device="cpu").caption(tower).text
    )


def test_a_caller_chooses_when_a_caption_states_a_gender(client: Client) -> None:
    photo = FOLDER / "000000011511.jpg"
    captioner = Captioner.load(device="cpu")
    captions = [captioner.caption(photo, gender_clarity=clarity).text for clarity in (0, 1)]
    assert captions[0] != captions[1]
    for clarity, expected in enumerate(captions):
        settings = {"gender_clarity": clarity}
        assert client.predict(handle_file(photo), api_name="/caption", **settings) == expected
        table, _ = client.predict([handle_file(photo)], api_name="/caption_many", **settings)
        assert expected in table["data"][0]


def test_twenty_visitors_at_once_each_get_their_own_caption(
    server: Server, client: Client, photos: list[Path]
) -> None:
    expected = [client.predict(handle_file(photo), api_name="/caption") for photo in photos]
    assert len(set(expected)) > 10  # else a mix-up could not be seen
    clients = [connect(server.address) for _ in photos]
    with ThreadPoolExecutor(len(photos)) as pool:
        answers = list(
            pool.map(
                lambda pair: pair[0].predict(handle_file(pair[1]), api_name="/caption"),
                zip(clients, photos, strict=True),
            )
        )
    assert answers == expected


def test_caption_many_gives_a_row_for_each_photo_and_a_file(
    client: Client, tower: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"nothing")
    table, file = client.predict(
        [handle_file(bad), handle_file(make_zip(tmp_path, tower))], api_name="/caption_many"
    )
    rows = {row[0]: row for row in table["data"]}
    assert list(rows) == [
        "bad.jpg",
        "paris/tower.jpg",
        "zoo/lion.jpg",
        "zoo/broken.jpg",
        "../../escape.jpg",
    ]
    assert [bool(row[1]) for row in rows.values()] == [False, True, True, False, False]
    assert all(bool(row[1]) != bool(row[2]) for row in rows.values())
    with Path(file).open(encoding="utf-8", newline="") as opened:
        assert [row["caption"] for row in csv.DictReader(opened)] == [
            row[1] for row in rows.values()
        ]


def test_photos_of_one_name_keep_their_own_captions_and_scores(
    client: Client, photos: list[Path], tmp_path: Path
) -> None:
    alone, zips = [], []
    for number, photo in enumerate(photos[:8:4]):
        zips.append(tmp_path / f"{number}.zip")
        with zipfile.ZipFile(zips[-1], "w") as archive:
            archive.write(photo, "day/photo.png")
        alone.append(client.predict([handle_file(zips[-1])], api_name="/caption_many"))
    together = client.predict([handle_file(path) for path in zips], api_name="/caption_many")
    assert [row[0] for row in together[0]["data"]] == ["day/photo.png", "day/photo (2).png"]
    (first,), (second,), both = (
        list(csv.DictReader(Path(file).read_text(encoding="utf-8").splitlines()))
        for _, file in (*alone, together)
    )
    assert first["score"] != second["score"]
    assert [row["caption"] for row in both] == [first["caption"], second["caption"]]
    assert [float(row["score"]) for row in both] == pytest.approx(
        [float(first["score"]), float(second["score"])], abs=0.002
    )


def test_generate_streams_the_text_that_the_model_samples(
    client: Client, small_charlm: Path
) -> None:
    job = client.submit("The rain", length=300, temperature=0.9, seed=5, api_name="/generate")
    texts = list(job)
    assert texts[-1] == "The rain" + "".join(
        CharLM.load(small_charlm).sample("The rain", length=300, temperature=0.9, seed=5)
    )
    assert all(after.startswith(before) for before, after in pairwise(texts))


def test_generate_yields_at_most_some_twenty_times_a_second(client: Client) -> None:
    started = time.monotonic()
    yields = len(list(client.submit("The", length=4000, seed=1, api_name="/generate")))
    assert yields <= 3 + 20 * (time.monotonic() - started)


def test_score_gives_the_report(client: Client, tmp_path: Path) -> None:
    references, predictions = write_score_files(tmp_path)
    report = client.predict(handle_file(references), handle_file(predictions), api_name="/score")
    assert report["images"] == 3 and set(report["values"]) == {
        "bleu_1",
        "bleu_2",
        "bleu_3",
        "bleu_4",
        "rouge_l",
        "cider_d",
    }
    with pytest.raises(
        Exception, match=r"'references\.json' is no(t a)? COCO results file"
    ) as error:
        client.predict(handle_file(references), handle_file(references), api_name="/score")
    assert "/" not in str(error.value)


ENDPOINTS = ("caption", "caption_many", "generate", "classify", "tag", "translate", "score")


def test_only_these_endpoints_are_documented(server: Server, client: Client) -> None:
    info = json.loads(get(f"{server.address}/gradio_api/info")[1])
    assert list(info["named_endpoints"]) == [f"/{name}" for name in ENDPOINTS]
    assert info["unnamed_endpoints"] == {}
    assert all(endpoint["description"] for endpoint in info["named_endpoints"].values())
    parameters = [
        parameter
        for endpoint in info["named_endpoints"].values()
        for parameter in endpoint["parameters"]
    ]
    assert all(
        parameter["python_type"]["description"]
        and parameter["label"] == parameter["parameter_name"]
        for parameter in parameters
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beam_size": 1000}, "beam-size must be from 1 to 100"),
        ({"sample": True, "temperature": 0}, "Temperature must be from 0.01"),
        ({"max_length": "many"}, "the length must be a whole number"),
        ({"seed": "abc"}, "the seed must be a whole number"),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(
    client: Client, tower: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception, match=f"(?i){message}"):
        client.predict(handle_file(tower), api_name="/caption", **arguments)


def file_data(path: str | None = None, url: str | None = None) -> dict[str, Any]:
    return (
        {"path": path} | {"orig_name": "x.jpg", "meta": {"_type": "gradio.FileData"}}
        if path
        else {"url": url, "orig_name": "x.jpg"}
    )


def test_a_data_url_is_captioned_by_the_same_rules(
    server: Server, client: Client, tower: Path
) -> None:
    url = f"data:image/jpeg;base64,{base64.b64encode(tower.read_bytes()).decode()}"
    expected = client.predict(handle_file(tower), api_name="/caption")
    for data in (file_data(url=url), url):
        assert expected in call(server, "caption", [data])
    wrong = base64.b64encode(b"<svg onload=alert(1)>").decode()
    assert "not a picture" in call(
        server, "caption", [file_data(url=f"data:image/png;base64,{wrong}")]
    )
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    answer = call(
        server,
        "caption",
        [file_data(url=f"data:image/png;base64,{base64.b64encode(bomb.getvalue()).decode()}")],
    )
    assert "more than the limit of 100 megapixels" in answer


@pytest.mark.parametrize("endpoint", ["caption", "caption_many", "score", "generate"])
def test_no_address_is_fetched_for_anybody(server: Server, endpoint: str) -> None:
    for url in (
        "http://example.com/photo.jpg",
        "https://huggingface.co/photo.jpg",
        "http://169.254.169.254/latest",
        "http://127.0.0.1:22/",
    ):
        for data in (file_data(path=url), file_data(url=url), url):
            answer = call(
                server,
                endpoint,
                [
                    [data] if endpoint == "caption_many" else data,
                    *([data] if endpoint == "score" else []),
                ],
            )
            if endpoint == "generate" and data == url:
                assert "complete" in answer  # an address is a prompt like any other
            elif endpoint == "generate" and "path" not in data:
                assert "The prompt must be text" in answer
            else:
                assert "ddresses are not fetched" in answer, (url, data, answer)
    assert get(f"{server.address}/gradio_api/file=http://example.com/x.jpg")[0] == 403
    assert get(f"{server.address}/gradio_api/proxy=http://example.com/x.jpg")[0] == 404
    assert server.outgoing() == ""


def test_no_file_of_the_server_is_read_by_any_way(server: Server, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    Image.new("RGB", (64, 64)).save(secret)
    targets = [
        str(secret),
        "/etc/passwd",
        str(Path.cwd() / "README.md"),
        f"{server.temporary}/../../connections",
        "file:///etc/passwd",
        str(Path(gradio.__file__)),
        "/proc/self/environ",
        str(server.temporary),
    ]
    for target in targets:
        assert get(f"{server.address}/gradio_api/file={target}")[0] in (403, 404), target
        assert get(f"{server.address}/gradio_api/file/{target}")[0] in (403, 404), target
        requests: list[tuple[str, list[Any]]] = [
            ("caption", [file_data(target)]),
            ("caption", [target]),
            ("caption_many", [[file_data(target)]]),
            ("score", [file_data(target), file_data(target)]),
        ]
        for endpoint, data in requests:
            answer = call(server, endpoint, data)
            assert "event: error" in answer or "was not uploaded to this page" in answer, (
                target,
                answer,
            )
            assert not any(
                text in answer for text in ("root:", "sitting", "Show and Spell", '"images"')
            ), answer


def test_files_over_the_limits_are_refused(
    server: Server, client: Client, tmp_path: Path, tower: Path
) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(tower.read_bytes() + bytes(21 * 2**20))
    with pytest.raises(Exception, match=r"large\.jpg has 21 MB, more than the limit of 20 MB"):
        client.predict(handle_file(large), api_name="/caption")
    request = urllib.request.Request(
        f"{server.address}/gradio_api/upload",
        b"x",
        {"Content-Length": str(3 * 2**30)},
        method="POST",
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
    assert refused.value.code == 413


def test_what_the_page_has_no_use_for_is_closed(server: Server) -> None:
    for route in (
        "monitoring",
        "gradio_api/component_server",
        "gradio_api/vibe-code",
        "gradio_api/deep_link",
        "docs",
        "openapi.json",
    ):
        assert get(f"{server.address}/{route}")[0] in (404, 405), route


def test_mcp_offers_the_same_endpoints_as_tools(
    serve: Callable[..., Server], small_charlm: Path, tower: Path
) -> None:
    pytest.importorskip("mcp", reason="the mcp extra is not installed")
    running = serve("--charlm", str(small_charlm), "--mcp")

    def ask(method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(
            {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        ).encode()
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        with urllib.request.urlopen(
            urllib.request.Request(f"{running.address}/gradio_api/mcp/", body, headers), timeout=120
        ) as answer:
            text = answer.read().decode()
        return dict(json.loads(text[text.index("{") :])["result"])

    tools = {
        tool["name"].removeprefix("show_and_spell_"): tool
        for tool in ask("tools/list", {})["tools"]
    }
    assert set(tools) == set(ENDPOINTS)
    name = tools["caption"]["name"]
    url = f"data:image/jpeg;base64,{base64.b64encode(tower.read_bytes()).decode()}"
    assert Captioner.load().caption(tower).text in json.dumps(
        ask("tools/call", {"name": name, "arguments": {"photo": url}})
    )
    answer = json.dumps(
        ask("tools/call", {"name": name, "arguments": {"photo": "http://example.com/x.jpg"}})
    )
    assert "ddresses are not fetched" in answer
    assert running.outgoing() == ""
