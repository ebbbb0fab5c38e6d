"""Turns a training run into the bundled captioner: chooses the length penalty on validation photos,
scores the captioner and stores it.

    python scripts/make_pretrained.py RUN --annotations A.json --images A/ --annotations B.json
    --images B/ --output captioner/pretrained

The penalty chosen has the highest sum of CIDEr-D and BLEU-4; CIDEr-D hardly depends on it, BLEU-4
does. How sure each word is is fitted on the validation photos too. Prints the tables of the model
card and of careful wording. The run's checkpoint is in half precision already, so what is scored
is what is stored.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from captioner import Captioner, Decoding
from captioner.data.annotations import Example, read_dataset
from captioner.evaluation.caption_split import encode_photos
from captioner.evaluation.report import judge
from captioner.network.vocabulary import repeatable_words
from captioner.training.confidence import (
    WrittenSentence,
    cross_fitted,
    fit_confidence,
    measure,
    write_sentences,
)
from rnnkit.command_line import run_app
from rnnkit.errors import UserError
from rnnkit.metrics.tokenizer import tokenize

PENALTIES = (0.0, 0.3, 0.6, 0.9, 1.2, 1.5)
STORED = ("images", "values", "intervals", "distinct_captions", "support")
Features = tuple[list[Example], torch.Tensor]  # the features are (photos, regions, channels)


def make(
    run: Annotated[Path, typer.Argument(help="Run folder or checkpoint.")],
    annotations: Annotated[
        list[Path], typer.Option(help="Captions with a val split; may be repeated.")
    ],
    images: Annotated[
        list[Path], typer.Option(help="Folder of the photos, one for each --annotations.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Where to store the checkpoint; not stored if not given.")
    ] = None,
    beam_size: Annotated[
        int, typer.Option(help="Beam with which the length penalty is chosen.")
    ] = 3,
) -> None:
    """Choose the length penalty, score the captioner and store it."""
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
    captioner.info["decoding"]["length_penalty"] = choose_penalty(captioner, sets, beam_size)
    captioner.info["scores"] = score(captioner, sets)
    written = write(captioner, sets, beam_size)
    compare_careful(captioner, sets, written, beam_size)
    captioner.info["confidence"] = fit(list(chain.from_iterable(written.values())))
    settings = captioner.info.get("training", {})
    if settings.get("init"):  # where it lay on this machine helps nobody
        settings["init"] = Path(settings["init"]).name
    if output is not None:
        captioner.save(output)
        size = sum(file.stat().st_size for file in output.iterdir())
        print(f"\nstored in {output}: {size / 1e6:.1f} MB")


def choose_penalty(captioner: Captioner, sets: dict[str, Features], beam_size: int) -> float:
    """The length penalty with the highest CIDEr-D + BLEU-4; prints a table of all."""
    print(f"CIDEr-D / BLEU-4 on validation photos at beam {beam_size}\n")
    print(f"| length penalty | {' | '.join(sets)} | mean CIDEr-D + BLEU-4 |")
    print(f"|---|{'---|' * len(sets)}---|")
    means = {}
    for penalty in PENALTIES:
        decoding = Decoding(beam_size=beam_size, length_penalty=penalty)
        reports = [_judge(captioner, name, *photos, decoding) for name, photos in sets.items()]
        scores = [
            (100 * report["values"]["cider_d"], 100 * report["values"]["bleu_4"])
            for report in reports
        ]
        means[penalty] = float(np.mean([cider_d + bleu_4 for cider_d, bleu_4 in scores]))
        cells = " | ".join(f"{cider_d:.1f} / {bleu_4:.1f}" for cider_d, bleu_4 in scores)
        print(f"| {penalty} | {cells} | {means[penalty]:.2f} |", flush=True)
    return max(means, key=lambda penalty: means[penalty])


def score(captioner: Captioner, sets: dict[str, Features]) -> dict[str, dict[str, Any]]:
    """The scores that the checkpoint keeps, by data set and beam; prints them."""
    scores: dict[str, dict[str, Any]] = {name: {} for name in sets}
    for beam in (1, 3, 5):
        for name, photos in sets.items():
            decoding = Decoding(beam_size=beam)
            report = _judge(captioner, name, *photos, decoding, bootstrap=1000)
            distinct = f"{report['distinct_captions']} distinct captions of {report['images']}"
            print(f"\n{name}, beam {beam}: {distinct}")
            for metric, value in report["values"].items():
                low, high = report["intervals"].get(metric, (float("nan"), float("nan")))
                print(f"  {metric:8} {100 * value:6.2f}  [{100 * low:.2f}, {100 * high:.2f}]")
            scores[name][f"beam_{beam}"] = {key: report[key] for key in STORED}
    return scores


def write(
    captioner: Captioner, sets: dict[str, Features], beam_size: int
) -> dict[str, list[WrittenSentence]]:
    """What the captioner writes about the photos of each data set, and what people did."""
    decoding = Decoding(beam_size=beam_size)
    return {name: write_sentences(captioner, *photos, decoding) for name, photos in sets.items()}


def fit(written: list[WrittenSentence]) -> dict[str, Any]:
    """How sure the captioner is of its words, for its config; prints how true that is."""
    sure, model = cross_fitted(written), fit_confidence(written)
    if sure is None or model is None:
        raise UserError(f"{len(written)} photos have too few words to fit the confidence on")
    print("\nconfidence, each half of the photos by a model fitted on the other half:\n")
    print("\n".join(measure(written, sure).lines()))
    return model.as_config()


def compare_careful(
    captioner: Captioner,
    sets: dict[str, Features],
    written: dict[str, list[WrittenSentence]],
    beam_size: int,
) -> None:
    """Print what careful wording changes.

    Each half of the photos is captioned with a confidence that was fitted on the other half.
    """
    kinds = ("colour", "gendered", "content")
    print(f"\n| supported, % | {' | '.join(kinds)} | content words | CIDEr-D | BLEU-4 | changed |")
    print("|---|---|---|---|---|---|---|---|")
    found: dict[str, dict[str, str]] = {name: {} for name in sets}
    for half in (0, 1):
        model = fit_confidence(
            [each for group in written.values() for each in group[1 - half :: 2]]
        )
        if model is None:
            raise UserError("there are too few words to fit the confidence on")
        captioner.info["confidence"] = model.as_config()
        for name, (examples, features) in sets.items():
            decoding = Decoding(beam_size=beam_size, careful=True)
            found[name] |= _captions(captioner, examples[half::2], features[half::2], decoding)
    for name, (examples, _) in sets.items():
        plain = {
            str(example.image_id): " ".join(each.words)
            for example, each in zip(examples, written[name], strict=True)
        }
        for label, captions in ((name, plain), (f"{name}, careful", found[name])):
            report = judge(
                captions, examples, data=name, split="val", decoding=label, bootstrap=0, java=False
            )
            values, support = report.as_json()["values"], report.as_json()["support"]["captions"]
            shares = " | ".join(f"{100 * support['values'][kind]:.1f}" for kind in kinds)
            scores = f"{100 * values['cider_d']:.1f} | {100 * values['bleu_4']:.1f}"
            changed = sum(captions[image] != plain[image] for image in plain)
            words = f"{support['content_words_per_caption']:.2f}"
            print(f"| {label} | {shares} | {words} | {scores} | {changed} of {len(plain)} |")
            print(f"  colour words: {support['words']['colour']}", flush=True)


def _features(captioner: Captioner, examples: list[Example]) -> Features:
    usable, features, errors = encode_photos(captioner, examples)
    for error in errors:
        print(f"left out: {error}")
    return usable, features


def _judge(
    captioner: Captioner,
    name: str,
    examples: list[Example],
    features: torch.Tensor,
    decoding: Decoding,
    *,
    bootstrap: int = 0,
) -> dict[str, Any]:
    report = judge(
        _captions(captioner, examples, features, decoding),
        examples,
        data=name,
        split="val",
        decoding=f"beam {decoding.beam_size}",
        bootstrap=bootstrap,
        java=False,
    )
    return report.as_json()


def _captions(
    captioner: Captioner, examples: list[Example], features: torch.Tensor, decoding: Decoding
) -> dict[str, str]:
    captions: dict[str, str] = {}
    for start in range(0, len(examples), 32):
        candidates = captioner.caption_features(features[start : start + 32].float(), decoding)
        captions |= {
            str(example.image_id): best[0].text
            for example, best in zip(examples[start : start + 32], candidates, strict=True)
        }
    return captions


if __name__ == "__main__":
    run_app("make_pretrained", make)
