"""`captioner export`: the captioner as ONNX graphs, which run without PyTorch and this package."""

from __future__ import annotations

import copy
import importlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional as F

from captioner.backends.base import DecoderStart, DecoderStep, EncoderPart
from captioner.captioner import Captioner
from captioner.checkpoint import repeatable_words_of
from captioner.decoding.generate import FORBIDDEN, words_used_once
from captioner.network.colours import ColourShares
from captioner.network.encoder import Encoder
from captioner.network.vocabulary import END, START
from captioner.options import Model
from captioner.types import Decoding
from rnnkit.errors import UserError
from rnnkit.files import replace_file, write_file

OPSET = 18
TOLERANCE = 1e-3  # of the largest value that PyTorch computes
# The dimensions that may be of any size: B photos and K sentences for each.
PHOTOS, SENTENCES = {0: "photos"}, {0: "photos", 1: "sentences"}


def export_command(
    output: Annotated[Path, typer.Option(help="Folder to write the graphs to.")],
    model: Model = None,
) -> None:
    """Write the captioner as ONNX graphs, which run without PyTorch and this package.

    The folder then has encoder.onnx, decoder-start.onnx, decoder-step.onnx, and captioner.json with
    the words and what else a search needs. Each graph is run in onnxruntime and compared with
    PyTorch before it is kept. docs/onnx.md describes inputs and outputs and has an example.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"--output '{output}' is a file: give a folder")
    for name in ("onnx", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError:
            raise UserError(
                f"exporting needs {name}, which is not installed",
                hint='pip install "show-and-spell[onnx]"',
            ) from None
    captioner = Captioner.load(model, device="cpu", backend="torch")
    output.mkdir(parents=True, exist_ok=True)
    for path, difference in export_captioner(captioner, output).items():
        size = path.stat().st_size / 1e6
        print(f"{path}\t{size:.1f} MB\tdiffers from PyTorch by at most {difference:.1e}")
    print(output / "captioner.json")


def export_captioner(captioner: Captioner, folder: Path) -> dict[Path, float]:
    """Write a captioner's graphs, and captioner.json, into a folder that exists.

    Returns: the graphs' files, and by how much their outputs in onnxruntime differ from PyTorch's.
    Raises: UserError if that is more than rounding; OSError naming a file that cannot be written.
    """
    encoder, decoder = _without_adaptive_pooling(captioner), captioner.decoder.eval()
    attention = ("attention",) if decoder.attends else ()
    graphs = (
        _Graph(EncoderPart(encoder, 0), {"pixels": PHOTOS}, {"features": PHOTOS}),
        _Graph(
            DecoderStart(decoder),
            {"features": PHOTOS},
            dict.fromkeys(("hidden", "cell", "keys", "values"), PHOTOS),
        ),
        _Graph(
            _ClearStep(captioner),
            {
                **dict.fromkeys(("words", "hidden", "cell"), SENTENCES),
                **dict.fromkeys(("keys", "values"), PHOTOS),
            },
            dict.fromkeys(("logits", "next_hidden", "next_cell", *attention), SENTENCES),
        ),
    )
    # Other numbers of photos and sentences than those that were exported must work too.
    traced = _example(captioner, photos=2, sentences=3)
    other = _example(captioner, photos=3, sentences=2)
    differences = {}
    names = ("encoder", "decoder-start", "decoder-step")
    for name, graph in zip(names, graphs, strict=True):
        path = folder / f"{name}.onnx"
        with replace_file(path) as temporary:
            graph.write(temporary, traced)
            differences[path] = graph.difference(temporary, other)
    about = json.dumps(_about(captioner), indent=1, ensure_ascii=False) + "\n"
    write_file(folder / "captioner.json", about.encode())
    return differences


@dataclass(frozen=True)
class _Graph:
    """A module with the names of its inputs and outputs, and which of their dimensions are free."""

    module: nn.Module
    inputs: dict[str, dict[int, str]]
    outputs: dict[str, dict[int, str]]

    def write(self, path: Path, example: dict[str, Tensor]) -> None:
        """Write the module as ONNX, traced with an example of its inputs."""
        # The exporter through TorchScript, because that through torch.export takes thirty times as
        # long and needs two more packages. It warns of that, and of shapes that are constant here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                self.module.eval(),
                tuple(example[name] for name in self.inputs),
                path,
                dynamo=False,
                opset_version=OPSET,
                input_names=[*self.inputs],
                output_names=[*self.outputs],
                dynamic_axes=self.inputs | self.outputs,
            )

    @torch.no_grad()
    def difference(self, path: Path, example: dict[str, Tensor]) -> float:
        """The largest difference between onnxruntime and PyTorch.

        Raises: UserError if it is more than rounding.
        """
        session = importlib.import_module("onnxruntime").InferenceSession(path)
        needed = {entry.name for entry in session.get_inputs()}
        found = session.run(
            None, {name: example[name].numpy() for name in self.inputs if name in needed}
        )
        expected = self.module(*(example[name] for name in self.inputs))
        expected = expected if isinstance(expected, tuple) else (expected,)
        worst = 0.0
        for name, theirs, ours in zip(self.outputs, found, expected, strict=True):
            # Without attention, keys have no columns.
            own = ours.numpy()
            apart = theirs != own  # words that are left out have -inf in both
            difference = float(np.abs(theirs[apart] - own[apart]).max(initial=0))
            if not difference <= TOLERANCE * np.abs(own[np.isfinite(own)]).max(initial=1):
                raise UserError(
                    f"onnxruntime computes another '{name}' than PyTorch, by {difference:.2g};"
                    " the graph was not kept"
                )
            worst = max(worst, difference)
        return worst


class _ClearStep(nn.Module):
    """`DecoderStep` with the captioner's rule for gendered words, so that a program needs none."""

    def __init__(self, captioner: Captioner) -> None:
        super().__init__()
        self.step = DecoderStep(captioner.decoder, attention=captioner.decoder.attends)
        self.adjust = captioner.gender_rule.at(captioner.gender_clarity(Decoding()))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        logits, *others = self.step(*inputs)
        return self.adjust(logits) if self.adjust else logits, *others


@torch.no_grad()
def _example(captioner: Captioner, *, photos: int, sentences: int) -> dict[str, Tensor]:
    """Inputs of all graphs, by name."""
    generator = torch.Generator().manual_seed(photos)
    size = captioner.preprocessing.size
    pixels = torch.randint(0, 256, (photos, size, size, 3), dtype=torch.uint8, generator=generator)
    features = captioner.encoder(pixels)  # (B, R, channels)
    state, memory = captioner.decoder.start(features)
    words = torch.randint(len(captioner.vocabulary), (photos, sentences), generator=generator)
    hidden, cell = (part.repeat(1, sentences, 1) for part in state)  # (B, K, H)
    return {
        "pixels": pixels,
        "features": features,
        "words": words,
        "hidden": hidden,
        "cell": cell,
        "keys": memory.keys,
        "values": memory.values,
    }


def _about(captioner: Captioner) -> dict[str, Any]:
    """What a program needs beside the graphs, as JSON values."""
    repeatable = repeatable_words_of(captioner.info)
    once: list[int] = []
    if repeatable is not None:
        once = words_used_once(captioner.vocabulary, tuple(repeatable)).nonzero().flatten().tolist()
    return {
        "opset": OPSET,
        "image_size": captioner.preprocessing.size,
        "start": START,
        "end": END,
        "forbidden": list(FORBIDDEN),
        "once": once,
        "length_penalty": captioner.length_penalty,
        "words": list(captioner.vocabulary.words),
    }


def _without_adaptive_pooling(captioner: Captioner) -> Encoder:
    """The encoder, whose colours are pooled by products if it has any: ONNX cannot pool to a number
    of regions that does not divide the pixels.
    """
    encoder = captioner.encoder
    if encoder.colours is None:
        return encoder.eval()
    encoder = copy.deepcopy(encoder)
    assert encoder.colours is not None
    encoder.colours = _ColoursByProducts(encoder.colours, captioner.preprocessing.size)
    return encoder.eval()


class _ColoursByProducts(ColourShares):
    """`ColourShares` whose means over regions are two products with a matrix (pixels, side)."""

    means: Tensor

    def __init__(self, shares: ColourShares, size: int) -> None:
        super().__init__(shares.side, blur=shares.blur)
        self.weight, self.bias = shares.weight, shares.bias
        pixels = size // shares.blur
        self.register_buffer("means", F.adaptive_avg_pool1d(torch.eye(pixels), shares.side))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.means.T @ self.likeness(pixels) @ self.means  # (B, P, side, side)
