"""A run folder: metrics.jsonl, the figure drawn from it, and one file from which training goes on
exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from rnnkit.checkpoint import CONFIG, WEIGHTS, write_tensors
from rnnkit.errors import UserError

METRICS, FIGURE, STATE = "metrics.jsonl", "metrics.png", "state.safetensors"


class RunFolder:
    """The folder of one training run.

    The state is a single safetensors file (its JSON part in the header), replaced by a rename:
    after a kill at any moment either the old or the new one is there, whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, *, resume: bool) -> bool:
        """Make the folder ready; True if there is a state to go on from.

        Raises: UserError if the folder holds a run already and resume was not asked for, or
            something other than a run.
        """
        if resume:
            if not self.path.is_dir():
                raise UserError(f"nothing to resume: there is no run at '{self.path}'")
            if (self.path / STATE).exists():
                return True
            # A folder with records or a model that no run made is not for this one to empty.
            if not all(
                isinstance(record, dict) and "step" in record for record in self.records()
            ) or (not self.records() and self._holds_checkpoint()):
                raise UserError(
                    f"nothing to resume: '{self.path}' holds something other than a run; choose"
                    " another --output"
                )
            (self.path / METRICS).unlink(
                missing_ok=True
            )  # records from before the first state are made again
            return False
        if (self.path / STATE).exists() or (self.path / METRICS).exists():
            raise UserError(
                f"'{self.path}' holds a run already: add --resume to continue it, or choose another"
                " --output"
            )
        if self._holds_checkpoint():
            raise UserError(
                f"'{self.path}' holds a checkpoint, which training would overwrite: choose another"
                " --output"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        return False

    def _holds_checkpoint(self) -> bool:
        return (self.path / CONFIG).exists() or (self.path / WEIGHTS).exists()

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one record to metrics.jsonl."""
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """All records of metrics.jsonl; a last line cut short by a crash is left out."""
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
        """Drop records later than the state that training goes on from, so that none is written
        twice.
        """
        kept = [record for record in self.records() if record.get("step", 0) <= step]
        part = self.path / f"{METRICS}.part"
        part.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        part.replace(self.path / METRICS)

    def save_state(self, tensors: Mapping[str, torch.Tensor], info: Mapping[str, Any]) -> None:
        """Write the state; info is JSON."""
        part = self.path / f"{STATE}.part"
        stored = {
            name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()
        }
        write_tensors(part, stored, {"info": json.dumps(info)})
        part.replace(self.path / STATE)

    def load_state(self, settings: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Read what `save_state` wrote.

        Args:
            settings: what the info calls its settings, which tells one network's run from the
                other's.

        Raises: UserError if the state is damaged, or of the other network.
        """
        try:
            with safe_open(self.path / STATE, framework="pt", device="cpu") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                info = json.loads((file.metadata() or {})["info"])
        except (SafetensorError, KeyError, ValueError) as error:
            raise UserError(
                f"'{self.path / STATE}' is damaged ({error}): start the run again in another folder"
            ) from None
        if not isinstance(info, dict) or settings not in info:
            raise UserError(
                f"'{self.path}' holds a run of another program: choose another --output"
            )
        return tensors, info

    def draw(self, panels: Iterable[tuple[str, Iterable[str]]]) -> None:
        """Draw metrics.png: one panel a (label, names of metrics), each metric over its step."""
        draw_curves(self.records(), panels, self.path / FIGURE)


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
    part = path.with_name(f"{path.name}.part")
    figure.savefig(part, dpi=100, format="png")
    part.replace(path)


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
