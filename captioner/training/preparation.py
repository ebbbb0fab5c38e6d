"""Sets up a training run: checks the data, builds or restores the network, computes features."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim.swa_utils import AveragedModel

from captioner.checkpoint import (
    KIND,
    VERSION,
    StoredParts,
    gender_clarity,
    length_penalty,
    load_parts,
    read_parts,
    repeatable_words_of,
)
from captioner.data.annotations import Dataset, Example
from captioner.network.backbones import create_encoder
from captioner.network.decoder import Decoder, DecoderConfig
from captioner.network.encoder import Encoder
from captioner.network.vocabulary import SPECIAL, Vocabulary, repeatable_words
from captioner.training.batches import TrainingSet
from captioner.training.config import BUNDLED, GENDER_CLARITY, LENGTH_PENALTY, TrainingConfig
from captioner.training.feature_cache import photo_views
from captioner.training.loss import CaptionModel
from rnnkit.checkpoint import load_weights, read_config
from rnnkit.errors import UserError
from rnnkit.metrics.tokenizer import tokenize
from rnnkit.runs import RunFolder, load_optimizer_tensors
from rnnkit.settings import check_initial, resumed_settings
from rnnkit.training import moving_average, weight_decay_groups

logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a run has come."""

    epoch: int = 0  # the last whole one
    step: int = 0
    best: dict[str, Any] | None = None  # the record of the best epoch


@dataclass
class Run:
    """A training run: its data, its network and how far it has come."""

    folder: RunFolder
    config: TrainingConfig
    accelerator: Accelerator
    datasets: Sequence[Dataset]
    data_hash: str
    vocabulary: Vocabulary
    repeatable: list[str]  # words that a caption may repeat
    length_penalty: float
    gender_clarity: float
    training: TrainingSet
    rewarded: TrainingSet  # those of them that the self-critical phase learns from
    validation: dict[str, TrainingSet]  # by data set
    model: CaptionModel
    average: AveragedModel  # the moving average of the model
    wrapped: nn.Module  # the model as accelerate runs it
    optimizer: torch.optim.Optimizer
    progress: Progress

    @property
    def validated_model(self) -> CaptionModel:
        """The network that is validated and kept."""
        model = self.average.module if self.config.ema_decay else self.model.eval()
        assert isinstance(model, CaptionModel)
        return model


def prepare_run(
    datasets: Sequence[Dataset],
    folder: RunFolder,
    config: TrainingConfig,
    accelerator: Accelerator,
    cache: Path,
    *,
    resuming: bool,
) -> Run:
    """A run that is ready to train, from its state if it is resumed.

    Everything that can be refused is checked before features are computed, which may take hours.

    Args:
        cache: where computed features are kept.
        resuming: there is a state to resume from.

    Raises: UserError if the run cannot start.
    """
    initial = _initial_parts(config)
    if initial is not None:
        config = replace(config, encoder=initial.encoder)
    state, progress = _load_state(folder, config, resuming=resuming)
    _check_enough_photos(
        sum(len(dataset.split("train")) for dataset in datasets),
        [len(dataset.split("val")) for dataset in datasets],
        accelerator.num_processes,
    )
    _check_enough_captions(config, datasets, accelerator.num_processes)
    if initial is None:
        captions = _training_captions(datasets)
        vocabulary = Vocabulary.from_captions(captions, min_count=config.min_count)
    else:
        vocabulary = initial.vocabulary
        if not resuming:  # runs of version 0.1 may contradict their checkpoint
            check_initial(config, asdict(initial.decoder), config.init)
    _check_enough_words(config, vocabulary)
    data_hash = _hash_data(vocabulary, datasets)
    if state.info.get("data_hash", data_hash) != data_hash:  # runs of version 0.1 may have none
        raise UserError(
            f"'{folder.path}' was started on other photos or captions",
            hint="resume with those, or start a new run",
        )
    encoder, decoder = _build_network(config, vocabulary, initial)
    training, validation = _load_photos(datasets, encoder, vocabulary, config, accelerator, cache)
    model = CaptionModel(encoder, decoder, config.fine_tune_stages)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = moving_average(model, config.ema_decay)
    optimizer = _optimizer(model, config)
    if resuming:
        _restore_weights(model, average, state.tensors, progress, folder)
        if accelerator.is_main_process:
            folder.forget_after(progress.step)
    average.to(accelerator.device)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    if resuming:
        device = accelerator.device
        moved = {k: v.to(device) if v.dim() else v for k, v in state.tensors.items()}
        load_optimizer_tensors(optimizer, moved)
    return Run(
        folder,
        config,
        accelerator,
        datasets,
        data_hash,
        vocabulary,
        _repeatable(datasets, config),
        *_penalty_and_clarity(config),
        training.with_captions(config.cross_entropy_references),
        training.with_captions(config.self_critical_references),
        validation,
        model,
        average,
        wrapped,
        optimizer,
        progress,
    )


# --- the state of a resumed run -------------------------------------------------------------------


@dataclass
class _State:
    tensors: dict[str, torch.Tensor]
    info: dict[str, Any]


def _load_state(
    folder: RunFolder, config: TrainingConfig, *, resuming: bool
) -> tuple[_State, Progress]:
    """What the run has saved; nothing for a new run.

    Raises: UserError if the run was started with other settings, or is to have more epochs of
        cross-entropy when those are over.
    """
    if not resuming:
        return _State({}, {}), Progress()
    tensors, info = folder.load_state()
    stored = info["settings"]
    resumed_settings(TrainingConfig, stored, None, asdict(config), folder.path)
    if config.epochs > stored["epochs"] <= info["epoch"] and config.self_critical_epochs:
        raise UserError(
            f"'{folder.path}' is past its {stored['epochs']} epochs of cross-entropy and cannot"
            " have more",
            hint=f"start a new run with --init '{folder.path}'",
        )
    return _State(tensors, info), Progress(info["epoch"], info["step"], info["best"])


def _restore_weights(
    model: CaptionModel,
    average: AveragedModel,
    tensors: dict[str, torch.Tensor],
    progress: Progress,
    folder: RunFolder,
) -> None:
    for prefix, module in (("model.", model), ("average.", average.module)):
        part = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        load_weights(module, part, source=folder.path)
    average.n_averaged.fill_(progress.step)


# --- data -----------------------------------------------------------------------------------------


def _training_captions(datasets: Sequence[Dataset]) -> Iterator[list[str]]:
    """The training captions, tokenised."""
    for dataset in datasets:
        for example in dataset.split("train"):
            yield from map(tokenize, example.captions)


def _repeatable(datasets: Sequence[Dataset], config: TrainingConfig) -> list[str]:
    """The words that a caption may repeat, also those of the checkpoint of --init.

    A few training captions may have no example of what people repeat.
    """
    own = repeatable_words(_training_captions(datasets))
    if not config.init:
        return own
    stored = read_config(initial_folder(config), kind=KIND, version=VERSION)
    return sorted({*own, *(repeatable_words_of(stored) or ())})


def _penalty_and_clarity(config: TrainingConfig) -> tuple[float, float]:
    """The length penalty and the gender clarity of the run's captions."""
    penalty, clarity = LENGTH_PENALTY, GENDER_CLARITY
    if config.init:
        stored = read_config(initial_folder(config), kind=KIND, version=VERSION)
        penalty, clarity = length_penalty(stored), gender_clarity(stored)
    return (
        penalty if config.length_penalty is None else config.length_penalty,
        clarity if config.gender_clarity is None else config.gender_clarity,
    )


def _hash_data(vocabulary: Vocabulary, datasets: Sequence[Dataset]) -> str:
    """A hash of what is learned from and validated on; photos may move to another folder."""
    digest = hashlib.sha256(json.dumps(vocabulary.words).encode())
    for dataset in datasets:
        for example in (*dataset.split("train"), *dataset.split("val")):
            row = [example.path.name, example.split, example.captions]
            digest.update(json.dumps(row).encode())
    return digest.hexdigest()[:16]


def _check_enough_photos(training: int, held_out: Sequence[int], processes: int) -> None:
    """Raises: UserError if there are too few photos to train on, or none can be validated on."""
    if training < processes or max(held_out, default=0) < 2:
        raise UserError(
            f"too few photos, {training} to train on and {sum(held_out)} to validate on: training"
            f" needs at least {processes} (one for each process), and validation 2 of one data set",
            hint="add photos, or give more of them the split that has too few",
        )


def _check_enough_captions(
    config: TrainingConfig, datasets: Sequence[Dataset], processes: int
) -> None:
    """Raises: UserError if too few photos have the captions that a phase needs."""
    for epochs, needed, flag in (
        (config.epochs, config.cross_entropy_references, "--cross-entropy-references"),
        (
            config.self_critical_epochs,
            config.self_critical_references,
            "--self-critical-references",
        ),
    ):
        photos = sum(len(e.captions) >= needed for d in datasets for e in d.split("train"))
        if needed > 1 and epochs and photos < processes:
            raise UserError(
                f"{photos} training photos have {needed} captions or more", hint=f"lower {flag}"
            )


def _load_photos(
    datasets: Sequence[Dataset],
    encoder: Encoder,
    vocabulary: Vocabulary,
    config: TrainingConfig,
    accelerator: Accelerator,
    cache: Path,
) -> tuple[TrainingSet, dict[str, TrainingSet]]:
    """The photos to train and to validate on, with their features.

    The main process computes features first, so that no two processes write to one file.
    """
    examples = [[e for e in d.examples if e.split in ("train", "val")] for d in datasets]
    paths = [example.path for group in examples for example in group]
    with accelerator.main_process_first():
        rows, unreadable = photo_views(
            encoder,
            paths,
            cache,
            accelerator.device,
            trained=config.fine_tune_stages,
            crops=config.crops,
            crop_scale=config.crop_scale,
        )
    if unreadable:
        named = ", ".join(f"{paths[i].name} ({why})" for i, why in list(unreadable.items())[:5])
        more = " ..." if len(unreadable) > 5 else ""
        logger.warning("%d photos skipped: %s%s", len(unreadable), named, more)

    def photos(chosen: Sequence[tuple[int, Example]]) -> TrainingSet:
        indices, kept = [index for index, _ in chosen], [example for _, example in chosen]
        return TrainingSet(kept, rows, indices, vocabulary, config.max_length)

    training: list[tuple[int, Example]] = []
    validation: dict[str, TrainingSet] = {}
    start = 0
    for dataset, group in zip(datasets, examples, strict=True):
        usable = [(i, e) for i, e in enumerate(group, start) if i not in unreadable]
        start += len(group)
        training += [(i, e) for i, e in usable if e.split == "train"]
        held_out = [(i, e) for i, e in usable if e.split == "val"]
        held_out = held_out[: config.validation_photos or None]
        if len(held_out) >= 2:
            validation[dataset.name] = photos(held_out)
        elif held_out:
            logger.warning(
                "%s: its only validation photo is left out, because CIDEr-D needs two", dataset.name
            )
    sizes = [len(held_out) for held_out in validation.values()]
    _check_enough_photos(len(training), sizes, accelerator.num_processes)
    return photos(training), validation


# --- the network ----------------------------------------------------------------------------------


def _initial_parts(config: TrainingConfig) -> StoredParts | None:
    """What the checkpoint of --init says of its parts; None without --init.

    Raises: UserError if it has another encoder than the one that is asked for.
    """
    if not config.init:
        return None
    source = initial_folder(config)
    parts = read_parts(read_config(source, kind=KIND, version=VERSION), source=source)
    named = config.encoder != TrainingConfig.encoder
    if named and config.encoder != parts.encoder:
        raise UserError(
            f"'{source}' was trained on {parts.encoder}",
            hint=f"leave out --encoder {config.encoder}",
        )
    return parts


def initial_folder(config: TrainingConfig) -> Path:
    """The checkpoint of --init."""
    if config.init == BUNDLED:
        return Path(str(files("captioner") / "pretrained"))
    return Path(config.init)


def _check_enough_words(config: TrainingConfig, vocabulary: Vocabulary) -> None:
    """Raises: UserError if the search would have too few words to choose from."""
    words = len(vocabulary) - len(SPECIAL)
    if words < config.beam_size:
        raise UserError(
            f"the training captions have {words} different words, counting those seen"
            f" {config.min_count} times",
            hint="lower --min-count",
        )


def _build_network(
    config: TrainingConfig, vocabulary: Vocabulary, initial: StoredParts | None
) -> tuple[Encoder, Decoder]:
    """Encoder and decoder, with the weights of --init if it is given."""
    torch.manual_seed(config.seed)
    if initial is None:
        encoder = create_encoder(
            config.encoder,
            stochastic_depth=config.stochastic_depth,
            weights=Path(config.encoder_weights) if config.encoder_weights else None,
            size=config.image_size,
            colours=config.colours,
        )
        sizes = DecoderConfig(
            len(vocabulary),
            encoder.channels,
            embedding_size=config.embedding_size,
            hidden_size=config.hidden_size,
            attention_size=config.attention_size,
            attention=config.attention,
            adaptive=config.adaptive,
            tied=config.tied,
        )
    else:
        own, sizes = initial.preprocessing, initial.decoder
        encoder = create_encoder(
            config.encoder,
            stochastic_depth=config.stochastic_depth,
            pretrained=False,
            preprocessing=replace(own, size=config.image_size or own.size),
        )
    decoder = Decoder(replace(sizes, dropout=config.dropout))
    if config.init:
        load_parts(initial_folder(config), encoder=encoder, decoder=decoder)
    encoder.unfreeze(config.fine_tune_stages)
    return encoder, decoder


def _optimizer(model: CaptionModel, config: TrainingConfig) -> torch.optim.Optimizer:
    groups = [
        *weight_decay_groups(model.decoder, config.weight_decay, part="decoder"),
        *weight_decay_groups(model.encoder, config.weight_decay, part="encoder"),
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)
