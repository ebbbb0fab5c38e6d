"""The models that read sentences, each loaded when a visitor first needs it.

`sequences` is imported only then, so that the page starts no later for having them.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from rnnkit.checkpoint import read_config
from rnnkit.errors import UserError
from webui.lazy_model import LazyModel

if TYPE_CHECKING:
    from sequences import Classifier, Tagger, Translator

Model = TypeVar("Model")
# What the page does with sentences, and the bundled model that does it.
BUNDLED = {
    "classify": "sentiment",
    "tag": "pos",
    "entities": "entities",
    "translate": "indonesian-english",
}


class Reader(Generic[Model]):
    """A model for sentences, and the lock to hold while it computes."""

    def __init__(self, model: Model) -> None:
        self.model, self.lock = model, threading.Lock()


class Readers:
    """A classifier, two taggers and a translator; None where there is no model.

    Args:
        folders: checkpoints to use in place of the bundled models of the same task.
        device: of all of them.

    Attributes:
        own: the tasks that are done by a folder's model.

    Raises: UserError if a folder is no checkpoint, or two are of the same task.
    """

    def __init__(self, folders: Sequence[Path] = (), device: str = "cpu") -> None:
        chosen: dict[str, Path] = {}
        for folder in folders:
            task = task_of(folder)
            if task in chosen:
                raise UserError(
                    f"'{chosen[task]}' and '{folder}' do the same: give one of them by --sequences"
                )
            chosen[task] = folder
        self.own = frozenset(chosen)
        paths = {task: chosen.get(task) or _bundled(name) for task, name in BUNDLED.items()}
        self.classifier = _lazy(_load_classifier, paths["classify"], device)
        self.tagger = _lazy(_load_tagger, paths["tag"], device)
        self.entity_tagger = _lazy(_load_tagger, paths["entities"], device)
        self.translator = _lazy(_load_translator, paths["translate"], device)


def task_of(folder: Path) -> str:
    """Which of BUNDLED's tasks a checkpoint does.

    Raises: UserError if it is no checkpoint of `sequences`.
    """
    config = read_config(folder, kind="sequences", version=1)
    task = config.get("task")
    if task == "tag":
        from sequences.network.crf import is_bio

        return "entities" if is_bio(config.get("tags", ())) else "tag"
    if task not in BUNDLED:
        raise UserError(f"'{folder}' is a model of no task that is known here ({task!r})")
    return str(task)


def _bundled(name: str) -> Path | None:
    """The folder of a model that comes with the package."""
    package = importlib.util.find_spec("sequences")
    assert package is not None and package.submodule_search_locations is not None
    folder = Path(package.submodule_search_locations[0]) / "pretrained" / name
    return folder if (folder / "config.json").exists() else None


def _lazy(
    load: Callable[[Path, str], Reader[Model]], folder: Path | None, device: str
) -> LazyModel[Reader[Model]] | None:
    return None if folder is None else LazyModel(lambda: load(folder, device))


def _load_classifier(folder: Path, device: str) -> Reader[Classifier]:
    from sequences import Classifier

    return Reader(Classifier.load(folder, device=device))


def _load_tagger(folder: Path, device: str) -> Reader[Tagger]:
    from sequences import Tagger

    return Reader(Tagger.load(folder, device=device))


def _load_translator(folder: Path, device: str) -> Reader[Translator]:
    from sequences import Translator

    return Reader(Translator.load(folder, device=device))
