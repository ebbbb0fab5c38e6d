"""Training by truncated back-propagation through time: parallel streams, the state carried from chunk to chunk."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch.nn import functional as F

from charlm.corpus import Vocabulary, streams
from charlm.distillation import Teachers
from charlm.evaluation import score_stream, score_windows
from charlm.model import CharLM
from charlm.network import Architecture, Dropout, Network
from rnnkit.errors import UserError
from rnnkit.runs import RunFolder, load_optimizer_tensors, optimizer_tensors
from rnnkit.settings import setting

PANELS = (("nats per character", ("loss", "held_out_stream")), ("gradient norm before clipping", ("gradient_norm",)))


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that shapes a run. The defaults suit a megabyte of text."""

    cell: str = setting("lstm", "Recurrent cell: rnn, gru or lstm.")
    hidden_size: int = setting(512, "Units of each recurrent layer.")
    num_layers: int = setting(2, "Recurrent layers.")
    embedding_size: int = setting(128, "Numbers that stand for an input character.")
    tied: bool = setting(False, "The output layer uses the embedding's matrix (sizes must be equal).")
    min_count: int = setting(1, "Characters seen less often become one unknown symbol.")
    max_vocabulary: int = setting(5000, "At most so many characters, the most frequent; the rest become the unknown symbol.")
    held_out: float = setting(
        0.1, "Fraction of the text, its last part, kept for choosing the best weights; 0 trains on all and keeps the last."
    )
    sequence_length: int = setting(128, "Characters in a chunk: how far back gradients flow.")
    batch_size: int = setting(64, "Parallel streams.")
    random_start: bool = setting(True, "Start the streams at another place of the text each epoch.")
    reset_chance: float = setting(0.0, "Chance, at each chunk and stream, that the state starts from zero instead of carrying over.")
    epochs: int = setting(30, "Passes over the text.")
    max_minutes: float = setting(0.0, "Shorten the schedule so that it ends within this time; 0 is no limit.")
    learning_rate: float = setting(0.002, "Peak learning rate of AdamW.")
    final_learning_rate: float = setting(0.00002, "Where the cosine ends.")
    warmup_steps: int = setting(200, "Steps over which the learning rate rises to its peak.")
    weight_decay: float = setting(0.01, "AdamW's weight decay; biases have none.")
    clip_norm: float = setting(1.0, "Gradients of a larger norm are scaled down to this norm.")
    label_smoothing: float = setting(0.0, "Share of the target spread over all characters.")
    average_decay: float = setting(
        0.0, "Decay of an exponential moving average of the weights, which is what is kept; 0 keeps the weights themselves."
    )
    dropout_token: float = setting(0.0, "Chance of blanking a whole input character.")
    dropout_input: float = setting(0.0, "Dropout on the embedding.")
    dropout_hidden: float = setting(0.0, "Dropout between layers.")
    dropout_output: float = setting(0.0, "Dropout on the last hidden state.")
    dropout_weight: float = setting(0.0, "Dropout of hidden-to-hidden weights.")
    teachers: str = setting("", "Folders of models, separated by commas, whose mean prediction is learned beside the text.")
    teacher_weight: float = setting(0.5, "Share of the teachers' prediction in the target.")
    precision: str = setting("float32", "float32 or bfloat16 (mixed precision).")
    evaluate_every: int = setting(1, "Epochs between scores on the held-out part.")
    save_minutes: float = setting(2.0, "Minutes between saves of the state from which --resume goes on.")
    log_every: int = setting(20, "Steps between records in metrics.jsonl.")
    seed: int = setting(1, "Seed of weights, masks and starts.")

    def __post_init__(self) -> None:
        for name in ("min_count", "max_vocabulary", "sequence_length", "batch_size", "epochs", "evaluate_every", "log_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("held_out", "reset_chance", "label_smoothing", "average_decay", "teacher_weight"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}")
        if self.precision not in ("float32", "bfloat16"):
            raise UserError(f"precision must be float32 or bfloat16, not {self.precision!r}")
        self.architecture(1), self.dropout()

    def architecture(self, vocabulary_size: int) -> Architecture:
        return Architecture(vocabulary_size, self.cell, self.hidden_size, self.num_layers, self.embedding_size, self.tied)

    def dropout(self) -> Dropout:
        return Dropout(self.dropout_token, self.dropout_input, self.dropout_hidden, self.dropout_output, self.dropout_weight)


def train(
    text: str, folder: Path, settings: TrainingSettings, *, device: torch.device, resume: bool = False, console: Console | None = None
) -> bool:
    """Train a model; the folder is then a checkpoint (the best held-out weights) with metrics.jsonl and metrics.png.

    Returns: False if it was interrupted (Ctrl-C or SIGTERM); the state is then saved and `resume=True` goes on exactly.
    Raises: UserError if the folder holds another run, the text is too short, or the loss is no longer a number.
    """
    console = console or Console(stderr=True, quiet=True)
    run = RunFolder(folder)
    trainer = Trainer(text, run, settings, device, console)
    with trainer.accelerator.main_process_first():
        going_on = run.start(resume=resume or not trainer.accelerator.is_main_process)
    if going_on:
        trainer.restore()
    return trainer.run_to_end()


class Trainer:
    """One run: what changes while training, and the loop that changes it."""

    def __init__(self, text: str, run: RunFolder, settings: TrainingSettings, device: torch.device, console: Console) -> None:
        self.run, self.settings, self.console = run, settings, console
        self.accelerator = start_accelerator(settings.precision, device)
        self.device = self.accelerator.device
        self.vocabulary = Vocabulary.of(text, min_count=settings.min_count, max_size=settings.max_vocabulary)
        self.corpus_hash = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        ids = self.vocabulary.encode(text, unknown="replace").to(self.device)
        held_out = round(len(ids) * settings.held_out)
        self.ids, self.held_out = ids[: len(ids) - held_out], ids[len(ids) - held_out :]
        torch.manual_seed(settings.seed)
        self.network = Network(settings.architecture(len(self.vocabulary)), settings.dropout()).to(self.device)
        self.average = Network(self.network.architecture).to(self.device).requires_grad_(False)
        self.average.load_state_dict(self.network.state_dict())
        self.optimizer = torch.optim.AdamW(weight_groups(self.network, settings.weight_decay), lr=settings.learning_rate, betas=(0.9, 0.99))
        self.parallel = self.accelerator.prepare_model(self.network)
        self.streams_here = self._share_of_streams()
        length = (len(self.ids) - 1) // settings.batch_size
        self.steps_per_epoch = max(1, math.ceil(length / settings.sequence_length))
        self.planned_steps = self.total_steps = self.steps_per_epoch * settings.epochs
        self.step, self.best, self.elapsed, self.saved_at = 0, math.inf, 0.0, time.monotonic()
        streams_here = self.streams_here.stop - self.streams_here.start
        self.state = self.network.zero_state(streams_here)
        folders = [Path(folder) for folder in settings.teachers.split(",") if folder]
        self.teachers = Teachers(folders, self.vocabulary, streams_here, self.device) if folders else None

    def run_to_end(self) -> bool:
        """Train until the schedule ends (True) or somebody asks to stop (False)."""
        meter = Meter(self)
        with stop_requests() as stop, meter.progress:
            while self.step < self.total_steps:
                self._train_to_break(meter, stop)
                finished = self.step >= self.total_steps
                stopping = self._any(stop.is_set()) and not finished
                if finished or self.step % (self.steps_per_epoch * self.settings.evaluate_every) == 0:
                    self._keep_if_best(meter)
                if finished or stopping or self._any(self._save_is_due()):
                    self.save()
                if stopping:
                    self.console.print(f"stopped at step {self.step:,}; saved in '{self.run.path}'; go on with --resume")
                    return False
        return True

    def _train_to_break(self, meter: Meter, stop: threading.Event) -> None:
        """Go on to the end of the epoch, or to where the schedule ends, a stop is asked for or the state should be saved."""
        s = self.settings
        epoch, first = divmod(self.step, self.steps_per_epoch)
        offset = (
            int(torch.randint(len(self.ids), (), generator=torch.Generator().manual_seed(s.seed + 7919 * epoch))) if s.random_start else 0
        )
        inputs, targets = streams(self.ids, s.batch_size, offset)
        inputs, targets = (part[:, self.streams_here].contiguous() for part in (inputs, targets))
        if first == 0:
            self._set_states([torch.zeros_like(state) for state in self._states()])
        for start in range(first * s.sequence_length, len(inputs), s.sequence_length):
            chunk = slice(start, start + s.sequence_length)
            loss, norm = self._train_one_chunk(inputs[chunk], targets[chunk])
            self.step += 1
            meter.count(loss, norm, inputs[chunk].numel() * self.accelerator.num_processes)
            if self.step % s.log_every == 0:
                meter.report()
                self._shorten_to_time_limit(meter.elapsed())
                if self._any(stop.is_set() or self._save_is_due()):
                    break
            if self.step >= self.total_steps:
                break

    def _train_one_chunk(self, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of truncated back-propagation through time. inputs, targets: (time, batch). Returns loss and gradient norm."""
        s = self.settings
        # Every step seeds its own masks, so a resumed run needs no generator's state to go on exactly.
        torch.manual_seed((s.seed * 1_000_003 + self.step) * 1_009 + self.accelerator.process_index)
        self.parallel.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(s, self.step, self.total_steps)
        kept = torch.rand(1, 1, self.state.shape[2], 1, device=self.device) >= s.reset_chance if s.reset_chance else 1.0
        logits, state = self.parallel(inputs, self.state * kept)  # (T, B, V)
        target = targets.flatten()
        if self.teachers:
            soft = self.teachers.probabilities(inputs, kept).flatten(0, 1)
            target = torch.lerp(F.one_hot(target, len(self.vocabulary)).float(), soft, s.teacher_weight)
        loss = F.cross_entropy(logits.float().flatten(0, 1), target, label_smoothing=s.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        # Pascanu, Mikolov and Bengio 2013, algorithm 1: the norm of the whole gradient, not each of its numbers.
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), s.clip_norm)
        self.optimizer.step()
        self.state = state.detach().float()
        self._update_average()
        return loss.detach(), norm.detach()

    def _update_average(self) -> None:
        # The average of a young run must forget its first, bad weights sooner.
        decay = min(self.settings.average_decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), [p.detach() for p in self.network.parameters()], 1 - decay)

    def _shorten_to_time_limit(self, elapsed: float) -> None:
        if self.settings.max_minutes > 0:
            affordable = torch.tensor(self.step * self.settings.max_minutes * 60 / elapsed, device=self.device)
            if self.accelerator.num_processes > 1:
                torch.distributed.broadcast(affordable, 0)
            self.total_steps = max(self.step + 1, min(self.planned_steps, int(affordable)))

    def _keep_if_best(self, meter: Meter) -> None:
        """Score the averaged weights on the held-out text; keep them if they are the best so far, or if nothing is held out."""
        if not self.accelerator.is_main_process:
            return
        scores: dict[str, Any] = {}
        if len(self.held_out) > 1:
            scores["held_out_stream"] = score_stream(self.average, self.held_out).nats_per_char
            scores["held_out_window-256"] = score_windows(self.average, self.held_out).nats_per_char
        best = scores.get("held_out_stream", -math.inf) < self.best or not scores
        if best:
            self.best = scores.get("held_out_stream", self.best)
            about = {
                "settings": dataclasses.asdict(self.settings),
                "corpus_hash": self.corpus_hash,
                "corpus_characters": len(self.ids) + len(self.held_out),
            }
            self.model(about | {"training": {"step": self.step, "epochs": round(self.step / self.steps_per_epoch, 2), **scores}}).save(
                self.run.path
            )
        self.run.log({"step": self.step, "epoch": self.step / self.steps_per_epoch, **scores, "best": best})
        self.run.draw(PANELS)
        meter.tell_scores(scores, best, self.sample())

    def model(self, about: dict[str, Any] | None = None) -> CharLM:
        """The model as it stands: the averaged weights."""
        return CharLM(self.average, self.vocabulary, about)

    def sample(self) -> str:
        """Some text by the model as it stands."""
        return "".join(self.model().sample("", length=200, temperature=0.8, seed=self.settings.seed))

    def save(self) -> None:
        """Write the state from which `restore` goes on exactly."""
        states = [self.accelerator.gather(state.permute(2, 0, 1, 3).contiguous()) for state in self._states()]  # (B, layers, parts, H)
        if self.accelerator.is_main_process:
            tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
            tensors |= optimizer_tensors(self.optimizer) | {f"state.{index}": state for index, state in enumerate(states)}
            info = {
                "step": self.step,
                "total_steps": self.total_steps,
                "best": self.best if self.best < math.inf else None,
                "elapsed": self.elapsed,
            }
            self.run.save_state(tensors, info | {"settings": dataclasses.asdict(self.settings), "corpus_hash": self.corpus_hash})
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
        changed = [name for name, value in own.items() if before.get(name) != value]
        if changed:
            name = changed[0]
            raise UserError(f"'{self.run.path}' was started with {name}={before.get(name)}, not {own[name]}: resume with its settings")
        if info["corpus_hash"] != self.corpus_hash:
            raise UserError(f"'{self.run.path}' was started on another text: resume with that one")
        for name, module in (("network.", self.network), ("average.", self.average)):
            module.load_state_dict({key.removeprefix(name): value for key, value in tensors.items() if key.startswith(name)})
        load_optimizer_tensors(self.optimizer, tensors)
        states = [tensors[f"state.{index}"][self.streams_here] for index in range(len(self._states()))]  # (B, layers, parts, H)
        self._set_states([state.permute(1, 2, 0, 3).contiguous().to(self.device) for state in states])
        self.step, self.total_steps, self.elapsed = info["step"], info["total_steps"], info["elapsed"]
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
            raise UserError(f"batch_size {self.settings.batch_size} cannot be shared by {processes} processes: use a multiple")
        share = self.settings.batch_size // processes
        return slice(self.accelerator.process_index * share, (self.accelerator.process_index + 1) * share)

    def _any(self, flag: bool) -> bool:
        """Whether any process says so: all must leave the loop at one step."""
        if self.accelerator.num_processes == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.device)) > 0)


def start_accelerator(precision: str, device: torch.device) -> Accelerator:
    """Devices, mixed precision and processes, as `accelerate launch` or `torchrun` set them up."""
    if device.type == "cuda":
        if device.index is not None:
            torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
        # Weights with dropout are new tensors; cuDNN lays them out once a chunk, which costs little against the chunk.
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
    return Accelerator(cpu=device.type == "cpu", mixed_precision="bf16" if precision == "bfloat16" else "no")


def weight_groups(network: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW's parameter groups: matrices decay, biases do not."""
    matrices = [p for p in network.parameters() if p.ndim >= 2]
    biases = [p for p in network.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": biases, "weight_decay": 0.0}]


def learning_rate(settings: TrainingSettings, step: int, total_steps: int) -> float:
    """Linear warm-up, then a cosine from the peak to the final learning rate (Loshchilov and Hutter 2017, equation 5, one period)."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = min(1.0, (step - settings.warmup_steps) / max(1, total_steps - settings.warmup_steps))
    low, high = settings.final_learning_rate, settings.learning_rate
    return low + (high - low) * (1 + math.cos(math.pi * done)) / 2


class Meter:
    """Means of loss and gradient norm since the last record, and the progress bar."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]:.1f}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.3f}, {task.fields[speed]:,.0f} chars/s, left"),
            TimeRemainingColumn(),
            console=trainer.console,
            disable=not trainer.accelerator.is_main_process,
        )
        self.task = self.progress.add_task("", total=trainer.total_steps, completed=trainer.step, epoch=0.0, loss=math.nan, speed=0.0)
        self.started = time.monotonic() - trainer.elapsed
        self._restart()

    def _restart(self) -> None:
        self.losses: list[torch.Tensor] = []
        self.norms: list[torch.Tensor] = []
        self.characters, self.since = 0, time.monotonic()

    def elapsed(self) -> float:
        """Seconds of training so far, earlier sessions of the run included."""
        self.trainer.elapsed = time.monotonic() - self.started
        return self.trainer.elapsed

    def count(self, loss: torch.Tensor, norm: torch.Tensor, characters: int) -> None:
        # Nothing is read off the device here: that would make it wait at every step.
        self.losses.append(loss)
        self.norms.append(norm)
        self.characters += characters

    def report(self) -> None:
        """Write one record. Raises: UserError if the loss is not finite."""
        trainer = self.trainer
        loss, norm = (torch.stack(values).mean().item() for values in (self.losses, self.norms))
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} at step {trainer.step:,}: lower --learning-rate or --clip-norm ('{trainer.run.path}' keeps the best)"
            )
        speed = self.characters / (time.monotonic() - self.since)
        epoch = trainer.step / trainer.steps_per_epoch
        if trainer.accelerator.is_main_process:
            rate = learning_rate(trainer.settings, trainer.step - 1, trainer.total_steps)
            trainer.run.log(
                {
                    "step": trainer.step,
                    "epoch": epoch,
                    "loss": loss,
                    "gradient_norm": norm,
                    "learning_rate": rate,
                    "chars_per_second": speed,
                }
            )
        self.progress.update(self.task, completed=trainer.step, total=trainer.total_steps, epoch=epoch, loss=loss, speed=speed)
        self._restart()

    def tell_scores(self, scores: dict[str, Any], best: bool, sample: str) -> None:
        told = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in scores.items()) or "nothing held out"
        epoch = self.trainer.step / self.trainer.steps_per_epoch
        minutes = self.elapsed() / 60
        self.trainer.console.print(
            f"epoch {epoch:.1f}, {minutes:.1f} min: {told}{' (kept)' if best else ''}\n  {sample!r}", markup=False, highlight=False
        )
        self.since = time.monotonic()


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that training stops between two steps; a second Ctrl-C stops at once."""
    event = threading.Event()

    def ask(number: int, frame: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
