"""Turns a training run into the bundled captioner: chooses the length penalty on validation photos,
scores it, stores it.

The penalty is the one with the highest sum of CIDEr-D and BLEU-4: CIDEr-D hardly moves with it,
BLEU-4 does.

    python scripts/make_pretrained.py RUN --annotations A.json --images A/ --annotations B.json
    --images B/ --output captioner/pretrained

Prints the tables of the model card. The run's checkpoint is half precision already, so what is
scored is what is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from captioner import Captioner, Decoding
from captioner.data.annotations import Example, read_dataset
from captioner.data.images import ImageError
from captioner.evaluation.report import judge
from captioner.metrics.tokenizer import tokenize
from captioner.network.vocabulary import repeatable_words
from rnnkit.command_line import run_app

PENALTIES = (0.0, 0.3, 0.5, 0.6, 0.7, 0.9, 1.2)


def make(
    run: Annotated[Path, typer.Argument(help="Run folder, or any checkpoint.")],
    annotations: Annotated[list[Path], typer.Option(help="Captions with a val split. Repeatable.")],
    images: Annotated[
        list[Path], typer.Option(help="Folder of the photos, one for each --annotations.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Where to store the checkpoint; nowhere if not given.")
    ] = None,
    beam_size: Annotated[
        int, typer.Option(help="Beam with which the length penalty is chosen.")
    ] = 3,
) -> None:
    """Choose, score and store."""
    captioner = Captioner.load(run)
    datasets = {
        file.parent.name: read_dataset(file, folder)
        for file, folder in zip(annotations, images, strict=True)
    }
    learned = (
        tokenize(caption)
        for dataset in datasets.values()
        for example in dataset.split("train")
        for caption in example.captions
    )
    captioner.info["decoding"] = {"repeatable": repeatable_words(learned)}
    sets = {name: _features(captioner, dataset.split("val")) for name, dataset in datasets.items()}
    print(f"CIDEr-D / BLEU-4 on validation photos at beam {beam_size}\n")
    print(
        f"| length penalty | {' | '.join(sets)} | mean CIDEr-D + BLEU-4"
        f" |\n|---|{'---|' * len(sets)}---|"
    )
    means = {}
    for penalty in PENALTIES:
        reports = [
            _judge(
                captioner,
                name,
                *found,
                Decoding(beam_size=beam_size, length_penalty=penalty),
                bootstrap=0,
            )
            for name, found in sets.items()
        ]
        means[penalty] = float(
            np.mean(
                [report["values"]["cider_d"] + report["values"]["bleu_4"] for report in reports]
            )
        )
        cells = [
            f"{100 * report['values']['cider_d']:.1f} / {100 * report['values']['bleu_4']:.1f}"
            for report in reports
        ]
        print(f"| {penalty} | {' | '.join(cells)} | {100 * means[penalty]:.2f} |", flush=True)
    best = max(means, key=lambda penalty: means[penalty])
    captioner.info["decoding"]["length_penalty"] = best
    captioner.info["scores"] = {}
    for beam in (1, 3, 5):
        for name, found in sets.items():
            report = _judge(captioner, name, *found, Decoding(beam_size=beam), bootstrap=1000)
            print(
                f"\n{name}, beam {beam}: {report['distinct_captions']} distinct captions of"
                f" {report['images']}"
            )
            for metric, value in report["values"].items():
                low, high = report["intervals"].get(metric, (float("nan"), float("nan")))
                print(f"  {metric:8} {100 * value:6.2f}  [{100 * low:.2f}, {100 * high:.2f}]")
            kept = ("images", "values", "intervals", "distinct_captions")
            captioner.info["scores"].setdefault(name, {})[f"beam_{beam}"] = {
                key: report[key] for key in kept
            }
    if output is not None:
        captioner.save(output)
        print(
            f"\nstored in {output}:"
            f" {sum(file.stat().st_size for file in output.iterdir()) / 1e6:.1f} MB"
        )


def _features(captioner: Captioner, examples: list[Example]) -> tuple[list[Example], torch.Tensor]:
    """The examples whose photos open, and their region features in half precision."""
    usable: list[Example] = []

    def batches() -> Iterator[torch.Tensor]:
        for start in range(0, len(examples), 32):
            pixels = []
            for example in examples[start : start + 32]:
                try:
                    pixels.append(captioner.prepare(example.path))
                    usable.append(example)
                except ImageError as error:
                    print(f"left out: {error}")
            yield captioner.backend.encode(np.stack(pixels)).half()

    return usable, torch.cat(list(batches()))


def _judge(
    captioner: Captioner,
    name: str,
    examples: list[Example],
    features: torch.Tensor,
    decoding: Decoding,
    *,
    bootstrap: int,
) -> dict[str, Any]:
    captions: dict[str, str] = {}
    for start in range(0, len(examples), 32):
        found = captioner.caption_features(features[start : start + 32].float(), decoding)
        captions |= {
            str(example.image_id): group[0].text
            for example, group in zip(examples[start : start + 32], found, strict=True)
        }
    report = judge(
        captions,
        examples,
        data=name,
        split="val",
        decoding=f"beam {decoding.beam_size}",
        bootstrap=bootstrap,
        java=False,
    )
    return report.as_json()


if __name__ == "__main__":
    run_app("make_pretrained", make)
