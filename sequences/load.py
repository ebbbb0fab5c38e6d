"""Loads a model of any task by its name or folder."""

from __future__ import annotations

from pathlib import Path

from rnnkit.checkpoint import read_config
from rnnkit.errors import UserError
from sequences.classifier import Classifier
from sequences.model import KIND, VERSION, find_model
from sequences.tagger import Tagger
from sequences.translator import Translator

TASKS: dict[str, type[Classifier] | type[Tagger] | type[Translator]] = {
    kind.task: kind for kind in (Classifier, Tagger, Translator)
}


def load_model(model: str | Path, *, device: str = "cpu") -> Classifier | Tagger | Translator:
    """A bundled model by its name, or a checkpoint folder, of whatever task.

    Raises: UserError as `Classifier.load` does.
    """
    path = find_model(model)
    task = read_config(path, kind=KIND, version=VERSION).get("task")
    if task not in TASKS:
        raise UserError(f"'{path}' is a model of no task that is known here ({task!r})")
    return TASKS[task].load(path, device=device)
