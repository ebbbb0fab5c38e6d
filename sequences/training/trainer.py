"""The training loop, the same for all tasks: batches of examples of similar length, AdamW, a moving
average of the weights that is scored on dev after each epoch.
"""

from __future__ import annotations

import hashlib
import math
import random
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic

import torch
from rich.console import Console

from rnnkit.checkpoint import WEIGHTS
from rnnkit.errors import UserError
from rnnkit.runs import STATE, RunFolder, load_optimizer_tensors, optimizer_tensors
from rnnkit.schedules import warmup_cosine
from rnnkit.settings import resumed_settings
from rnnkit.training import moving_average, stop_requests, weight_decay_groups
from sequences.model import KIND, Example, Model
from sequences.training.config import TrainingConfig

POOL = 50  # batches whose examples are sorted by length together


def train(
    model: Model[Example],
    examples: Sequence[Example],
    dev: Sequence[Example],
    folder: Path,
    config: TrainingConfig,
    *,
    device: torch.device,
    resume: bool = False,
    console: Console | None = None,
) -> bool:
    """Train a model; the folder is then a checkpoint (the best weights on dev) with metrics.jsonl
    and metrics.png.

    Args:
        model: an untrained one, made for these examples.

    Returns: False if it was interrupted (Ctrl-C or SIGTERM); its state is then saved, and
        `resume=True` continues as if it had not stopped.
    Raises: UserError if the folder holds another run or the loss is no longer finite.
    """
    with closing(RunFolder(folder, KIND)) as run:
        trainer = SentenceTrainer(
            model, examples, dev, run, config, device, console or Console(quiet=True)
        )
        run.start(asdict(config), resume=resume)
        if (folder / STATE).exists():
            trainer.restore()
        return trainer.run_to_end()


class SentenceTrainer(Generic[Example]):
    """One run: what changes while training, and the loop that changes it."""

    def __init__(
        self,
        model: Model[Example],
        examples: Sequence[Example],
        dev: Sequence[Example],
        run: RunFolder,
        config: TrainingConfig,
        device: torch.device,
        console: Console,
    ) -> None:
        self.model, self.examples, self.dev = model, examples, dev
        self.run, self.config, self.console = run, config, console
        model.network.to(device)
        self.network = model.network
        self.average = moving_average(self.network, config.ema_decay)
        self.optimizer = torch.optim.AdamW(
            weight_decay_groups(self.network, config.weight_decay), betas=(0.9, 0.99)
        )
        self.sizes = [model.size(example) for example in examples]
        self.steps_per_epoch = math.ceil(len(examples) / config.batch_size)
        self.total_steps = self.steps_per_epoch * config.epochs
        self.step, self.best = 0, -math.inf
        self.unreported: list[tuple[float, float]] = []  # loss and gradient norm of each step
        self.seconds_before, self.started_at = 0.0, time.monotonic()
        text = repr((list(examples), list(dev))).encode("utf-8", "surrogatepass")
        self.data_hash = hashlib.sha256(text).hexdigest()[:16]

    @property
    def epoch(self) -> float:
        """Passes over the examples so far."""
        return self.step / self.steps_per_epoch

    @property
    def seconds(self) -> float:
        """Time of training so far, including that before a resume."""
        return self.seconds_before + time.monotonic() - self.started_at

    def run_to_end(self) -> bool:
        """Train until the schedule ends (True) or a stop is requested (False)."""
        if self.step >= self.total_steps:
            self.console.print(
                f"'{self.run.path}' has already been trained to the end; more --epochs train it"
                " further"
            )
            return True
        self.started_at = time.monotonic()
        with stop_requests(self.console) as stop:
            while self.step < self.total_steps:
                self._train_epoch(stop)
                stopping = stop.is_set() and self.step < self.total_steps
                if not stopping:
                    self._keep_if_best()
                self.save()
                if stopping:
                    if not (self.run.path / WEIGHTS).exists():
                        self._keep({})
                    self.console.print(
                        f"stopped at step {self.step:,}; saved in '{self.run.path}'; continue with"
                        " --resume"
                    )
                    return False
        return True

    def _train_epoch(self, stop: threading.Event) -> None:
        """Train to the end of the epoch or the schedule, or until a stop is requested."""
        epoch, first = divmod(self.step, self.steps_per_epoch)
        seed = self.config.seed * 10_007 + epoch
        self.model.begin_epoch(self.examples, seed)
        for indices in shuffled_batches(self.sizes, self.config.batch_size, seed)[first:]:
            self._train_batch(indices)
            if self.step % self.config.log_every == 0:
                self._report()
                self._shorten_to_time_limit()
            if stop.is_set() or self.step >= self.total_steps:
                break

    def _train_batch(self, indices: Sequence[int]) -> None:
        c = self.config
        # Each step seeds its own masks, so a resumed run needs no generator's state.
        torch.manual_seed(c.seed * 1_000_003 + self.step)
        rate = warmup_cosine(
            self.step,
            self.total_steps,
            peak=c.learning_rate,
            warmup_steps=c.warmup_steps,
            final=c.final_learning_rate,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        loss = self.model.loss(self.examples, indices)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), c.clip_norm)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        self.unreported.append((loss.item(), norm.item()))
        self.step += 1

    def _report(self) -> None:
        """Write one record of the steps since the last one.

        Raises: UserError if the loss is not finite.
        """
        loss, norm = (
            sum(values) / len(self.unreported) for values in zip(*self.unreported, strict=True)
        )
        self.unreported = []
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} at step {self.step:,}",
                hint="lower --learning-rate or --clip-norm",
            )
        self.run.log({"step": self.step, "epoch": self.epoch, "loss": loss, "gradient_norm": norm})

    def _shorten_to_time_limit(self) -> None:
        if self.config.max_minutes > 0:
            affordable = int(self.step * self.config.max_minutes * 60 / self.seconds)
            planned = self.steps_per_epoch * self.config.epochs
            self.total_steps = max(self.step + 1, min(affordable, planned))

    def _keep_if_best(self) -> None:
        """Score the averaged weights on dev; keep them if they are the best so far."""
        scores = self._scores_of_average()
        best = scores[self.model.criterion] > self.best
        if best:
            self.best = scores[self.model.criterion]
            self._keep(scores)
        self.run.log({"step": self.step, "epoch": self.epoch, **scores, "best": best})
        self.run.draw([("loss", ["loss"]), (self.model.criterion.replace("_", " "), list(scores))])
        shown = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in scores.items())
        kept = " (kept)" if best else ""
        self.console.print(
            f"epoch {self.epoch:.1f}, {self.seconds / 60:.1f} min: {shown}{kept}",
            markup=False,
            highlight=False,
        )

    def _scores_of_average(self) -> dict[str, float]:
        with self._averaged():
            return self.model.scores(self.dev)

    def _averaged(self) -> _Swapped:
        return _Swapped(self.model, self.average.module)

    def _keep(self, scores: dict[str, float]) -> None:
        """Write the averaged weights into the run's folder, and what they learned from."""
        self.model.info = {
            "settings": asdict(self.config),
            "data": {
                "examples": len(self.examples),
                "dev": len(self.dev),
                "hash": self.data_hash,
            },
            "training": {
                "step": self.step,
                "epochs": round(self.epoch, 2),
                "minutes": round(self.seconds / 60, 2),
                "dev": scores,
            },
        }
        with self._averaged():
            self.model.save(self.run.path)

    def save(self) -> None:
        """Write the state from which `restore` continues exactly."""
        average = self.average.module
        assert isinstance(average, torch.nn.Module)
        self.run.save_state(
            {
                **{f"network.{name}": t for name, t in self.network.state_dict().items()},
                **{f"average.{name}": t for name, t in average.state_dict().items()},
                **optimizer_tensors(self.optimizer),
            },
            asdict(self.config),
            {
                "step": self.step,
                "total_steps": self.total_steps,
                "best": self.best if math.isfinite(self.best) else None,  # JSON has no infinity
                "elapsed": self.seconds,
                "unreported": self.unreported,
                "data_hash": self.data_hash,
            },
        )

    def restore(self) -> None:
        """Continue from the saved state; later records are dropped, because their steps are
        repeated.

        Raises: UserError if the settings or the examples are not those of the run.
        """
        tensors, info = self.run.load_state()
        resumed_settings(
            type(self.config), info["settings"], None, asdict(self.config), self.run.path
        )
        if info["data_hash"] != self.data_hash:
            raise UserError(
                f"'{self.run.path}' was started on other examples", hint="resume with those"
            )
        average = self.average.module
        assert isinstance(average, torch.nn.Module)
        self.network.load_state_dict(_under("network.", tensors))
        average.load_state_dict(_under("average.", tensors))
        load_optimizer_tensors(self.optimizer, tensors)
        self.step = info["step"]
        if self.config.epochs == info["settings"]["epochs"]:
            self.total_steps = info["total_steps"]  # a time limit may have shortened them
        self.average.n_averaged.fill_(self.step)  # one update a step
        self.seconds_before = info["elapsed"]
        self.unreported = [(loss, norm) for loss, norm in info["unreported"]]
        self.best = -math.inf if info["best"] is None else info["best"]
        self.run.forget_after(self.step)


class _Swapped:
    """While it is open, a model has another network, in evaluation mode."""

    def __init__(self, model: Model[Any], network: Any) -> None:
        self.model, self.own, self.other = model, model.network, network

    def __enter__(self) -> None:
        self.model.network = self.other.eval()

    def __exit__(self, *_: object) -> None:
        self.model.network = self.own


def shuffled_batches(sizes: Sequence[int], batch_size: int, seed: int) -> list[list[int]]:
    """The indices of all examples in random batches, each of examples of similar size."""
    generator = random.Random(seed)
    order = list(range(len(sizes)))
    generator.shuffle(order)
    batches = []
    for start in range(0, len(order), POOL * batch_size):
        pool = sorted(order[start : start + POOL * batch_size], key=lambda index: sizes[index])
        batches += [pool[at : at + batch_size] for at in range(0, len(pool), batch_size)]
    generator.shuffle(batches)
    return batches


def start_from(network: torch.nn.Module, source: Model[Any]) -> list[str]:
    """Copy what fits of a trained model's weights into an untrained model's network.

    Words and characters keep their ids if the target's vocabulary was made with the source's as
    `known`; the rows of others, and layers that differ, stay as they are.

    Returns: the names of what was copied.
    """
    copied = []
    own, stored = network.state_dict(), source.network.state_dict()
    vocabularies = ("words.embedding.weight", "words.characters.weight")
    for name, tensor in own.items():
        given = stored.get(name)
        if given is None or name.startswith(("output.", "transitions")):
            continue
        if given.shape == tensor.shape:
            tensor.copy_(given)
        elif name in vocabularies and given.shape[1] == tensor.shape[1]:
            tensor[: len(given)] = given
        else:
            continue
        copied.append(name)
    if not copied:
        raise UserError("--init has no layer of the sizes that these settings ask for")
    return copied


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
