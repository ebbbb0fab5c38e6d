"""Training a captioner: cross-entropy with teacher forcing, then self-critical sequence training;
exact to resume.

All randomness of an epoch comes from the seed and the epoch's number, and the state is saved after
every epoch: a run that was killed goes on from there and ends as if nothing had happened.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import Tensor, nn
from torch.nn import functional as F

from captioner.captioner import (
    FORBIDDEN,
    KIND,
    VERSION,
    generate,
    load_parts,
    log_prob_step,
    save_captioner,
    stored_parts,
    words_once,
)
from captioner.data.annotations import Dataset, Example
from captioner.decoding.beam_search import sample
from captioner.metrics.scores import score_captions
from captioner.metrics.tokenizer import tokenize
from captioner.network.backbones import create_encoder
from captioner.network.decoder import Decoder, DecoderConfig
from captioner.network.encoder import Encoder
from captioner.network.vocabulary import END, PAD, SPECIAL, START, Vocabulary, repeatable_words
from captioner.training.batches import Photos, epoch_batches
from captioner.training.config import TrainingConfig
from captioner.training.feature_cache import photo_views
from captioner.training.self_critical import Reward, self_critical_targets, word_mask
from captioner.types import Decoding
from rnnkit.cache import cache_folder
from rnnkit.checkpoint import load_weights, read_config
from rnnkit.devices import forget_accelerator, resolve_device
from rnnkit.errors import UserError
from rnnkit.runs import STATE, RunFolder, load_optimizer_tensors, optimizer_tensors

logger = logging.getLogger(__name__)

PANELS = (
    ("loss", ("loss", "reward")),
    ("validation CIDEr-D", ("cider_d",)),
    ("validation BLEU-4", ("bleu_4",)),
    ("gradient norm", ("gradient_norm",)),
)


# --- the network under training -------------------------------------------------------------------


@dataclass
class Batch:
    """What one process computes in one step: B photos with K sentences each."""

    inputs: Tensor  # (B, R, channels) features, or (B, h, w, C) what the CNN's frozen stages gave
    words: Tensor  # (B, K, T + 1) ids from <start> to <end>, then <pad>
    weights: Tensor  # (B, K, T) of each target word's loss: 1, or an advantage; 0 on padding
    normalizer: float  # loss terms are divided by it: the number of target words over all processes / processes


class CaptionModel(nn.Module):
    """Encoder and decoder with the loss inside: what DistributedDataParallel wraps.

    Args:
        trained: how many last stages of the encoder are run, and trained; the inputs are what the
            ones before give.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, trained: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.trained = encoder, decoder, trained

    def features(self, inputs: Tensor) -> Tensor:
        """(B, R, channels) of the frozen stages' output (B, h, w, C), or of what is such features
        already.
        """
        return (
            inputs.float() if inputs.dim() == 3 else self.encoder.back(inputs.float(), self.trained)
        )

    def forward(
        self,
        batch: Batch,
        *,
        label_smoothing: float,
        attention_penalty: float,
        sampling_rate: float,
    ) -> Tensor:
        """The loss of a batch: weighted negative log-likelihood, and the doubly stochastic penalty.

        The penalty asks that over a whole sentence every region be looked at about once.
        """
        targets = batch.words[..., 1:]  # (B, K, T)
        counted = targets != PAD
        given = batch.words[..., :-1].masked_fill(~counted, PAD)  # nothing follows the end
        outputs, attention = self.decoder.read(
            given, self.features(batch.inputs), sampling_rate=sampling_rate
        )
        logits = self.decoder.project(outputs)  # (N, V) of the words that count
        losses = F.cross_entropy(
            logits.float(), targets[counted], reduction="none", label_smoothing=label_smoothing
        )
        loss: Tensor = (losses * batch.weights[counted]).sum() / batch.normalizer
        if attention_penalty and self.decoder.attends:
            looked = (attention * counted.unsqueeze(-1)).sum(dim=2)  # (B, K, R)
            loss = loss + attention_penalty * (1 - looked).square().mean()
        return loss


# --- one run --------------------------------------------------------------------------------------


def train(
    datasets: Sequence[Dataset],
    output: Path,
    config: TrainingConfig,
    *,
    device: str = "auto",
    resume: bool = False,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Train a captioner; the best checkpoint by validation CIDEr-D lies in the run folder.

    Args:
        datasets: their train splits are learnt from, their val splits judge; CIDEr-D is averaged
            over data sets.
        output: the run folder: checkpoint, metrics.jsonl, metrics.png, state to resume from.
        device: auto, cpu, cuda or cuda:N; under torchrun each process takes its own.
        resume: go on with the run in `output`, with its settings.
        cache: where computed rows are kept.

    Returns: the record of the best epoch.
    Raises: UserError if the run cannot start, or the loss is no longer a number.
    """
    config.check()
    resolve_device(device)
    names = [dataset.name for dataset in datasets]
    if len(set(names)) < len(names):
        # The name comes from the file's or its folder's; scores of two sets must not fall into one.
        datasets = [
            replace(dataset, name=f"{dataset.name}-{number}")
            for number, dataset in enumerate(datasets, 1)
        ]
    run = RunFolder(output, "captioner")
    accelerator = _accelerator(device, config)
    if config.batch_size < accelerator.num_processes:
        raise UserError(
            f"batch_size {config.batch_size} is less than the {accelerator.num_processes} processes"
            " that share it"
        )
    resuming = False
    if accelerator.is_main_process:
        resuming = run.start(asdict(config), resume=resume)
        if resume and not resuming:  # killed in its first epoch, perhaps after that was logged
            run.forget_after(0)
    accelerator.wait_for_everyone()
    resuming = resuming or (resume and (output / STATE).exists())
    best = _Trainer(
        datasets, run, config, accelerator, cache or cache_folder() / "features", resuming
    ).run_epochs()
    # Processes that leave together do not tear the connection that another still reads from.
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return best


def _accelerator(device: str, config: TrainingConfig) -> Accelerator:
    chosen = device not in ("auto", "cpu") and "LOCAL_RANK" not in os.environ
    if chosen:
        os.environ["ACCELERATE_TORCH_DEVICE"] = device
    # In the self-critical phase a fine-tuned CNN gets no gradient, which DistributedDataParallel
    # must be told.
    unused = DistributedDataParallelKwargs(
        find_unused_parameters=bool(config.fine_tune_stages and config.self_critical_epochs)
    )
    # The others wait while the main process computes features or validates; after torch's ten or
    # thirty minutes they would give up.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=1))
    cpu = device == "cpu" or not torch.cuda.is_available()
    forget_accelerator()
    try:
        return Accelerator(
            cpu=cpu, mixed_precision=config.mixed_precision, kwargs_handlers=[unused, patience]
        )
    finally:
        if chosen:
            del os.environ["ACCELERATE_TORCH_DEVICE"]  # not for the next run in this process


# (epoch, chosen photos (B,), inputs, words, target words in the whole step) -> the loss and what
# else to log
LossOf = Callable[[int, np.ndarray, Tensor, Tensor, int], tuple[Tensor, dict[str, Any]]]


class _Trainer:
    """The state of a run: model, average, optimiser, data; methods in the order in which a run goes
    through them.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        run: RunFolder,
        config: TrainingConfig,
        accelerator: Accelerator,
        cache: Path,
        resuming: bool,
    ) -> None:
        self.run, self.config, self.accelerator, self.datasets = run, config, accelerator, datasets
        self.state, self.progress = (
            run.load_state() if resuming else ({}, {"epoch": 0, "step": 0, "best": None})
        )
        if resuming and self.progress["settings"] != asdict(config):
            changed = [
                name
                for name, value in asdict(config).items()
                if self.progress["settings"].get(name) != value
            ]
            raise UserError(
                f"'{run.path}' was started with other settings ({', '.join(changed)}): resume with"
                " the same, or start a new run"
            )
        # Now, not only when hours were spent on features; then those that do not open are known
        # too.
        self._check_photos(
            [len(dataset.split("train")) for dataset in datasets],
            [len(dataset.split("val")) for dataset in datasets],
        )
        initial = Path(config.init) if config.init else None
        if initial:
            encoder, _, self.vocabulary, sizes = stored_parts(
                read_config(initial, kind=KIND, version=VERSION), source=initial
            )
            if encoder != config.encoder:
                raise UserError(f"'{initial}' was trained on {encoder}: add --encoder {encoder}")
        else:
            self.vocabulary = self._vocabulary()
        self.data_hash = self._hash_data()
        if (
            resuming and self.progress.get("data_hash", self.data_hash) != self.data_hash
        ):  # older runs have none
            raise UserError(
                f"'{run.path}' was started on other photos or captions: resume with those, or start"
                " a new run"
            )
        self.repeatable = repeatable_words(self._learned())
        words = len(self.vocabulary) - len(SPECIAL)
        if words < config.beam_size:
            raise UserError(
                f"the training captions have {words} different words, counting those seen"
                f" {config.min_count} times: lower min_count"
            )
        torch.manual_seed(config.seed)
        self.encoder = create_encoder(
            config.encoder, stochastic_depth=config.stochastic_depth, pretrained=not initial
        )
        self.decoder = Decoder(
            replace(sizes, dropout=config.dropout) if initial else self._decoder_config()
        )
        if initial:
            load_parts(initial, encoder=self.encoder, decoder=self.decoder)
        self.encoder.unfreeze(
            config.fine_tune_stages
        )  # before hours are spent on features, as it refuses more stages than there are
        self._load_photos(cache)
        self.model = CaptionModel(self.encoder, self.decoder, config.fine_tune_stages).to(
            memory_format=torch.channels_last
        )  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.optimizer = self._optimizer()
        if resuming:
            self._restore()
        self.average.to(accelerator.device)
        self.wrapped, self.optimizer = accelerator.prepare(self.model, self.optimizer)
        if resuming:
            load_optimizer_tensors(
                self.optimizer,
                {k: v.to(accelerator.device) if v.dim() else v for k, v in self.state.items()},
            )
        self.reward: Reward | None = None
        self.state = {}

    # --- setting up ---

    def _vocabulary(self) -> Vocabulary:
        return Vocabulary.from_captions(self._learned(), min_count=self.config.min_count)

    def _learned(self) -> Iterator[list[str]]:
        """The training captions, tokenised."""
        return (
            tokenize(caption)
            for dataset in self.datasets
            for example in dataset.split("train")
            for caption in example.captions
        )

    def _hash_data(self) -> str:
        """Of what is learnt from and judged by; photos may have moved to another folder."""
        digest = hashlib.sha256(json.dumps(self.vocabulary.words).encode())
        for dataset in self.datasets:
            for example in (*dataset.split("train"), *dataset.split("val")):
                digest.update(
                    json.dumps([example.path.name, example.split, example.captions]).encode()
                )
        return digest.hexdigest()[:16]

    def _decoder_config(self) -> DecoderConfig:
        c = self.config
        return DecoderConfig(
            len(self.vocabulary),
            self.encoder.channels,
            embedding_size=c.embedding_size,
            hidden_size=c.hidden_size,
            attention_size=c.attention_size,
            attention=c.attention,
            adaptive=c.adaptive,
            tied=c.tied,
            dropout=c.dropout,
        )

    def _load_photos(self, cache: Path) -> None:
        """Compute or find the cached rows of all photos; the main process first, so that no two
        write one file.
        """
        examples = [
            [e for e in dataset.examples if e.split in ("train", "val")]
            for dataset in self.datasets
        ]
        paths = [e.path for group in examples for e in group]
        c = self.config
        with self.accelerator.main_process_first():
            rows, bad = photo_views(
                self.encoder,
                paths,
                cache,
                self.accelerator.device,
                trained=c.fine_tune_stages,
                crops=c.crops,
                crop_scale=c.crop_scale,
            )
        if bad:
            named = ", ".join(
                f"{paths[index].name} ({reason})" for index, reason in list(bad.items())[:5]
            )
            logger.warning(
                "%d photos skipped: %s%s", len(bad), named, " ..." if len(bad) > 5 else ""
            )
        training: list[tuple[Example, int]] = []
        self.validation: dict[str, Photos] = {}
        offset = 0
        for dataset, group in zip(self.datasets, examples, strict=True):
            usable = [(e, offset + i) for i, e in enumerate(group) if offset + i not in bad]
            offset += len(group)
            training += [pair for pair in usable if pair[0].split == "train"]
            held_out = [pair for pair in usable if pair[0].split == "val"][
                : c.validation_photos or None
            ]
            if len(held_out) >= 2:
                self.validation[dataset.name] = Photos(
                    [e for e, _ in held_out],
                    rows,
                    [i for _, i in held_out],
                    self.vocabulary,
                    c.max_length,
                )
            elif held_out:
                logger.warning(
                    "%s: its one photo to validate on is left out, as CIDEr-D needs two",
                    dataset.name,
                )
        self._check_photos([len(training)], [len(photos) for photos in self.validation.values()])
        self.training = Photos(
            [e for e, _ in training], rows, [i for _, i in training], self.vocabulary, c.max_length
        )

    def _check_photos(self, training: Sequence[int], held_out: Sequence[int]) -> None:
        """Raises: UserError if so many photos of each data set are too few to learn from, or to be
        judged by.
        """
        if (
            sum(training) < (processes := self.accelerator.num_processes)
            or max(held_out, default=0) < 2
        ):
            raise UserError(
                f"{sum(training)} photos to train on, {sum(held_out)} to validate on; at least"
                f" {processes} (one for each process) and 2 of one data set are needed: add photos,"
                " or give more of them the split that lacks them"
            )

    def _optimizer(self) -> torch.optim.Optimizer:
        c = self.config

        def groups(part: str, module: nn.Module) -> list[dict[str, Any]]:
            learnt = [parameter for parameter in module.parameters() if parameter.requires_grad]
            # Biases and norms have one dimension and nothing to gain from decay.
            decayed, free = [p for p in learnt if p.dim() > 1], [p for p in learnt if p.dim() <= 1]
            return [
                {"params": decayed, "weight_decay": c.weight_decay, "part": part},
                {"params": free, "weight_decay": 0.0, "part": part},
            ]

        chosen = groups("decoder", self.decoder) + groups("encoder", self.encoder)
        return torch.optim.AdamW(
            [group for group in chosen if group["params"]],
            lr=c.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )

    def _restore(self) -> None:
        for prefix, module in (("model.", self.model), ("average.", self.average)):
            load_weights(
                module,
                {k.removeprefix(prefix): v for k, v in self.state.items() if k.startswith(prefix)},
                source=self.run.path,
            )
        if self.accelerator.is_main_process:
            self.run.forget_after(self.progress["step"])

    # --- going through the epochs ---

    def run_epochs(self) -> dict[str, Any]:
        """Train, judge and save epoch by epoch, to the end of both phases. Returns: the record of
        the best epoch.
        """
        c = self.config
        total = c.epochs + c.self_critical_epochs
        for epoch in range(self.progress["epoch"] + 1, total + 1):
            torch.manual_seed(hash((c.seed, epoch, self.accelerator.process_index)))
            started = time.monotonic()
            record: dict[str, Any] = self._train_epoch(
                epoch, self._self_critical_loss if epoch > c.epochs else self._cross_entropy_loss
            )
            if not math.isfinite(record["loss"]):
                raise self._diverged(f"the loss is {record['loss']}")
            record |= {
                "epoch": epoch,
                "step": self.progress["step"],
                "phase": "self-critical" if epoch > c.epochs else "cross-entropy",
            }
            trained = time.monotonic()
            if self.accelerator.is_main_process:
                record |= self.validate() | {
                    "seconds": round(trained - started, 1),
                    "validation_seconds": round(time.monotonic() - trained, 1),
                }
                self._keep(record)
            self.accelerator.wait_for_everyone()
            self.progress["epoch"] = epoch
            if epoch == c.epochs and c.self_critical_epochs:
                self._start_self_critical()
            if self.accelerator.is_main_process:
                self._save_state()
        return self.progress["best"] or {}

    def _train_epoch(self, epoch: int, loss_of: LossOf) -> dict[str, Any]:
        c, accelerator = self.config, self.accelerator
        self.model.train()
        sums: dict[str, Any] = {}
        steps = 0
        size = min(c.batch_size, len(self.training))
        steps_per_epoch = len(self.training) // size
        for chosen, inputs, words, targets in epoch_batches(
            self.training, c, epoch, accelerator.process_index, accelerator.num_processes
        ):
            self._set_learning_rates(epoch, steps, steps_per_epoch)
            inputs, words = (
                inputs.to(accelerator.device, non_blocking=True),
                words.to(accelerator.device),
            )
            loss, extra = loss_of(epoch, chosen, inputs, words, targets)
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(self.model.parameters(), c.clip_norm)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            steps += 1
            self.progress["step"] += 1
            self._update_average()
            for name, value in {"loss": loss.detach(), "gradient_norm": norm, **extra}.items():
                sums[name] = sums.get(name, 0) + value
            if steps % 50 == 0 and accelerator.is_main_process:
                logger.info(
                    "epoch %d: step %d of %d, loss %.3f",
                    epoch,
                    steps,
                    steps_per_epoch,
                    float(sums["loss"]) / steps,
                )
        # Every process has the loss of its own share, scaled so that their mean is the loss of all.
        means = {
            name: accelerator.reduce(torch.as_tensor(value), reduction="mean")
            for name, value in sums.items()
        }
        return {name: float(value) / max(steps, 1) for name, value in means.items()}

    def _diverged(self, how: str) -> UserError:
        epoch = self.progress["epoch"] + 1
        rate = "self_critical_learning_rate" if epoch > self.config.epochs else "learning_rate"
        kept = f" ('{self.run.path}' keeps the best)" if self.progress["best"] else ""
        return UserError(f"{how} in epoch {epoch}: lower {rate} or clip_norm{kept}")

    def _set_learning_rates(self, epoch: int, step: int, steps_per_epoch: int) -> None:
        """Linear warm-up, then half a cosine down to zero, in each phase anew."""
        c = self.config
        critical = epoch > c.epochs
        first, epochs = (c.epochs, c.self_critical_epochs) if critical else (0, c.epochs)
        done, total = (epoch - 1 - first) * steps_per_epoch + step, epochs * steps_per_epoch
        warm = min(c.warmup_steps, total // 2)
        factor = (
            (done + 1) / warm
            if done < warm
            else 0.5 * (1 + math.cos(math.pi * (done - warm) / max(total - warm, 1)))
        )
        peaks = {
            "decoder": c.learning_rate,
            "encoder": c.encoder_learning_rate if epoch >= c.fine_tune_from else 0.0,
        }
        if critical:
            peaks = {"decoder": c.self_critical_learning_rate, "encoder": 0.0}
        for group in self.optimizer.param_groups:
            group["lr"] = peaks[group["part"]] * factor

    def _update_average(self) -> None:
        """Exponential moving average of the weights, quicker at first so that the random start is
        forgotten.
        """
        step = self.progress["step"]
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))
        learnt = [
            (kept, new.detach())
            for kept, new in zip(self.average.parameters(), self.model.parameters(), strict=True)
            if new.requires_grad
        ]
        torch._foreach_lerp_([kept for kept, _ in learnt], [new for _, new in learnt], 1 - decay)

    # --- the two losses ---

    def _cross_entropy_loss(
        self, epoch: int, chosen: np.ndarray, inputs: Tensor, words: Tensor, targets: int
    ) -> tuple[Tensor, dict[str, Any]]:
        c = self.config
        rate = c.sampling_rate * (epoch - 1) / max(c.epochs - 1, 1)
        weights = (words[..., 1:] != PAD).float()
        batch = Batch(inputs, words, weights, targets / self.accelerator.num_processes)
        return (
            self.wrapped(
                batch,
                label_smoothing=c.label_smoothing,
                attention_penalty=c.attention_penalty,
                sampling_rate=rate,
            ),
            {},
        )

    def _self_critical_loss(
        self, epoch: int, chosen: np.ndarray, inputs: Tensor, words: Tensor, targets: int
    ) -> tuple[Tensor, dict[str, Any]]:
        """Policy gradient on sentences sampled without dropout (their gradient is taken with it),
        and a share of cross-entropy.
        """
        c = self.config
        with torch.no_grad(), self.accelerator.autocast():
            inputs = self.model.features(inputs)  # the CNN is frozen in this phase
        sampled = self._sample(inputs)  # (B, K, L)
        if self.reward is None:
            self.reward = Reward(self.training.tokens, self.vocabulary)
        rewards = self.reward(chosen, sampled)  # (B, K)
        share = c.cross_entropy_share / (targets / self.accelerator.num_processes)
        sampled_words = self.accelerator.reduce(word_mask(sampled).sum(), reduction="mean")
        batch = Batch(
            inputs,
            *self_critical_targets(sampled, rewards, words, share=share, normalizer=sampled_words),
            1.0,
        )
        loss = self.wrapped(batch, label_smoothing=0.0, attention_penalty=0.0, sampling_rate=0.0)
        return loss, {"reward": rewards.mean()}

    @torch.no_grad()
    def _sample(self, inputs: Tensor) -> Tensor:
        self.model.eval()
        with self.accelerator.autocast():
            state, memory = self.decoder.start(inputs)
            ids, _ = sample(
                log_prob_step(self.decoder), state, memory, start=START, end=END, forbidden=FORBIDDEN,
                num_samples=self.config.self_critical_samples, max_length=self.config.max_length,
            )  # fmt: skip
        self.model.train()
        return ids

    def _start_self_critical(self) -> None:
        """Begin the second phase from the best checkpoint of the first, with a fresh optimiser
        state.
        """
        for model in (self.model, self.average):
            load_parts(self.run.path, encoder=model.encoder, decoder=model.decoder)
        self.optimizer.state.clear()

    # --- judging and keeping ---

    def validate(self) -> dict[str, Any]:
        """Scores of validation captions found by beam search, for each data set and their mean."""
        model = self.average if self.config.ema_decay else self.model.eval()
        decoding = Decoding(
            beam_size=self.config.beam_size,
            max_length=self.config.max_length,
            length_penalty=self.config.length_penalty,
        )
        record: dict[str, Any] = {"validation": {}}
        for name, photos in self.validation.items():
            captions = [
                tokens
                for batch in self._batches(photos)
                for tokens in self._captions(model, batch, decoding)
            ]
            scores = score_captions(captions, photos.tokens)
            record["validation"][name] = scores.values | {
                "distinct": len({tuple(tokens) for tokens in captions}),
                "images": scores.images,
            }
        for metric in ("cider_d", "bleu_4"):
            record[metric] = float(
                np.mean([scores[metric] for scores in record["validation"].values()])
            )
        return record

    def _batches(self, photos: Photos, size: int = 64) -> Iterator[Tensor]:
        for start in range(0, len(photos), size):
            yield photos.inputs(np.arange(start, min(start + size, len(photos)))).to(
                self.accelerator.device
            )

    @torch.no_grad()
    def _captions(self, model: CaptionModel, inputs: Tensor, decoding: Decoding) -> list[list[str]]:
        with self.accelerator.autocast():
            once = words_once(self.vocabulary, self.repeatable).to(self.accelerator.device)
            found = generate(model.decoder, model.features(inputs), decoding, once=once)
        if not all(
            found
        ):  # the last step's weights no longer make numbers, though its loss was one
            raise self._diverged("no sentence has a probability")
        return [self.vocabulary.tokens(group[0].ids) for group in found]

    def _keep(self, record: dict[str, Any]) -> None:
        """Log the epoch; store the checkpoint if it is the best so far."""
        best = self.progress["best"]
        self.run.log(record)
        self.run.draw(PANELS)
        scores = ", ".join(
            f"{name} CIDEr-D {s['cider_d']:.3f} BLEU-4 {s['bleu_4']:.3f}"
            for name, s in record["validation"].items()
        )
        logger.info(
            "epoch %d (%s): loss %.3f, %s, %.0f s",
            record["epoch"],
            record["phase"],
            record["loss"],
            scores,
            record["seconds"],
        )
        if best is None or record["cider_d"] > best["cider_d"]:
            self.progress["best"] = record
            model = self.average if self.config.ema_decay else self.model
            save_captioner(
                self.run.path, model.encoder, model.decoder, self.vocabulary, self._info(record)
            )

    def _info(self, record: dict[str, Any]) -> dict[str, Any]:
        data = {d.name: {s: len(d.split(s)) for s in ("train", "val")} for d in self.datasets}
        decoding = {"length_penalty": self.config.length_penalty, "repeatable": self.repeatable}
        return {
            "decoding": decoding,
            "training": asdict(self.config),
            "data": data,
            "scores": record["validation"],
            "epoch": record["epoch"],
        }

    def _save_state(self) -> None:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()} | {
            f"average.{k}": v for k, v in self.average.state_dict().items()
        }
        self.run.save_state(
            tensors | optimizer_tensors(self.optimizer),
            asdict(self.config),
            {**self.progress, "data_hash": self.data_hash},
        )
