"""Training a captioner: cross-entropy with teacher forcing, then self-critical training.

All randomness of an epoch comes from the seed and the epoch's number, and the state is saved after
every epoch. A run that was killed resumes from there and ends as if nothing had happened.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captioner.checkpoint import KIND, VERSION, load_parts, save_captioner
from captioner.data.annotations import Dataset, with_names_of_their_own
from captioner.decoding.generate import FORBIDDEN, NoSentenceError, log_prob_step
from captioner.decoding.sampling import sample
from captioner.network.vocabulary import END, PAD, START
from captioner.training.batches import epoch_batches, epoch_steps
from captioner.training.confidence import LEAST_WORDS
from captioner.training.config import BUNDLED, TrainingConfig
from captioner.training.loss import Batch, CaptionModel
from captioner.training.preparation import Run, initial_folder, prepare_run
from captioner.training.self_critical import Reward, self_critical_targets, word_mask
from captioner.training.validation import confidence_of_best, validate
from rnnkit.cache import cache_folder
from rnnkit.checkpoint import read_config, update_config
from rnnkit.devices import resolve_device
from rnnkit.errors import UserError
from rnnkit.runs import STATE, RunFolder, optimizer_tensors
from rnnkit.schedules import warmup_cosine
from rnnkit.training import leave_together, start_accelerator

logger = logging.getLogger(__name__)

# With 30 steps on 120 photos a captioner reached 2.7 CIDEr-D from nothing, and 54.5 with --init.
FEW_STEPS = 500
PANELS = (
    ("loss", ("loss", "reward")),
    ("validation CIDEr-D", ("cider_d",)),
    ("validation BLEU-4", ("bleu_4",)),
    ("gradient norm", ("gradient_norm",)),
)


def train(
    datasets: Sequence[Dataset],
    output: Path,
    config: TrainingConfig,
    *,
    device: str = "auto",
    resume: bool = False,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Train a captioner; the run folder then has the best checkpoint by validation CIDEr-D.

    Args:
        datasets: their train splits are learned from; their val splits are validated on, and
            CIDEr-D is averaged over data sets.
        output: the run folder: checkpoint, metrics.jsonl, metrics.png, and state to resume from.
        device: auto, cpu, cuda or cuda:N; under torchrun each process takes a GPU of its own.
        resume: continue the run in `output`, whose settings must be those of `config`.
        cache: where computed features are kept.

    Returns: the record of the best epoch.
    Raises: UserError if the run cannot start, or the loss is no longer a number.
    """
    accelerator = start_accelerator(
        resolve_device(device),
        config.mixed_precision,
        # Before its first epoch, and in the self-critical phase, a fine-tuned CNN gets no gradient.
        unused_parameters=config.fine_tune_stages > 0
        and (config.fine_tune_from > 1 or config.self_critical_epochs > 0),
    )
    if config.batch_size < accelerator.num_processes:
        raise UserError(
            f"batch-size {config.batch_size} is less than the {accelerator.num_processes} processes"
            " that share it"
        )
    with closing(RunFolder(output, "captioner")) as folder:
        resuming = False
        if accelerator.is_main_process:
            resuming = folder.start(asdict(config), resume=resume)
            if resume and not resuming:  # killed in its first epoch, perhaps after that was logged
                folder.forget_after(0)
        accelerator.wait_for_everyone()
        resuming = resuming or (resume and (output / STATE).exists())
        run = prepare_run(
            with_names_of_their_own(datasets),
            folder,
            config,
            accelerator,
            cache or cache_folder() / "features",
            resuming=resuming,
        )
        if not resuming and accelerator.is_main_process:
            held_out = sum(map(len, run.validation.values()))
            logger.info("photos to train on: %d; to validate on: %d", len(run.training), held_out)
            _warn_of_few_steps(run)
        train_epochs(run)
        if accelerator.is_main_process and run.progress.best:
            _store_confidence(run)
        leave_together(accelerator)
        return run.progress.best or {}


def _warn_of_few_steps(run: Run) -> None:
    epochs = run.config.epochs + run.config.self_critical_epochs
    steps = epochs * (len(run.training) // min(run.config.batch_size, len(run.training)))
    if steps < FEW_STEPS and not run.config.init:
        logger.warning(
            "so few steps, %d, do not teach a network to write sentences from nothing: add photos"
            " or --epochs, or start from the bundled captioner with --init %s",
            steps,
            BUNDLED,
        )


# --- epochs ---------------------------------------------------------------------------------------


def train_epochs(run: Run) -> None:
    """Train, validate and save, epoch by epoch, to the end of both phases."""
    config, accelerator, progress = run.config, run.accelerator, run.progress
    self_critical = _SelfCritical()
    for epoch in range(progress.epoch + 1, config.epochs + config.self_critical_epochs + 1):
        torch.manual_seed(hash((config.seed, epoch, accelerator.process_index)))
        critical = epoch > config.epochs
        started = time.monotonic()
        record = train_one_epoch(run, epoch, self_critical if critical else _cross_entropy)
        if not math.isfinite(record["loss"]):
            raise _diverged(run, f"the loss is {record['loss']}")
        phase = "self-critical" if critical else "cross-entropy"
        record |= {"epoch": epoch, "step": progress.step, "phase": phase}
        record["seconds"] = round(time.monotonic() - started, 1)
        if accelerator.is_main_process:
            _validate_and_keep(run, record)
        accelerator.wait_for_everyone()
        progress.epoch = epoch
        if epoch == config.epochs and config.self_critical_epochs:
            _start_self_critical(run)
        if accelerator.is_main_process:
            save_state(run)


# (run, epoch, chosen photos (B,), inputs, words, target words in the whole step)
# -> the loss, and what else to log
LossOf = Callable[[Run, int, np.ndarray, Tensor, Tensor, int], tuple[Tensor, dict[str, Any]]]


def train_one_epoch(run: Run, epoch: int, loss_of: LossOf) -> dict[str, Any]:
    """Go through an epoch's photos. Returns: the means of loss, gradient norm and more."""
    config, accelerator = run.config, run.accelerator
    run.model.train()
    sums: dict[str, Any] = {}
    steps = 0
    photos = run.rewarded if epoch > config.epochs else run.training
    learns = config.fine_tune_from <= epoch <= config.epochs
    run.model.encoder_learns = config.fine_tune_stages > 0 and learns
    steps_per_epoch = epoch_steps(photos, config)
    processes = accelerator.process_index, accelerator.num_processes
    for chosen, inputs, words, targets in epoch_batches(photos, config, epoch, *processes):
        _set_learning_rates(run, epoch, steps, steps_per_epoch)
        inputs = inputs.to(accelerator.device, non_blocking=True)
        words = words.to(accelerator.device)
        loss, extra = loss_of(run, epoch, chosen, inputs, words, targets)
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(run.model.parameters(), config.clip_norm)
        run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)
        run.average.update_parameters(run.model)
        steps += 1
        run.progress.step += 1
        for name, value in {"loss": loss.detach(), "gradient_norm": norm, **extra}.items():
            sums[name] = sums.get(name, 0) + value
        if steps % 50 == 0 and accelerator.is_main_process:
            mean = float(sums["loss"]) / steps
            logger.info("epoch %d: step %d of %d, loss %.3f", epoch, steps, steps_per_epoch, mean)
    # Each process has the loss of its own share, scaled so that their mean is the loss of all.
    means = {
        name: accelerator.reduce(torch.as_tensor(value), reduction="mean")
        for name, value in sums.items()
    }
    return {name: float(value) / max(steps, 1) for name, value in means.items()}


def _set_learning_rates(run: Run, epoch: int, step: int, steps_per_epoch: int) -> None:
    """Warm-up and cosine, for each phase on its own."""
    c = run.config
    if epoch > c.epochs:
        first, epochs = c.epochs, c.self_critical_epochs
        peaks = {"decoder": c.self_critical_learning_rate, "encoder": 0.0}
    else:
        first, epochs = 0, c.epochs
        encoder = c.encoder_learning_rate if epoch >= c.fine_tune_from else 0.0
        peaks = {"decoder": c.learning_rate, "encoder": encoder}
    total = epochs * steps_per_epoch
    done = (epoch - 1 - first) * steps_per_epoch + step
    warmup = min(c.warmup_steps, total // 2)
    for group in run.optimizer.param_groups:
        peak = peaks[group["part"]]
        group["lr"] = warmup_cosine(done, total, peak=peak, warmup_steps=warmup)


def _diverged(run: Run, how: str) -> UserError:
    epoch = run.progress.epoch + 1
    critical = epoch > run.config.epochs
    rate = "--self-critical-learning-rate" if critical else "--learning-rate"
    kept = f" ('{run.folder.path}' keeps the best)" if run.progress.best else ""
    return UserError(f"{how} in epoch {epoch}: lower {rate} or --clip-norm{kept}")


# --- the two losses -------------------------------------------------------------------------------


def _cross_entropy(
    run: Run, epoch: int, chosen: np.ndarray, inputs: Tensor, words: Tensor, targets: int
) -> tuple[Tensor, dict[str, Any]]:
    c = run.config
    weights = (words[..., 1:] != PAD).float()
    batch = Batch(inputs, words, weights, targets / run.accelerator.num_processes)
    loss: Tensor = run.wrapped(
        batch,
        label_smoothing=c.label_smoothing,
        attention_penalty=c.attention_penalty,
        sampling_rate=c.sampling_rate * (epoch - 1) / max(c.epochs - 1, 1),
    )
    return loss, {}


class _SelfCritical:
    """Policy gradient on sampled sentences, and a share of cross-entropy.

    Sentences are sampled without dropout; their gradient is taken with it.
    """

    def __init__(self) -> None:
        self.reward: Reward | None = None  # made when the phase starts: it takes seconds

    def __call__(
        self, run: Run, epoch: int, chosen: np.ndarray, inputs: Tensor, words: Tensor, targets: int
    ) -> tuple[Tensor, dict[str, Any]]:
        accelerator = run.accelerator
        if self.reward is None:
            self.reward = Reward(
                run.rewarded.tokens,
                run.vocabulary,
                support=run.config.support_reward,
                gender_penalty=run.config.gender_penalty,
            )
        with torch.no_grad(), accelerator.autocast():
            inputs = run.model.features(inputs)  # the CNN is frozen in this phase
        sampled = _sample(run, inputs)  # (B, K, L)
        rewards = self.reward(chosen, sampled)  # (B, K)
        share = run.config.cross_entropy_share / (targets / accelerator.num_processes)
        sampled_words = accelerator.reduce(word_mask(sampled).sum(), reduction="mean")
        sentences, weights = self_critical_targets(
            sampled, rewards, words, share=share, normalizer=sampled_words
        )
        batch = Batch(inputs, sentences, weights, 1.0)
        loss: Tensor = run.wrapped(
            batch, label_smoothing=0.0, attention_penalty=0.0, sampling_rate=0.0
        )
        return loss, {"reward": rewards.mean()}


@torch.no_grad()
def _sample(run: Run, inputs: Tensor) -> Tensor:
    run.model.eval()
    with run.accelerator.autocast():
        state, memory = run.model.decoder.start(inputs)
        ids, _ = sample(
            log_prob_step(run.model.decoder),
            state,
            memory,
            start=START,
            end=END,
            forbidden=FORBIDDEN,
            num_samples=run.config.self_critical_samples,
            max_length=run.config.max_length,
        )
    run.model.train()
    return ids


def _start_self_critical(run: Run) -> None:
    """Start the second phase from the best checkpoint of the first, with a new optimiser state."""
    for model in (run.model, run.average.module):
        assert isinstance(model, CaptionModel)
        load_parts(run.folder.path, encoder=model.encoder, decoder=model.decoder)
    run.optimizer.state.clear()


# --- keeping --------------------------------------------------------------------------------------


def _validate_and_keep(run: Run, record: dict[str, Any]) -> None:
    """Validate and log an epoch; store the checkpoint if it is the best so far."""
    started = time.monotonic()
    try:
        record |= validate(run)
    except NoSentenceError:  # after a last step whose loss was still a number
        raise _diverged(run, "no sentence has a probability") from None
    record["validation_seconds"] = round(time.monotonic() - started, 1)
    run.folder.log(record)
    run.folder.draw(PANELS)
    scores = ", ".join(
        f"{name} CIDEr-D {100 * values['cider_d']:.1f} BLEU-4 {100 * values['bleu_4']:.1f}"
        for name, values in record["validation"].items()
    )
    logger.info(
        "epoch %d (%s): loss %.3f, %s, %.0f s",
        record["epoch"],
        record["phase"],
        record["loss"],
        scores,
        record["seconds"],
    )
    best = run.progress.best
    if best is None or record["cider_d"] > best["cider_d"]:
        run.progress.best = record
        model = run.validated_model
        info = _checkpoint_info(run, record)
        save_captioner(run.folder.path, model.encoder, model.decoder, run.vocabulary, info)


def _checkpoint_info(run: Run, record: dict[str, Any]) -> dict[str, Any]:
    """What the checkpoint's config says of decoding, training, data and scores."""
    sizes = asdict(run.model.decoder.config)
    return {
        "decoding": {
            "length_penalty": run.length_penalty,
            "gender_clarity": run.gender_clarity,
            "repeatable": run.repeatable,
        },
        # With --init, sizes come from a checkpoint.
        "training": {k: sizes.get(k, v) for k, v in asdict(run.config).items()},
        "data": {d.name: {s: len(d.split(s)) for s in ("train", "val")} for d in run.datasets},
        "scores": record["validation"],
        "epoch": record["epoch"],
    }


def _store_confidence(run: Run) -> None:
    """Add to the best checkpoint how sure it is of its words, unless it says so already."""
    if read_config(run.folder.path, kind=KIND, version=VERSION).get("confidence"):
        return
    fitted = confidence_of_best(run)
    if fitted is None:
        logger.info(
            "the validation captions have fewer than %d content words, too few to tell how sure the"
            " captioner is of its words",
            LEAST_WORDS,
        )
        if not run.config.init:
            return
        stored = read_config(initial_folder(run.config), kind=KIND, version=VERSION)
        if (fitted := stored.get("confidence")) is None:
            return
        logger.info("it keeps the confidence of --init, which was fitted on other captions")
    update_config(run.folder.path, {"confidence": fitted})


def save_state(run: Run) -> None:
    """Write the state that a run resumes from."""
    model, average = run.model.state_dict(), run.average.module.state_dict()
    tensors = {f"model.{name}": tensor for name, tensor in model.items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.items()}
    tensors |= optimizer_tensors(run.optimizer)
    info = {**asdict(run.progress), "data_hash": run.data_hash}
    run.folder.save_state(tensors, asdict(run.config), info)
