"""Training by truncated back-propagation through time: parallel streams, the state carried from
chunk to chunk.
"""

from __future__ import annotations

import hashlib
import math
import random
import threading
import time
import warnings
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch.nn import functional as F

from charlm.data import streams
from charlm.evaluation import score_stream, score_windows
from charlm.model import CharLM
from charlm.network import Network
from charlm.training.config import BUNDLED, TrainingConfig
from charlm.training.distillation import Teachers
from charlm.training.progress import Meter
from charlm.vocabulary import CharacterVocabulary
from rnnkit.checkpoint import WEIGHTS
from rnnkit.devices import cpu_has_bf16
from rnnkit.errors import UserError
from rnnkit.runs import STATE, RunFolder, load_optimizer_tensors, optimizer_tensors
from rnnkit.schedules import warmup_cosine
from rnnkit.settings import check_initial, resumed_settings
from rnnkit.training import (
    leave_together,
    moving_average,
    start_accelerator,
    stop_requests,
    weight_decay_groups,
)

FEW_STEPS = 200  # the usual warm-up
PANELS = (
    ("nats per character", ("loss", "held_out_stream")),
    ("gradient norm before clipping", ("gradient_norm",)),
)


def train(
    text: str,
    folder: Path,
    config: TrainingConfig,
    *,
    device: torch.device,
    resume: bool = False,
    console: Console | None = None,
) -> bool:
    """Train a model; the folder is then a checkpoint (the best held-out weights) with metrics.jsonl
    and metrics.png.

    Returns: False if it was interrupted (Ctrl-C or SIGTERM); its state is then saved, and
        `resume=True` continues as if it had not stopped.
    Raises: UserError if the folder holds another run, the text is too short, or the loss is no
        longer finite.
    """
    console = console or Console(stderr=True, quiet=True)
    with closing(RunFolder(folder, "charlm")) as run:
        if config.init and not resume:  # runs of version 0.1 may contradict their checkpoint
            check_initial(config, asdict(_initial_model(config).network.architecture), config.init)
        trainer = Trainer(text, run, config, device, console)
        with trainer.accelerator.main_process_first():
            if trainer.accelerator.is_main_process:
                run.start(asdict(config), resume=resume)
        if (folder / STATE).exists():
            trainer.restore()
        else:
            trainer.warn_of_few_steps()
        finished = trainer.run_to_end()
        leave_together(trainer.accelerator)
        return finished


class Trainer:
    """One run: what changes while training, and the loop that changes it."""

    def __init__(
        self,
        text: str,
        run: RunFolder,
        config: TrainingConfig,
        device: torch.device,
        console: Console,
    ) -> None:
        self.run, self.config, self.console = run, config, console
        self.accelerator = start_accelerator(device, config.mixed_precision)
        self.device = self.accelerator.device
        if self.device.type == "cuda":
            _prepare_cuda()
        torch.manual_seed(config.seed)
        self.vocabulary, network = start_network(text, config)
        on_cpu, cell = self.device.type == "cpu", network.architecture.cell
        if on_cpu and cell == "lstm" and config.mixed_precision == "bf16" and not cpu_has_bf16():
            raise UserError(
                "this CPU cannot compute an LSTM in bf16", hint="use --mixed-precision no"
            )
        self.corpus_hash = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        ids = self.vocabulary.encode(text, unknown="replace").to(self.device)
        held_out = round(len(ids) * config.held_out)
        self.ids, self.held_out = ids[: len(ids) - held_out], ids[len(ids) - held_out :]
        self.network = network.to(self.device)
        self.average = moving_average(self.network, config.ema_decay)
        self.optimizer = torch.optim.AdamW(
            weight_decay_groups(self.network, config.weight_decay),
            lr=config.learning_rate,
            betas=(0.9, 0.99),
        )
        self.parallel = self.accelerator.prepare_model(self.network)
        self.streams_here = self._share_of_streams()
        length = len(streams(self.ids, config.batch_size)[0])
        self.steps_per_epoch = math.ceil(length / config.sequence_length)
        self.planned_steps = self.total_steps = self.steps_per_epoch * config.epochs
        self.step, self.best = 0, math.inf
        streams_here = self.streams_here.stop - self.streams_here.start
        self.state = self.network.zero_state(streams_here)
        folders = [Path(folder) for folder in config.teachers.split(",") if folder]
        self.teachers = (
            Teachers(folders, self.vocabulary, streams_here, self.device) if folders else None
        )
        # Loss and gradient norm, (2,), of each step since the last record.
        self.unreported: list[torch.Tensor] = []
        self.characters, self.reported_at = 0, time.monotonic()  # of this process, likewise
        self.seconds_before, self.started_at = 0.0, time.monotonic()
        self.saved_at = time.monotonic()

    @property
    def epoch(self) -> float:
        """Passes over the text so far."""
        return self.step / self.steps_per_epoch

    @property
    def seconds(self) -> float:
        """Time of training so far, including that before a resume."""
        return self.seconds_before + time.monotonic() - self.started_at

    @property
    def averaged(self) -> Network:
        """The network with the moving average of the weights."""
        network = self.average.module
        assert isinstance(network, Network)
        return network

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step."""
        c = self.config
        return warmup_cosine(
            step,
            self.total_steps,
            peak=c.learning_rate,
            warmup_steps=min(c.warmup_steps, self.total_steps // 2),
            final=c.final_learning_rate,
        )

    def warn_of_few_steps(self) -> None:
        """Say so if the run is too short to learn much."""
        if self.total_steps < FEW_STEPS and not self.config.init:
            self.console.print(
                f"{self.total_steps} steps are too few to learn much from nothing: use a longer"
                " text, more --epochs or a smaller --batch-size, or start from another model with"
                " --init",
                highlight=False,
            )

    def run_to_end(self) -> bool:
        """Train until the schedule ends (True) or a stop is requested (False)."""
        if self.step >= self.total_steps:
            self.console.print(
                f"'{self.run.path}' has already been trained to the end; more --epochs train it"
                " further"
            )
            return True
        if self._train_to_end():
            return True
        self.console.print(
            f"stopped at step {self.step:,}; saved in '{self.run.path}'; continue with --resume"
        )
        return False

    def _train_to_end(self) -> bool:
        """The same, without what is said at the end."""
        main = self.accelerator.is_main_process
        meter = Meter(self.console, step=self.step, total_steps=self.total_steps, shown=main)
        self.started_at = self.reported_at = time.monotonic()
        with stop_requests(self.console) as stop, meter:
            while self.step < self.total_steps:
                self._train_to_break(meter, stop)
                finished = self.step >= self.total_steps
                stopping = self._any(stop.is_set()) and not finished
                if finished and self.unreported:
                    self._report(meter)
                if finished or self.step % (self.steps_per_epoch * self.config.evaluate_every) == 0:
                    self._keep_if_best(meter)
                if finished or stopping or self._any(self._save_is_due()):
                    self.save()
                if stopping:
                    if main and not (self.run.path / WEIGHTS).exists():
                        self._keep({})  # so that there is something to sample from
                    return False
        return True

    def _train_to_break(self, meter: Meter, stop: threading.Event) -> None:
        """Train to the end of the epoch or the schedule, or until a stop is requested or the state
        is due to be saved.
        """
        c = self.config
        epoch, first = divmod(self.step, self.steps_per_epoch)
        offset = (
            random.Random(f"{c.seed} {epoch}").randrange(len(self.ids)) if c.random_start else 0
        )
        inputs, targets = streams(self.ids, c.batch_size, offset)
        inputs, targets = (part[:, self.streams_here].contiguous() for part in (inputs, targets))
        if first == 0:
            self._set_states([torch.zeros_like(state) for state in self._states()])
        alone = self.accelerator.num_processes == 1
        for start in range(first * c.sequence_length, len(inputs), c.sequence_length):
            chunk = slice(start, start + c.sequence_length)
            loss, norm = self._train_one_chunk(inputs[chunk], targets[chunk])
            # Not read here, which would make the device wait at every step.
            self.unreported.append(torch.stack((loss, norm)))
            self.step += 1
            self.characters += inputs[chunk].numel()
            if self.step % c.log_every == 0:
                self._report(meter)
                self._shorten_to_time_limit(self.seconds)
                if self._any(stop.is_set() or self._save_is_due()):
                    break
            # Several processes agree on a stop only where they report.
            if self.step >= self.total_steps or (alone and stop.is_set()):
                break

    def _train_one_chunk(
        self, inputs: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of truncated back-propagation through time.

        Args:
            inputs, targets: (time, batch).

        Returns: the loss, and the gradient's norm before clipping.
        """
        c = self.config
        # Each step seeds its own masks, so a resumed run needs no generator's state.
        torch.manual_seed((c.seed * 1_000_003 + self.step) * 1_009 + self.accelerator.process_index)
        self.parallel.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        kept = (
            torch.rand(1, 1, self.state.shape[2], 1, device=self.device) >= c.reset_chance
            if c.reset_chance
            else 1.0
        )
        logits, state = self.parallel(inputs, self.state * kept)  # (T, B, V)
        target = targets.flatten()  # (T * B,), or (T * B, V) with teachers
        if self.teachers:
            soft = self.teachers.probabilities(inputs, kept).flatten(0, 1)
            target = torch.lerp(
                F.one_hot(target, len(self.vocabulary)).float(), soft, c.teacher_weight
            )
        loss = F.cross_entropy(
            logits.float().flatten(0, 1), target, label_smoothing=c.label_smoothing
        )
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        # Pascanu, Mikolov and Bengio 2013, algorithm 1: the norm of the whole gradient, not each of
        # its numbers.
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), c.clip_norm)
        self.optimizer.step()
        self.state = state.detach().float()
        self.average.update_parameters(self.network)
        return loss.detach(), norm.detach()

    def _report(self, meter: Meter) -> None:
        """Write one record of the steps since the last one.

        Raises: UserError if the loss is not finite.
        """
        loss, norm = torch.stack(self.unreported).mean(dim=0).tolist()
        self.unreported = []
        if not math.isfinite(loss):
            kept = (self.run.path / WEIGHTS).exists()
            raise UserError(
                f"the loss is {loss} at step {self.step:,}",
                hint="lower --learning-rate or --clip-norm"
                + (f" ('{self.run.path}' keeps the best weights)" if kept else ""),
            )
        characters = self.characters * self.accelerator.num_processes
        speed = characters / (time.monotonic() - self.reported_at)
        if self.accelerator.is_main_process:
            self.run.log(
                {
                    "step": self.step,
                    "epoch": self.epoch,
                    "loss": loss,
                    "gradient_norm": norm,
                    "learning_rate": self.learning_rate(self.step - 1),
                    "chars_per_second": speed,
                }
            )
        meter.update(self.step, self.total_steps, epoch=self.epoch, loss=loss, speed=speed)
        self.characters, self.reported_at = 0, time.monotonic()

    def _shorten_to_time_limit(self, seconds: float) -> None:
        if self.config.max_minutes > 0:
            steps = min(self.step * self.config.max_minutes * 60 / seconds, self.planned_steps)
            affordable = torch.tensor(steps, dtype=torch.float64, device=self.device)
            if self.accelerator.num_processes > 1:
                torch.distributed.broadcast(affordable, 0)
            self.total_steps = max(self.step + 1, int(affordable))

    def _keep_if_best(self, meter: Meter) -> None:
        """Score the averaged weights on the held-out text; keep them if they are the best so far,
        or if nothing is held out.
        """
        if not self.accelerator.is_main_process:
            return
        scores: dict[str, float] = {}
        if len(self.held_out) > 1:
            network = self.averaged
            scores["held_out_stream"] = score_stream(network, self.held_out).nats_per_char
            scores["held_out_window-256"] = score_windows(network, self.held_out).nats_per_char
        best = scores.get("held_out_stream", -math.inf) < self.best or not scores
        if best:
            self.best = scores.get("held_out_stream", self.best)
            self._keep(scores)
        self.run.log({"step": self.step, "epoch": self.epoch, **scores, "best": best})
        self.run.draw(PANELS)
        minutes = self.seconds / 60
        sample = self.sample()
        meter.print_scores(scores, epoch=self.epoch, minutes=minutes, kept=best, sample=sample)
        self.reported_at = time.monotonic()

    def _keep(self, scores: dict[str, float]) -> None:
        """Write the model as it stands into the run's folder, with what it learned from and how it
        scored.
        """
        corpus = {
            "characters": len(self.ids) + len(self.held_out),
            "held_out": len(self.held_out),
            "hash": self.corpus_hash,
        }
        training = {"step": self.step, "epochs": round(self.epoch, 2), **scores}
        # With --init, sizes come from a checkpoint.
        sizes = asdict(self.network.architecture)
        settings = {name: sizes.get(name, value) for name, value in asdict(self.config).items()}
        self.model({"settings": settings, "corpus": corpus, "training": training}).save(
            self.run.path
        )

    def model(self, info: dict[str, Any] | None = None) -> CharLM:
        """The model as it stands: the averaged weights, on the CPU."""
        network = Network(self.network.architecture)
        network.load_state_dict(self.averaged.state_dict())
        return CharLM(network, self.vocabulary, info)

    def sample(self) -> str:
        """Some text by the model as it stands."""
        return "".join(self.model().sample(length=200, temperature=0.8, seed=self.config.seed))

    def save(self) -> None:
        """Write the state from which `restore` continues exactly."""
        states = [
            self.accelerator.gather(state.permute(2, 0, 1, 3).contiguous())
            for state in self._states()
        ]  # (B, layers, parts, H)
        if self.accelerator.is_main_process:
            self.run.save_state(
                {
                    **_prefixed("network.", self.network.state_dict()),
                    **_prefixed("average.", self.averaged.state_dict()),
                    **optimizer_tensors(self.optimizer),
                    **{f"state.{index}": state for index, state in enumerate(states)},
                    **{f"unreported.{index}": pair for index, pair in enumerate(self.unreported)},
                },
                asdict(self.config),
                {
                    "step": self.step,
                    "total_steps": self.total_steps,
                    "best": self.best if self.best < math.inf else None,  # JSON has no infinity
                    "elapsed": self.seconds,
                    "corpus_hash": self.corpus_hash,
                },
            )
        self.saved_at = time.monotonic()

    def _save_is_due(self) -> bool:
        return time.monotonic() - self.saved_at >= self.config.save_minutes * 60

    def restore(self) -> None:
        """Continue from the saved state; later records are dropped, because their steps are
        repeated.

        Raises: UserError if the settings or the text are not those of the run.
        """
        tensors, info = self.run.load_state()
        resumed_settings(TrainingConfig, info["settings"], None, asdict(self.config), self.run.path)
        if info["corpus_hash"] != self.corpus_hash:
            raise UserError(
                f"'{self.run.path}' was started on another text", hint="resume with that one"
            )
        self.network.load_state_dict(_under("network.", tensors))
        self.averaged.load_state_dict(_under("average.", tensors))
        load_optimizer_tensors(self.optimizer, tensors)
        states = [
            tensors[f"state.{index}"][self.streams_here] for index in range(len(self._states()))
        ]  # (B, layers, parts, H)
        self._set_states(
            [state.permute(1, 2, 0, 3).contiguous().to(self.device) for state in states]
        )
        unreported = len(_under("unreported.", tensors))
        self.unreported = [
            tensors[f"unreported.{index}"].to(self.device) for index in range(unreported)
        ]
        self.step = info["step"]
        if self.config.epochs == info["settings"]["epochs"]:
            self.total_steps = info["total_steps"]  # a time limit may have shortened them
        self.average.n_averaged.fill_(self.step)  # one update a step
        self.seconds_before = info["elapsed"]
        self.best = math.inf if info["best"] is None else info["best"]
        if self.accelerator.is_main_process:
            self.run.forget_after(self.step)

    def _states(self) -> list[torch.Tensor]:
        """The state carried from chunk to chunk, followed by those of the teachers."""
        return [self.state, *(self.teachers.states if self.teachers else [])]

    def _set_states(self, states: list[torch.Tensor]) -> None:
        self.state = states[0]
        if self.teachers:
            self.teachers.states = states[1:]

    def _share_of_streams(self) -> slice:
        processes = self.accelerator.num_processes
        if self.config.batch_size % processes:
            raise UserError(
                f"batch-size {self.config.batch_size} cannot be shared by {processes} processes",
                hint="use a multiple",
            )
        share = self.config.batch_size // processes
        first = self.accelerator.process_index * share
        return slice(first, first + share)

    def _any(self, flag: bool) -> bool:
        """Whether any process says so: all must leave the loop at the same step."""
        if self.accelerator.num_processes == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.device)) > 0)


def start_network(text: str, config: TrainingConfig) -> tuple[CharacterVocabulary, Network]:
    """The vocabulary of a run and its network before the first step.

    The network is new, or a checkpoint's, which learns new characters from scratch.
    """
    vocabulary = CharacterVocabulary.of(
        text, min_count=config.min_count, max_size=config.max_vocabulary
    )
    if not config.init:
        return vocabulary, Network(config.architecture(len(vocabulary)), config.dropout())
    initial = _initial_model(config)
    known = initial.vocabulary.symbols
    vocabulary = CharacterVocabulary(
        [*known, *(symbol for symbol in vocabulary if symbol not in known)]
    )
    architecture = replace(initial.network.architecture, vocabulary_size=len(vocabulary))
    network = Network(architecture, config.dropout())
    pairs = zip(network.parameters(), initial.network.parameters(), strict=True)
    with torch.no_grad():
        for parameter, stored in pairs:
            # Characters are rows of embedding and output; everything else has the same size.
            parameter[: len(stored)] = stored
    return vocabulary, network


def _initial_model(config: TrainingConfig) -> CharLM:
    """The model of --init."""
    return CharLM.load(None if config.init == BUNDLED else config.init)


def _prepare_cuda() -> None:
    torch.set_float32_matmul_precision("high")
    # Weights with dropout are new tensors; cuDNN lays them out once a chunk, which is cheap.
    warnings.filterwarnings(
        "ignore", message="RNN module weights are not part of single contiguous chunk"
    )


def _prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
