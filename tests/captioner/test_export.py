"""The exported graphs compute what PyTorch does, and the documents' example captions a photo."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from captioner import Captioner, export
from captioner.export import export_captioner
from captioner.network.backbones import create_encoder
from captioner.network.decoder import Decoder, DecoderConfig
from captioner.network.encoder import Encoder
from captioner.network.vocabulary import END, SPECIAL, Vocabulary
from rnnkit.errors import UserError
from tests.captioner.conftest import draw_shape

for name in ("onnx", "onnxruntime"):
    pytest.importorskip(name, reason=f"{name}, of the onnx extra, is not installed")
DOCUMENT = Path(export.__file__).parents[1] / "docs" / "onnx.md"
pytestmark = pytest.mark.filterwarnings("error::UserWarning:captioner")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """With colours, which are pooled from 26 pixels to 4 regions a side."""
    return create_encoder("efficientnet-lite0", size=104, colours=True)


def make_captioner(encoder: Encoder, attention: str) -> Captioner:
    """An untrained captioner that writes a dozen different words."""
    torch.manual_seed(0)
    gendered = ("man", "woman", "person", "his", "her", "their")
    words = (*SPECIAL, *gendered, *(f"word{number}" for number in range(54)))
    sizes = (len(words), encoder.channels, 16, 24, 8)
    decoder = Decoder(DecoderConfig(*sizes, attention=attention, adaptive=attention != "none"))
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(3)
        decoder.output_bias[END] = -3
    info = {"decoding": {"repeatable": ["word7"], "gender_clarity": 0.9}}
    return Captioner(encoder, decoder, Vocabulary(words), info=info)


def test_the_documents_example_captions_a_photo_as_the_captioner_does(
    encoder: Encoder,
    captioner_command: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    make_captioner(encoder, "additive").save("model", dtype=None)
    draw_shape("red", "circle", 1).save("photo.jpg")
    code, printed, said = captioner_command("export", "--output", "exported", "--model", "model")
    assert code == 0 and said == "" and len(printed.splitlines()) == 4, said
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.S)
    exec(example, {})
    captioner = Captioner.load("model", device="cpu", backend="torch")
    wanted = captioner.caption("photo.jpg", beam_size=1)
    assert capsys.readouterr().out.split() == list(wanted.words) and len(set(wanted.words)) > 3


def test_a_captioner_without_attention_is_exported_and_a_graph_that_differs_is_not_kept(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = make_captioner(encoder, "none")
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(UserError, match="computes another 'features' than PyTorch"):
        export_captioner(captioner, tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    differences = export_captioner(captioner, tmp_path)
    assert len(differences) == 3 and max(differences.values()) < 1e-3


def test_what_is_not_installed_is_named_with_its_extra(
    captioner_command: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, _, said = captioner_command("export", "--output", tmp_path / "exported")
    assert code == 2 and 'pip install "show-and-spell[onnx]"' in said
    assert not (tmp_path / "exported").exists()
