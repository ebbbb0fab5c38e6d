"""Training by truncated back-propagation through time: parallel streams, the state carried from
chunk to chunk.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import random
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from rich.console import Console
from torch.nn import functional as F

from charlm.data import Vocabulary, streams
from charlm.evaluation import score_stream, score_windows
from charlm.model import CharLM
from charlm.network import Network
from charlm.training.config import TrainingSettings, learning_rate
from charlm.training.distillation import Teachers
from charlm.training.progress import Meter
from rnnkit.checkpoint import WEIGHTS
from rnnkit.devices import forget_accelerator
from rnnkit.errors import UserError
from rnnkit.runs import STATE, RunFolder, load_optimizer_tensors, optimizer_tensors

# Settings that a resumed run may change: they say what is told and saved, not what is learned.
NOT_LEARNED = ("save_minutes", "log_every")
PANELS = (
    ("nats per character", ("loss", "held_out_stream")),
    ("gradient norm before clipping", ("gradient_norm",)),
)


def train(
    text: str,
    folder: Path,
    settings: TrainingSettings,
    *,
    device: torch.device,
    resume: bool = False,
    console: Console | None = None,
) -> bool:
    """Train a model; the folder is then a checkpoint (the best held-out weights) with metrics.jsonl
    and metrics.png.

    Returns: False if it was interrupted (Ctrl-C or SIGTERM); the state is then saved and
        `resume=True` goes on exactly.
    Raises: UserError if the folder holds another run, the text is too short, or the loss is no
        longer a number.
    """
    console = console or Console(stderr=True, quiet=True)
    run = RunFolder(folder, "charlm")
    trainer = Trainer(text, run, settings, device, console)
    with trainer.accelerator.main_process_first():
        if trainer.accelerator.is_main_process:
            run.start(dataclasses.asdict(settings), resume=resume)
    if (folder / STATE).exists():
        trainer.restore()
    finished = trainer.run_to_end()
    # Processes that leave together do not tear the connection that another still reads from.
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()
    return finished


class Trainer:
    """One run: what changes while training, and the loop that changes it."""

    def __init__(
        self,
        text: str,
        run: RunFolder,
        settings: TrainingSettings,
        device: torch.device,
        console: Console,
    ) -> None:
        self.run, self.settings, self.console = run, settings, console
        self.accelerator = start_accelerator(settings.precision, device)
        self.device = self.accelerator.device
        torch.manual_seed(settings.seed)
        self.vocabulary, network = start_network(text, settings)
        self.corpus_hash = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        ids = self.vocabulary.encode(text, unknown="replace").to(self.device)
        held_out = round(len(ids) * settings.held_out)
        self.ids, self.held_out = ids[: len(ids) - held_out], ids[len(ids) - held_out :]
        self.network = network.to(self.device)
        self.average = Network(self.network.architecture).to(self.device).requires_grad_(False)
        self.average.load_state_dict(self.network.state_dict())
        self.optimizer = torch.optim.AdamW(
            weight_groups(self.network, settings.weight_decay),
            lr=settings.learning_rate,
            betas=(0.9, 0.99),
        )
        self.parallel = self.accelerator.prepare_model(self.network)
        self.streams_here = self._share_of_streams()
        length = len(streams(self.ids, settings.batch_size)[0])
        self.steps_per_epoch = math.ceil(length / settings.sequence_length)
        self.planned_steps = self.total_steps = self.steps_per_epoch * settings.epochs
        self.step, self.best, self.elapsed, self.saved_at = 0, math.inf, 0.0, time.monotonic()
        streams_here = self.streams_here.stop - self.streams_here.start
        self.state = self.network.zero_state(streams_here)
        folders = [Path(folder) for folder in settings.teachers.split(",") if folder]
        self.teachers = (
            Teachers(folders, self.vocabulary, streams_here, self.device) if folders else None
        )
        self.unreported: list[
            torch.Tensor
        ] = []  # loss and gradient norm, (2,), of each step since the last record

    def run_to_end(self) -> bool:
        """Train until the schedule ends (True) or somebody asks to stop (False)."""
        if self.step >= self.total_steps:
            self.console.print(f"'{self.run.path}' has already been trained to the end")
            return True
        meter = Meter(self)
        with stop_requests(self.console) as stop, meter.progress:
            while self.step < self.total_steps:
                self._train_to_break(meter, stop)
                finished = self.step >= self.total_steps
                stopping = self._any(stop.is_set()) and not finished
                if finished and self.unreported:
                    meter.report()
                if (
                    finished
                    or self.step % (self.steps_per_epoch * self.settings.evaluate_every) == 0
                ):
                    self._keep_if_best(meter)
                if finished or stopping or self._any(self._save_is_due()):
                    self.save()
                if stopping:
                    if self.accelerator.is_main_process and not (self.run.path / WEIGHTS).exists():
                        self._keep({})  # so that there is something to sample from
                    self.console.print(
                        f"stopped at step {self.step:,}; saved in '{self.run.path}'; continue with"
                        " --resume"
                    )
                    return False
        return True

    def _train_to_break(self, meter: Meter, stop: threading.Event) -> None:
        """Go on to the end of the epoch, or to where the schedule ends, a stop is asked for or the
        state should be saved.
        """
        s = self.settings
        epoch, first = divmod(self.step, self.steps_per_epoch)
        offset = (
            random.Random(f"{s.seed} {epoch}").randrange(len(self.ids)) if s.random_start else 0
        )
        inputs, targets = streams(self.ids, s.batch_size, offset)
        inputs, targets = (part[:, self.streams_here].contiguous() for part in (inputs, targets))
        if first == 0:
            self._set_states([torch.zeros_like(state) for state in self._states()])
        for start in range(first * s.sequence_length, len(inputs), s.sequence_length):
            chunk = slice(start, start + s.sequence_length)
            loss, norm = self._train_one_chunk(inputs[chunk], targets[chunk])
            self.unreported.append(
                torch.stack((loss, norm))
            )  # not read here: that would make the device wait at every step
            self.step += 1
            meter.characters += inputs[chunk].numel() * self.accelerator.num_processes
            if self.step % s.log_every == 0:
                meter.report()
                self._shorten_to_time_limit(meter.elapsed())
                if self._any(stop.is_set() or self._save_is_due()):
                    break
            alone = (
                self.accelerator.num_processes == 1
            )  # several agree on a stop only where they report
            if self.step >= self.total_steps or (alone and stop.is_set()):
                break

    def _train_one_chunk(
        self, inputs: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of truncated back-propagation through time. inputs, targets: (time, batch).
        Returns loss and gradient norm.
        """
        s = self.settings
        # Every step seeds its own masks, so a resumed run needs no generator's state to go on
        # exactly.
        torch.manual_seed((s.seed * 1_000_003 + self.step) * 1_009 + self.accelerator.process_index)
        self.parallel.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(s, self.step, self.total_steps)
        kept = (
            torch.rand(1, 1, self.state.shape[2], 1, device=self.device) >= s.reset_chance
            if s.reset_chance
            else 1.0
        )
        logits, state = self.parallel(inputs, self.state * kept)  # (T, B, V)
        target = targets.flatten()
        if self.teachers:
            soft = self.teachers.probabilities(inputs, kept).flatten(0, 1)
            target = torch.lerp(
                F.one_hot(target, len(self.vocabulary)).float(), soft, s.teacher_weight
            )
        loss = F.cross_entropy(
            logits.float().flatten(0, 1), target, label_smoothing=s.label_smoothing
        )
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        # Pascanu, Mikolov and Bengio 2013, algorithm 1: the norm of the whole gradient, not each of
        # its numbers.
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), s.clip_norm)
        self.optimizer.step()
        self.state = state.detach().float()
        self._update_average()
        return loss.detach(), norm.detach()

    def _update_average(self) -> None:
        # The average of a young run must forget its first, bad weights sooner.
        decay = min(self.settings.average_decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(
            list(self.average.parameters()),
            [p.detach() for p in self.network.parameters()],
            1 - decay,
        )

    def _shorten_to_time_limit(self, elapsed: float) -> None:
        if self.settings.max_minutes > 0:
            steps = min(self.step * self.settings.max_minutes * 60 / elapsed, self.planned_steps)
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
        scores: dict[str, Any] = {}
        if len(self.held_out) > 1:
            scores["held_out_stream"] = score_stream(self.average, self.held_out).nats_per_char
            scores["held_out_window-256"] = score_windows(self.average, self.held_out).nats_per_char
        best = scores.get("held_out_stream", -math.inf) < self.best or not scores
        if best:
            self.best = scores.get("held_out_stream", self.best)
            self._keep(scores)
        self.run.log(
            {"step": self.step, "epoch": self.step / self.steps_per_epoch, **scores, "best": best}
        )
        self.run.draw(PANELS)
        meter.tell_scores(scores, best, self.sample())

    def _keep(self, scores: dict[str, Any]) -> None:
        """Write the model as it stands into the run's folder, with what it learned from and how it
        scored.
        """
        corpus = {
            "characters": len(self.ids) + len(self.held_out),
            "held_out": len(self.held_out),
            "hash": self.corpus_hash,
        }
        training = {
            "step": self.step,
            "epochs": round(self.step / self.steps_per_epoch, 2),
            **scores,
        }
        self.model(
            {"settings": dataclasses.asdict(self.settings), "corpus": corpus, "training": training}
        ).save(self.run.path)

    def model(self, about: dict[str, Any] | None = None) -> CharLM:
        """The model as it stands: the averaged weights, on the CPU."""
        network = Network(self.average.architecture)
        network.load_state_dict(self.average.state_dict())
        return CharLM(network, self.vocabulary, about)

    def sample(self) -> str:
        """Some text by the model as it stands."""
        return "".join(
            self.model().sample("", length=200, temperature=0.8, seed=self.settings.seed)
        )

    def save(self) -> None:
        """Write the state from which `restore` goes on exactly."""
        states = [
            self.accelerator.gather(state.permute(2, 0, 1, 3).contiguous())
            for state in self._states()
        ]  # (B, layers, parts, H)
        if self.accelerator.is_main_process:
            tensors = {
                f"network.{name}": tensor for name, tensor in self.network.state_dict().items()
            }
            tensors |= {
                f"average.{name}": tensor for name, tensor in self.average.state_dict().items()
            }
            tensors |= optimizer_tensors(self.optimizer) | {
                f"state.{index}": state for index, state in enumerate(states)
            }
            tensors |= {
                f"unreported.{index}": values for index, values in enumerate(self.unreported)
            }
            best = self.best if self.best < math.inf else None  # JSON has no infinity
            info = {
                "step": self.step,
                "total_steps": self.total_steps,
                "best": best,
                "elapsed": self.elapsed,
            }
            self.run.save_state(
                tensors,
                dataclasses.asdict(self.settings),
                info | {"corpus_hash": self.corpus_hash},
            )
        self.saved_at = time.monotonic()

    def _save_is_due(self) -> bool:
        return time.monotonic() - self.saved_at >= self.settings.save_minutes * 60

    def restore(self) -> None:
        """Take up the saved state; later records are dropped, for their steps are done again.

        Raises: UserError if the settings or the text are not those of the run.
        """
        tensors, info = self.run.load_state()
        own = dataclasses.asdict(self.settings)
        before = info["settings"]
        changed = [
            name
            for name, value in own.items()
            if name not in NOT_LEARNED and before.get(name) != value
        ]
        if changed:
            name = changed[0]
            raise UserError(
                f"'{self.run.path}' was started with {name}={before.get(name)}, not {own[name]}:"
                " resume with its settings"
            )
        if info["corpus_hash"] != self.corpus_hash:
            raise UserError(f"'{self.run.path}' was started on another text: resume with that one")
        for name, module in (("network.", self.network), ("average.", self.average)):
            module.load_state_dict(
                {
                    key.removeprefix(name): value
                    for key, value in tensors.items()
                    if key.startswith(name)
                }
            )
        load_optimizer_tensors(self.optimizer, tensors)
        states = [
            tensors[f"state.{index}"][self.streams_here] for index in range(len(self._states()))
        ]  # (B, layers, parts, H)
        self._set_states(
            [state.permute(1, 2, 0, 3).contiguous().to(self.device) for state in states]
        )
        unreported = sum(name.startswith("unreported.") for name in tensors)
        self.unreported = [
            tensors[f"unreported.{index}"].to(self.device) for index in range(unreported)
        ]
        self.step, self.total_steps, self.elapsed = (
            info["step"],
            info["total_steps"],
            info["elapsed"],
        )
        self.best = math.inf if info["best"] is None else info["best"]
        if self.accelerator.is_main_process:
            self.run.forget_after(self.step)

    def _states(self) -> list[torch.Tensor]:
        """The state that is carried from chunk to chunk, and after it those of the teachers."""
        return [self.state, *(self.teachers.states if self.teachers else [])]

    def _set_states(self, states: list[torch.Tensor]) -> None:
        self.state = states[0]
        if self.teachers:
            self.teachers.states = states[1:]

    def _share_of_streams(self) -> slice:
        processes = self.accelerator.num_processes
        if self.settings.batch_size % processes:
            raise UserError(
                f"batch_size {self.settings.batch_size} cannot be shared by {processes} processes:"
                " use a multiple"
            )
        share = self.settings.batch_size // processes
        return slice(
            self.accelerator.process_index * share, (self.accelerator.process_index + 1) * share
        )

    def _any(self, flag: bool) -> bool:
        """Whether any process says so: all must leave the loop at one step."""
        if self.accelerator.num_processes == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.device)) > 0)


def start_network(text: str, settings: TrainingSettings) -> tuple[Vocabulary, Network]:
    """The vocabulary of a run and its network before the first step: new, or a checkpoint's, which
    learns new characters from nothing.
    """
    vocabulary = Vocabulary.of(text, min_count=settings.min_count, max_size=settings.max_vocabulary)
    if not settings.init:
        return vocabulary, Network(settings.architecture(len(vocabulary)), settings.dropout())
    initial = CharLM.load(settings.init)
    known = initial.vocabulary.symbols
    vocabulary = Vocabulary([*known, *(symbol for symbol in vocabulary if symbol not in known)])
    network = Network(
        dataclasses.replace(initial.network.architecture, vocabulary_size=len(vocabulary)),
        settings.dropout(),
    )
    with torch.no_grad():
        for parameter, stored in zip(
            network.parameters(), initial.network.parameters(), strict=True
        ):
            parameter[: len(stored)] = (
                stored  # characters are rows of embedding and output; all else is of one size
            )
    return vocabulary, network


def start_accelerator(precision: str, device: torch.device) -> Accelerator:
    """Devices, mixed precision and processes, as `accelerate launch` or `torchrun` set them up."""
    if device.type == "cuda":
        if device.index is not None:
            torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
        # Weights with dropout are new tensors; cuDNN lays them out once a chunk, which costs little
        # against the chunk.
        warnings.filterwarnings(
            "ignore", message="RNN module weights are not part of single contiguous chunk"
        )
    # The others wait while the main process scores the held-out text; after torch's ten or thirty
    # minutes they would give up.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=1))
    forget_accelerator()
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="bf16" if precision == "bfloat16" else "no",
        kwargs_handlers=[patience],
    )


def weight_groups(network: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW's parameter groups: matrices decay, biases do not."""
    matrices = [p for p in network.parameters() if p.ndim >= 2]
    biases = [p for p in network.parameters() if p.ndim < 2]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]


@contextmanager
def stop_requests(console: Console) -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that training stops between two steps; a second
    Ctrl-C stops at once.
    """
    event = threading.Event()

    def ask(number: int, frame: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()
        console.print("stopping after this step, to save the run")

    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
