"""Gives a trained captioner another CNN and more words, so that training need not begin from
nothing.

    python scripts/change_encoder.py --encoder timm:NAME --annotations A.json --images A/
    --output start
    captioner train --init start --encoder timm:NAME ...

The decoder is kept. Only its first layer is fitted anew, by ridge regression, to make of the new
CNN's regions what the old layer made of the old CNN's. Both CNNs must have the same number of
regions. A new word starts near the mean of the known ones and is as unlikely as the rarest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from captioner import Captioner
from captioner.checkpoint import save_captioner
from captioner.data.annotations import read_dataset
from captioner.data.images import open_image
from captioner.network.backbones import create_encoder
from captioner.network.decoder import Decoder
from captioner.network.encoder import Encoder
from captioner.network.vocabulary import Vocabulary
from rnnkit.command_line import run_app
from rnnkit.errors import UserError
from rnnkit.metrics.tokenizer import tokenize

RIDGES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # as shares of the mean square of a feature
KEPT_ASIDE = 10  # every tenth photo judges the penalties


def change(
    encoder: Annotated[str, typer.Option(help="The new CNN.")],
    annotations: Annotated[
        list[Path], typer.Option(help="Captions to take words from; may be given more than once.")
    ],
    images: Annotated[
        list[Path], typer.Option(help="Folder of the photos, one for each --annotations.")
    ],
    output: Annotated[Path, typer.Option(help="Folder of the new checkpoint.")],
    model: Annotated[
        Path | None, typer.Option(help="Checkpoint; the bundled one if not given.")
    ] = None,
    encoder_weights: Annotated[
        Path | None, typer.Option(help="Safetensors file with the new CNN's weights.")
    ] = None,
    image_size: Annotated[int, typer.Option(help="Pixels a side; 0 takes the CNN's own.")] = 0,
    colours: Annotated[bool, typer.Option(help="Give the decoder regions' colours too.")] = False,
    min_count: Annotated[int, typer.Option(help="Words seen less often are left out.")] = 5,
    count: Annotated[int, typer.Option(help="Photos of each data set to fit to.")] = 900,
) -> None:
    """Make the checkpoint."""
    if len(annotations) != len(images):
        raise UserError("give one --images for each --annotations")
    old = Captioner.load(model)
    new = create_encoder(encoder, weights=encoder_weights, size=image_size, colours=colours)
    if new.regions != old.encoder.regions:
        raise UserError(
            f"'{encoder}' has {new.regions} regions, but '{old.encoder_name}' has"
            f" {old.encoder.regions}",
            hint="choose another --image-size",
        )
    datasets = [
        read_dataset(file, folder).split("train")
        for file, folder in zip(annotations, images, strict=True)
    ]
    captions = (
        tokenize(text) for dataset in datasets for each in dataset for text in each.captions
    )
    vocabulary = Vocabulary.from_captions(captions, min_count=min_count)
    photos = [
        each.path
        for dataset in datasets
        for each in dataset[:: max(1, len(dataset) // count)][:count]
    ]
    with torch.no_grad():
        decoder = decoder_with_words(old, vocabulary, new.channels)
        fit_value_layer(old, new, decoder, photos)
    decoding = {key: value for key, value in old.info.items() if key == "decoding"}
    save_captioner(output, new, decoder, vocabulary, decoding)


def decoder_with_words(old: Captioner, vocabulary: Vocabulary, channels: int) -> Decoder:
    """The old decoder with other words; its first layer is untrained."""
    sizes = replace(old.decoder.config, vocabulary_size=len(vocabulary), channels=channels)
    decoder = Decoder(sizes)
    anew = ("embedding.", "output_bias", "output_weight", "value.")
    kept = {k: v for k, v in old.decoder.state_dict().items() if not k.startswith(anew)}
    decoder.load_state_dict(kept, strict=False)
    index_of = {word: index for index, word in enumerate(old.vocabulary.words)}
    known = [index for index, word in enumerate(vocabulary.words) if word in index_of]
    sources = [index_of[vocabulary.words[index]] for index in known]
    for name in ("embedding.weight", "output_weight"):
        if name in (tables := decoder.state_dict()):
            rows = old.decoder.state_dict()[name].float()  # (V, E)
            noise = 0.3 * rows.std() * torch.randn_like(tables[name])
            tables[name].copy_(rows.mean(dim=0) + noise)
            tables[name][known] = rows[sources]
    decoder.output_bias.fill_(float(old.decoder.output_bias.min()))
    decoder.output_bias[known] = old.decoder.output_bias[sources]
    print(f"{len(vocabulary)} words, {len(vocabulary) - len(known)} of them new", flush=True)
    return decoder


def fit_value_layer(old: Captioner, new: Encoder, decoder: Decoder, photos: Sequence[Path]) -> None:
    """Fit the decoder's first layer, and print how well each penalty did."""
    size = new.channels + 1
    gram = torch.zeros(size, size, dtype=torch.float64)  # (C + 1, C + 1)
    cross = torch.zeros(size, decoder.config.hidden_size, dtype=torch.float64)  # (C + 1, H)
    aside: list[tuple[Tensor, Tensor]] = []
    for number, photo in enumerate(photos):
        given, wanted = _regression_rows(old, new, photo)
        if number % KEPT_ASIDE == KEPT_ASIDE - 1:
            aside.append((given, wanted))
        else:
            gram += (given.T @ given).double()
            cross += (given.T @ wanted).double()
    if not aside:
        raise UserError(f"{len(photos)} photos are too few to fit to: give at least {KEPT_ASIDE}")
    given, wanted = (torch.cat(part) for part in zip(*aside, strict=True))
    spread = (wanted - wanted.mean(dim=0)).square().sum()
    best = torch.inf
    for ridge in RIDGES:
        penalty = ridge * gram.diagonal().mean() * torch.eye(size, dtype=torch.float64)
        penalty[-1, -1] = 0  # the bias is free
        weight = torch.linalg.solve(gram + penalty, cross).float()  # (C + 1, H)
        unexplained = float((given @ weight - wanted).square().sum() / spread)
        print(f"ridge {ridge}: {unexplained:.3f} of the variance unexplained", flush=True)
        if unexplained < best:
            best = unexplained
            decoder.value.weight.copy_(weight[:-1].T)
            decoder.value.bias.copy_(weight[-1])


def _regression_rows(old: Captioner, new: Encoder, photo: Path) -> tuple[Tensor, Tensor]:
    """The new CNN's regions with a one for the bias (R, C + 1), and what the old layer made of the
    old CNN's (R, H).
    """
    image = open_image(photo)
    wanted: Tensor = old.decoder.value(old.encode(old.prepare(image)[None]).float().cpu())[0]
    given = new(torch.from_numpy(new.preprocessing.pixels(image))[None])[0]  # (R, C)
    return torch.cat([given, torch.ones(len(given), 1)], dim=1), wanted


if __name__ == "__main__":
    run_app("change_encoder", change)
