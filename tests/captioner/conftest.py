"""A small world to caption: drawn photos of one coloured shape each, with captions that name it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from captioner.checkpoint import save_captioner
from captioner.cli import main
from captioner.network.backbones import create_encoder
from captioner.network.decoder import Decoder, DecoderConfig
from captioner.network.vocabulary import END, SPECIAL, Vocabulary


@pytest.fixture(autouse=True)
def no_java(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR's Java program takes many seconds to start; the tests of it ask for `with_java`."""
    if "with_java" not in request.fixturenames:
        find = shutil.which
        monkeypatch.setattr(
            "shutil.which",
            lambda name, *rest, **more: None if name == "java" else find(name, *rest, **more),
        )


@pytest.fixture
def with_java(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("java") is None or importlib.util.find_spec("pycocoevalcap") is None:
        pytest.skip("Java or pycocoevalcap, the metrics extra, is not installed")
    monkeypatch.delenv("JAVA_TOOL_OPTIONS", raising=False)


COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 170, 40),
    "blue": (40, 60, 220),
    "yellow": (235, 220, 40),
}
SHAPES = ("circle", "square")


def draw_shape(colour: str, shape: str, number: int) -> Image.Image:
    """A shape of a colour, somewhere on grey; the number moves it."""
    image = Image.new("RGB", (96, 80), (128 + 4 * (number % 8),) * 3)
    left, top, side = 8 + 5 * (number % 5), 6 + 4 * (number % 4), 40
    draw = ImageDraw.Draw(image)
    (draw.ellipse if shape == "circle" else draw.rectangle)(
        (left, top, left + side, top + side), fill=COLOURS[colour]
    )
    return image


@pytest.fixture
def shapes(tmp_path: Path) -> Callable[[int, int], tuple[Path, Path]]:
    """Writes so many training and validation photos of shapes; returns the annotations (Karpathy's
    JSON) and the folder.
    """

    def write(training: int, validation: int) -> tuple[Path, Path]:
        folder = tmp_path / "photos"
        folder.mkdir()
        records = []
        for number in range(training + validation):
            colour, shape = list(COLOURS)[number % 4], SHAPES[number // 4 % 2]
            draw_shape(colour, shape, number).save(folder / f"{number}.png")
            texts = [
                f"a {colour} {shape} on a grey wall",
                f"there is a {colour} {shape}",
                f"one {shape} that is {colour}",
            ]
            split = "train" if number < training else "val"
            records.append(
                {
                    "filename": f"{number}.png",
                    "split": split,
                    "sentences": [{"raw": text} for text in texts],
                }
            )
        annotations = tmp_path / "dataset.json"
        annotations.write_text(
            json.dumps({"dataset": "shapes", "images": records}), encoding="utf-8"
        )
        return annotations, folder

    return write


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a small captioner with random weights, large enough that photos differ in
    their captions.
    """
    torch.manual_seed(0)
    words = (*SPECIAL, *(f"word{number}" for number in range(60)))
    encoder = create_encoder("efficientnet-lite0")
    decoder = Decoder(DecoderConfig(len(words), encoder.channels, 16, 16, 8))
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(3)
        decoder.output_bias[END] = -9
    folder = tmp_path_factory.mktemp("untrained")
    save_captioner(folder, encoder, decoder, Vocabulary(words), {})
    return folder


@pytest.fixture
def captioner_command(
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:
    """Runs `captioner` in this process: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            main([*map(str, arguments)])
            code = 0
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else 1
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def caption(
    untrained: Path, captioner_command: Callable[..., tuple[int, str, str]]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `captioner caption` with the untrained captioner: exit code, stdout, stderr."""
    fixed = ("--model", untrained, "--device", "cpu", "--backend", "torch", "--max-length", 4)
    return lambda *arguments: captioner_command("caption", *arguments, *fixed)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of five photos of different shapes and one file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, extension in enumerate(("jpg", "PNG", "webp", "jpeg", "gif")):
        draw_shape(list(COLOURS)[number % 4], SHAPES[number % 2], number).save(
            folder / f"{number}.{extension}"
        )
    (folder / "bad.jpg").write_bytes(b"nonsense")
    return folder
