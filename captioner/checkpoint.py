"""A captioner's checkpoint: what its config says, and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from captioner.confidence import ConfidenceModel
from captioner.network.decoder import Decoder, DecoderConfig
from captioner.network.encoder import Encoder, Preprocessing, encoder_config
from captioner.network.vocabulary import Vocabulary
from rnnkit.checkpoint import load_checkpoint, load_weights, save_checkpoint
from rnnkit.errors import UserError, problem

KIND, VERSION = "captioner", 1
FORMER_LENGTH_PENALTY = 0.9  # of checkpoints whose config does not name one


class StoredParts(NamedTuple):
    """What a checkpoint's config says of its parts."""

    encoder: str  # its name
    preprocessing: Preprocessing
    vocabulary: Vocabulary
    decoder: DecoderConfig


def read_parts(config: Mapping[str, Any], *, source: Path) -> StoredParts:
    """The parts that a checkpoint's config describes.

    Raises: UserError naming the checkpoint and a value that makes no sense.
    """
    try:
        name = config["encoder"]["name"]
        preprocessing = Preprocessing.from_config(config["encoder"]["preprocessing"])
        vocabulary, decoder = Vocabulary(config["vocabulary"]), DecoderConfig(**config["decoder"])
        if not isinstance(name, str):
            raise ValueError(f"the encoder's name must be text, not {name!r}")
        if len(vocabulary) != decoder.vocabulary_size:
            raise ValueError(
                f"{len(vocabulary)} words in the vocabulary, {decoder.vocabulary_size} in the"
                " decoder"
            )
        if not abs(penalty := length_penalty(config)) <= 100:
            raise ValueError(f"length_penalty must be from -100 to 100, not {penalty}")
        if not 0 <= (clarity := gender_clarity(config)) <= 1:
            raise ValueError(f"gender_clarity must be from 0 to 1, not {clarity}")
        frozenset(repeatable_words_of(config) or ())
        confidence_model(config)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise UserError(
            f"the config in '{source}' is damaged ({problem(error)})",
            hint="copy or train the checkpoint again",
        ) from None
    return StoredParts(name, preprocessing, vocabulary, decoder)


def length_penalty(info: Mapping[str, Any]) -> float:
    """The length penalty that was chosen for a checkpoint."""
    return float(info.get("decoding", {}).get("length_penalty", FORMER_LENGTH_PENALTY))


def gender_clarity(info: Mapping[str, Any]) -> float:
    """How clear a gender must be for a checkpoint's captions to tell it; 0 for no such rule."""
    return float(info.get("decoding", {}).get("gender_clarity", 0))


def repeatable_words_of(info: Mapping[str, Any]) -> list[str] | None:
    """The words that a caption may repeat; None if the checkpoint has no such rule."""
    words: list[str] | None = info.get("decoding", {}).get("repeatable")
    return words


def confidence_model(info: Mapping[str, Any]) -> ConfidenceModel | None:
    """How sure the checkpoint's captions are; None if it has no model of that."""
    stored = info.get("confidence")
    return None if stored is None else ConfidenceModel.from_config(stored)


def require_confidence(info: Mapping[str, Any], asked: str) -> ConfidenceModel:
    """The checkpoint's model of confidence.

    Args:
        asked: what needs it, for the message.

    Raises: UserError if it has none.
    """
    model = confidence_model(info)
    if model is None:
        raise UserError(
            f"{asked} needs to know how sure each word is, which this checkpoint does not: run"
            " scripts/fit_confidence.py on it, or train it again"
        )
    return model


def load_parts(folder: Path, *, encoder: Encoder, decoder: Decoder) -> None:
    """Load a checkpoint's weights into its two parts.

    Raises: UserError as `load_checkpoint` does, or if the weights do not fit.
    """
    tensors, _ = load_checkpoint(folder, kind=KIND, version=VERSION)
    load_part(encoder, "encoder.", tensors, source=folder)
    load_part(decoder, "decoder.", tensors, source=folder)


def load_part(
    module: torch.nn.Module, prefix: str, tensors: Mapping[str, Tensor], *, source: Path
) -> None:
    """Load those of a checkpoint's tensors whose names have the prefix into a module.

    Raises: UserError if they do not fit.
    """
    part = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    load_weights(module, part, source=source)


def save_captioner(
    folder: Path,
    encoder: Encoder,
    decoder: Decoder,
    vocabulary: Vocabulary,
    info: Mapping[str, Any],
    *,
    dtype: torch.dtype | None = torch.float16,
) -> None:
    """Write a checkpoint folder with everything that captioning needs.

    Args:
        info: more for the config, as JSON values.
        dtype: floating-point weights are stored in this type; None keeps theirs.
    """
    tensors = {
        f"{part}.{name}": tensor
        for part, module in (("encoder", encoder), ("decoder", decoder))
        for name, tensor in module.state_dict().items()
    }
    config = {
        "kind": KIND,
        "version": VERSION,
        "encoder": encoder_config(encoder),
        "decoder": asdict(decoder.config),
        **info,
        "vocabulary": list(vocabulary.words),
    }
    save_checkpoint(folder, tensors, config, dtype=dtype)
