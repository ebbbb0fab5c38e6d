"""Captions of a split's photos, made to be judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from captioner.captioner import Captioner
from captioner.data.annotations import Example, photo_path
from captioner.data.images import ImageError
from captioner.types import CaptionResult, Decoding
from rnnkit.errors import UserError


def locate_photos(
    examples: Sequence[Example], images: Path, *, allow_missing: bool, absolute_names: bool = False
) -> list[Example]:
    """The examples with the paths of their photos in a folder.

    Args:
        absolute_names: as in `read_dataset`.

    Raises: UserError naming a photo outside of the folder, or photos that do not exist, unless that
        is allowed.
    """
    located = []
    for example in examples:
        try:
            path = photo_path(images, str(example.path), absolute_names=absolute_names)
        except ValueError as error:
            raise UserError(f"'{example.path}': {error}") from None
        located.append(replace(example, path=path))
    absent = [str(example.path) for example in located if not example.path.is_file()]
    if absent and not allow_missing:
        few = ", ".join(absent[:3])
        raise UserError(
            f"{len(absent)} of {len(located)} photos do not exist, for example {few}",
            hint="--allow-missing scores the others",
        )
    return located


def encode_photos(
    captioner: Captioner, examples: Sequence[Example], *, batch_size: int = 32
) -> tuple[list[Example], Tensor, list[ImageError]]:
    """Region features of photos, to be captioned more than once.

    Returns: the examples whose photos open; their features (photos, regions, channels) in half
        precision; and why the others do not open.
    """
    usable: list[Example] = []
    errors: list[ImageError] = []
    features = []
    for start in range(0, len(examples), batch_size):
        pixels = []
        for example in examples[start : start + batch_size]:
            try:
                pixels.append(captioner.prepare(example.path))
                usable.append(example)
            except ImageError as error:
                errors.append(error)
        if pixels:
            features.append(captioner.encode(np.stack(pixels)).half())
    return usable, torch.cat(features), errors


def captions_by_id(examples: Sequence[Example], results: Iterable[CaptionResult]) -> dict[str, str]:
    """Captions by image id, from one result for each example; failed photos have none."""
    return {
        str(example.image_id): result.captions[0].text
        for example, result in zip(examples, results, strict=True)
        if result.error is None
    }


def describe_decoding(
    decoding: Decoding, *, length_penalty: float, no_repeats: bool, gender_clarity: float
) -> str:
    """How captions were made, for the report.

    Args:
        no_repeats: words may not come twice, except for those that people repeat.
        gender_clarity: how clear a gender must be to be told; 0 for no such rule.
    """
    description = (
        f"beam {decoding.beam_size}, at most {decoding.max_length} words, length penalty"
        f" {length_penalty:g}"
    )
    if no_repeats:
        # Reports of different versions are compared, so these words stay.
        description += ", no word twice but those that people repeat"
    if gender_clarity:
        description += f", gender clarity {gender_clarity:g}"
    if decoding.careful:
        description += ", careful wording"
    return description
