"""A run folder: settings, metrics.jsonl and its figure, and the state that a run resumes from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from rnnkit.checkpoint import CONFIG, WEIGHTS, write_tensors
from rnnkit.errors import UserError
from rnnkit.files import naming, replace_file, write_file
from rnnkit.run_lock import RunLock
from rnnkit.settings import Settings, Values, resumed_settings, settings_from

METRICS, FIGURE, STATE = "metrics.jsonl", "metrics.png", "state.safetensors"
SETTINGS = "settings.json"
# Where the states of version 0.1 have their settings; they do not name their program.
_FORMER_KEYS = {"captioner": "config", "charlm": "settings"}


class RunFolder:
    """The folder of one training run.

    The state is a single safetensors file, with its JSON part in the header, which is replaced as a
    whole: after a crash at any moment there is either the old one or the new one.

    Args:
        program: whose run it is; the run of another program is refused.
    """

    def __init__(self, path: Path, program: str) -> None:
        self.path, self.program = path, program
        self._lock: RunLock | None = None

    def start(self, settings: Mapping[str, Any], *, resume: bool) -> bool:
        """Prepare the folder; True if there is a state to resume from.

        No other run can be started in it until `close`, or the end of this process.

        Args:
            settings: of the run, as JSON values; a new run keeps them in settings.json.

        Raises: UserError if the folder holds a run and `resume` is False, or something that is not
            a run, or if another run is at work in it.
        """
        if resume and not self.path.is_dir():
            raise UserError(f"nothing to resume: there is no run in '{self.path}'")
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = RunLock(self.path, inside=True).__enter__()
        try:
            return self._prepare(settings, resume=resume)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others start a run here."""
        if self._lock is not None:
            self._lock.__exit__()
            self._lock = None

    def _prepare(self, settings: Mapping[str, Any], *, resume: bool) -> bool:
        if resume:
            self._check_resumable()
            if (self.path / STATE).exists():
                return True
            (self.path / METRICS).unlink(missing_ok=True)  # from before the first state
        elif (self.path / STATE).exists() or (self.path / METRICS).exists():
            raise UserError(
                f"'{self.path}' already holds a run",
                hint="add --resume to continue it, or choose another --output",
            )
        elif self._holds_checkpoint():
            raise UserError(
                f"'{self.path}' holds a checkpoint, which training would overwrite",
                hint="choose another --output",
            )
        write_file(self.path / SETTINGS, (json.dumps(dict(settings), indent=1) + "\n").encode())
        return False

    def _check_resumable(self) -> None:
        records = self.records()
        # Records or a model that no run has made are not ours to delete.
        is_run = all(isinstance(record, dict) and "step" in record for record in records)
        if (self.path / STATE).exists() or (is_run and (records or not self._holds_checkpoint())):
            return
        raise UserError(
            f"nothing to resume: '{self.path}' holds something that is not a run",
            hint="choose another --output",
        )

    def _holds_checkpoint(self) -> bool:
        return (self.path / CONFIG).exists() or (self.path / WEIGHTS).exists()

    def settings(self) -> dict[str, Any] | None:
        """The settings that the run was started with; None if the folder does not say.

        Raises: UserError if the state is damaged or belongs to another program.
        """
        if (self.path / STATE).exists():
            settings = self._read_state(with_tensors=False)[1]["settings"]
        else:
            try:
                settings = json.loads((self.path / SETTINGS).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                return None
        return settings if isinstance(settings, dict) else None

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one record to metrics.jsonl. Raises: OSError naming the file."""
        path = self.path / METRICS
        with naming(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """All records of metrics.jsonl, without a last line that a crash has cut short."""
        if not (self.path / METRICS).exists():
            return []
        records = []
        for line in (self.path / METRICS).read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def forget_after(self, step: int) -> None:
        """Drop the records that are later than the state, whose steps are about to be repeated."""
        kept = [record for record in self.records() if record.get("step", 0) <= step]
        lines = "".join(json.dumps(record) + "\n" for record in kept)
        write_file(self.path / METRICS, lines.encode())

    def save_state(
        self,
        tensors: Mapping[str, torch.Tensor],
        settings: Mapping[str, Any],
        info: Mapping[str, Any],
    ) -> None:
        """Write the state; settings and info are JSON values."""
        stored = {
            name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()
        }
        header = {**info, "program": self.program, "settings": dict(settings)}
        with replace_file(self.path / STATE) as temporary:
            write_tensors(temporary, stored, {"info": json.dumps(header)})

    def load_state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """The tensors and the info that `save_state` wrote; settings are in `info["settings"]`.

        Raises: UserError if the state is damaged or belongs to another program.
        """
        return self._read_state(with_tensors=True)

    def _read_state(self, *, with_tensors: bool) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        path = self.path / STATE
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                names = list(file.keys()) if with_tensors else []
                tensors = {name: file.get_tensor(name) for name in names}
                info = json.loads((file.metadata() or {})["info"])
        except (SafetensorError, KeyError, ValueError) as error:
            raise UserError(
                f"'{path}' is damaged ({error})", hint="start the run again in another folder"
            ) from None
        former = _FORMER_KEYS.get(self.program, "")
        if isinstance(info, dict) and "program" not in info and former in info:
            info = {**info, "program": self.program, "settings": info[former]}
        if not isinstance(info, dict) or info.get("program") != self.program:
            raise UserError(
                f"'{self.path}' holds a run of another program", hint="choose another --output"
            )
        return tensors, info

    def draw(self, panels: Iterable[tuple[str, Iterable[str]]]) -> None:
        """Draw metrics.png: one panel a (label, names of metrics), each metric over its step."""
        draw_curves(self.records(), panels, self.path / FIGURE)


def run_settings(
    kind: type[Settings], run: RunFolder, config: Path | None, flags: Values, *, resume: bool
) -> Settings:
    """The settings of a run from its command line: its own where it is resumed.

    Raises: UserError as `rnnkit.settings.settings_from` and `resumed_settings` do.
    """
    stored = run.settings() if resume else None
    if stored is None:
        return settings_from(kind, config, flags)
    return resumed_settings(kind, stored, config, flags, run.path)


def draw_curves(
    records: list[dict[str, Any]], panels: Iterable[tuple[str, Iterable[str]]], path: Path
) -> None:
    """Curves of logged metrics over the training step, one panel a label."""
    from matplotlib.figure import Figure  # pyplot would choose a window system; this never does

    chosen = list(panels)
    figure = Figure(figsize=(5 * len(chosen), 3.6), layout="constrained")
    for axes, (label, names) in zip(
        figure.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True
    ):
        for name in names:
            points = [
                (record["step"], record[name]) for record in records if record.get(name) is not None
            ]
            if points:
                axes.plot(
                    *zip(*points, strict=True),
                    label=name.replace("_", " "),
                    marker="." if len(points) < 60 else None,
                )
        axes.set(xlabel="training step", ylabel=label)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, prefix: str = "optimizer."
) -> dict[str, torch.Tensor]:
    """An optimiser's per-parameter state as flat named tensors; learning rates belong to the
    schedule, not here.
    """
    state = optimizer.state_dict()["state"]
    return {
        f"{prefix}{index}.{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, torch.Tensor],
    prefix: str = "optimizer.",
) -> None:
    """Put back what `optimizer_tensors` took out; tensors under other prefixes are left alone."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            index, _, key = name.removeprefix(prefix).partition(".")
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
