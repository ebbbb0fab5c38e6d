"""Turns a training run into the bundled captioner: chooses the length penalty on validation photos,
scores the captioner and stores it.

    python scripts/make_pretrained.py RUN --annotations A.json --images A/ --annotations B.json
    --images B/ --output captioner/pretrained

The penalty chosen has the highest sum of CIDEr-D and BLEU-4; CIDEr-D hardly depends on it, BLEU-4
does. How sure each word is is fitted on the validation photos too. It takes part in choosing the
captions, so each half of the photos is captioned with a confidence that was fitted on the other
half. Prints the tables of the model card. The run's checkpoint is in half precision already, so
what is scored is what is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer

from captioner import Captioner, Decoding
from captioner.confidence import ConfidenceModel
from captioner.data.annotations import Example, read_dataset, with_names_of_their_own
from captioner.evaluation.caption_split import encode_photos
from captioner.evaluation.report import judge
from captioner.network.vocabulary import repeatable_words
from captioner.training.confidence import (
    WrittenSentence,
    cross_fitted,
    fit_confidence,
    fit_folds,
    measure,
    write_sentences,
)
from rnnkit.command_line import run_app
from rnnkit.errors import UserError
from rnnkit.metrics.tokenizer import tokenize

PENALTIES = (0.0, 0.3, 0.6, 0.75, 0.9, 1.2, 1.5)
CLARITIES = (0.8, 0.9, 0.98)
STORED = ("images", "values", "intervals", "distinct_captions", "support")


class Photos(NamedTuple):
    """A data set's validation photos."""

    examples: list[Example]
    features: torch.Tensor  # (photos, regions, channels)
    first: int  # how many photos of other sets come before them


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
    gender_clarity: Annotated[
        float, typer.Option(help="How clear a gender must be for a caption to tell it.")
    ] = 0.95,
) -> None:
    """Choose the length penalty, score the captioner and store it."""
    if len(annotations) != len(images):
        raise UserError(f"{len(annotations)} --annotations but {len(images)} --images")
    captioner = Captioner.load(run)
    datasets = with_names_of_their_own(
        [read_dataset(file, folder) for file, folder in zip(annotations, images, strict=True)]
    )
    learned = (
        tokenize(caption)
        for dataset in datasets
        for example in dataset.split("train")
        for caption in example.captions
    )
    captioner.info.pop("confidence", None)
    captioner.info["decoding"] = {
        "repeatable": repeatable_words(learned),
        "gender_clarity": gender_clarity,
    }
    sets: dict[str, Photos] = {}
    for dataset in datasets:
        before = sum(len(photos.examples) for photos in sets.values())
        sets[dataset.name] = _encode(captioner, dataset.split("val"), before)
    captioner.info["decoding"]["length_penalty"] = choose_penalty(captioner, sets, beam_size)
    written = write(captioner, sets, beam_size)
    models = fit_halves(written)
    compare(captioner, sets, models, beam_size)
    captioner.info["scores"] = score(captioner, sets, models)
    captioner.info["confidence"] = fit(written, models)
    settings = captioner.info.get("training", {})
    if settings.get("init"):  # where it lay on this machine helps nobody
        settings["init"] = Path(settings["init"]).name
    if output is not None:
        captioner.save(output)
        size = sum(file.stat().st_size for file in output.iterdir())
        print(f"\nstored in {output}: {size / 1e6:.1f} MB")


def choose_penalty(captioner: Captioner, sets: dict[str, Photos], beam_size: int) -> float:
    """The length penalty with the highest CIDEr-D + BLEU-4; prints a table of all."""
    print(f"CIDEr-D / BLEU-4 on validation photos at beam {beam_size}\n")
    print(f"| length penalty | {' | '.join(sets)} | mean CIDEr-D + BLEU-4 |")
    print(f"|---|{'---|' * len(sets)}---|")
    means = {}
    for penalty in PENALTIES:
        captioner.info["decoding"]["length_penalty"] = penalty
        written = write(captioner, sets, beam_size)
        first, _ = cross_fitted(written, fit_halves(written))
        scores = []
        for name, photos in sets.items():
            own = first[photos.first : photos.first + len(photos.examples)]
            captions = {
                str(example.image_id): " ".join(each.words)
                for example, each in zip(photos.examples, own, strict=True)
            }
            values = _report(name, photos, captions, Decoding(beam_size=beam_size))["values"]
            scores.append((100 * values["cider_d"], 100 * values["bleu_4"]))
        means[penalty] = float(np.mean([cider_d + bleu_4 for cider_d, bleu_4 in scores]))
        cells = " | ".join(f"{cider_d:.1f} / {bleu_4:.1f}" for cider_d, bleu_4 in scores)
        print(f"| {penalty} | {cells} | {means[penalty]:.2f} |", flush=True)
    return max(means, key=lambda penalty: means[penalty])


def score(
    captioner: Captioner, sets: dict[str, Photos], models: Sequence[ConfidenceModel]
) -> dict[str, dict[str, Any]]:
    """The scores that the checkpoint keeps, by data set and beam; prints them."""
    scores: dict[str, dict[str, Any]] = {name: {} for name in sets}
    for beam in (1, 3, 5):
        for name, photos in sets.items():
            decoding = Decoding(beam_size=beam)
            report = _judge(captioner, name, photos, decoding, models, bootstrap=1000)
            distinct = f"{report['distinct_captions']} distinct captions of {report['images']}"
            print(f"\n{name}, beam {beam}: {distinct}")
            for metric, value in report["values"].items():
                low, high = report["intervals"].get(metric, (float("nan"), float("nan")))
                print(f"  {metric:8} {100 * value:6.2f}  [{100 * low:.2f}, {100 * high:.2f}]")
            scores[name][f"beam_{beam}"] = {key: report[key] for key in STORED}
    return scores


def write(
    captioner: Captioner, sets: dict[str, Photos], beam_size: int
) -> list[list[WrittenSentence]]:
    """What the captioner writes about the photos of all data sets, and what people did."""
    decoding = Decoding(beam_size=beam_size, num_captions=beam_size)
    return [
        group
        for photos in sets.values()
        for group in write_sentences(captioner, photos.examples, photos.features, decoding)
    ]


def fit_halves(written: list[list[WrittenSentence]]) -> list[ConfidenceModel]:
    """For the photos in even places and for the others, a model that they did not fit."""
    models = fit_folds(written)
    if models is None:
        raise UserError(f"{len(written)} photos have too few words to fit the confidence on")
    return models


def fit(written: list[list[WrittenSentence]], models: Sequence[ConfidenceModel]) -> dict[str, Any]:
    """How sure the captioner is of its words, for its config; prints how true that is."""
    print("\nconfidence, each half of the photos by a model fitted on the other half:\n")
    print("\n".join(measure(*cross_fitted(written, models)).lines()))
    model = fit_confidence(list(chain.from_iterable(written)))
    assert model is not None  # twice as many words as `fit_halves` had
    return model.as_config()


def compare(
    captioner: Captioner,
    sets: dict[str, Photos],
    models: Sequence[ConfidenceModel],
    beam_size: int,
) -> None:
    """Print what choosing by confidence, clear gender and careful wording each change."""
    kinds = ("colour", "gendered", "content")
    print(f"\n| supported, % | {' | '.join(kinds)} | content words | CIDEr-D | BLEU-4 | changed |")
    print("|---|---|---|---|---|---|---|---|")
    settings: list[tuple[str, dict[str, Any], Sequence[ConfidenceModel]]] = [
        ("the likeliest", {"gender_clarity": 0.0}, ()),
        ("the likeliest, clear gender", {}, ()),
        ("the surest, any gender", {"gender_clarity": 0.0}, models),
        ("as it is", {}, models),
        *((f"gender clarity {c}", {"gender_clarity": c}, models) for c in CLARITIES),
        ("careful", {"careful": True}, models),
    ]
    for name, photos in sets.items():
        before: dict[str, str] = {}
        for label, options, used in settings:
            decoding = Decoding(beam_size=beam_size, **options)
            captions = _captions(captioner, photos, decoding, used)
            report = _report(name, photos, captions, decoding)
            values, support = report["values"], report["support"]["captions"]
            shares = " | ".join(f"{100 * support['values'][kind]:.1f}" for kind in kinds)
            scores = f"{100 * values['cider_d']:.1f} | {100 * values['bleu_4']:.1f}"
            words = f"{support['content_words_per_caption']:.2f}"
            if label == "as it is":
                before = captions
            changed = sum(captions[image] != text for image, text in before.items())
            print(f"| {name}, {label} | {shares} | {words} | {scores} | {changed} |")
            counts = ", ".join(f"{kind} {support['words'][kind]}" for kind in kinds[:2])
            print(f"  words: {counts}", flush=True)


def _encode(captioner: Captioner, examples: list[Example], before: int) -> Photos:
    usable, features, errors = encode_photos(captioner, examples)
    for error in errors:
        print(f"left out: {error}")
    return Photos(usable, features, before)


def _judge(
    captioner: Captioner,
    name: str,
    photos: Photos,
    decoding: Decoding,
    models: Sequence[ConfidenceModel] = (),
    *,
    bootstrap: int = 0,
) -> dict[str, Any]:
    captions = _captions(captioner, photos, decoding, models)
    return _report(name, photos, captions, decoding, bootstrap=bootstrap)


def _report(
    name: str, photos: Photos, captions: dict[str, str], decoding: Decoding, *, bootstrap: int = 0
) -> dict[str, Any]:
    return judge(
        captions,
        photos.examples,
        data=name,
        split="val",
        decoding=f"beam {decoding.beam_size}",
        bootstrap=bootstrap,
        java=False,
    ).as_json()


def _captions(
    captioner: Captioner,
    photos: Photos,
    decoding: Decoding,
    models: Sequence[ConfidenceModel] = (),
) -> dict[str, str]:
    """Captions by image id, of each share of the photos with one of the models if there are any."""
    captions: dict[str, str] = {}
    folds = max(len(models), 1)
    for fold in range(folds):
        captioner.info["confidence"] = models[fold].as_config() if models else None
        share = slice((fold - photos.first) % folds, None, folds)
        examples, features = photos.examples[share], photos.features[share]
        for start in range(0, len(examples), 32):
            found = captioner.caption_features(features[start : start + 32].float(), decoding)
            for example, best in zip(examples[start : start + 32], found, strict=True):
                captions[str(example.image_id)] = best[0].text
    return captions


if __name__ == "__main__":
    run_app("make_pretrained", make)
