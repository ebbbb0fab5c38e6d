"""What the models of this package share: to be found by name, loaded, saved, trained and scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn

from rnnkit.checkpoint import check_sizes, load_checkpoint, load_weights, save_checkpoint
from rnnkit.devices import resolve_device
from rnnkit.errors import UserError
from sequences.network.architecture import SentenceArchitecture
from sequences.words import SPECIAL, WordVocabulary

KIND, VERSION = "sequences", 1
DEFAULTS = {"classify": "sentiment", "tag": "pos", "translate": "indonesian-english"}
Example = TypeVar("Example")
Self = TypeVar("Self", bound="Model[Any]")


class Model(ABC, Generic[Example]):
    """A network with its vocabulary and what it was trained on.

    Attributes:
        task: classify, tag or translate.
        criterion: the score of `scores` by which the best weights are chosen; more is better.
        vocabulary: the words and characters that it reads.
        network: the recurrent network, in evaluation mode.
        info: training settings, data and scores of the checkpoint, as JSON values.
    """

    task: ClassVar[str]
    criterion: ClassVar[str]
    network: nn.Module
    vocabulary: WordVocabulary
    architecture: SentenceArchitecture
    info: dict[str, Any]

    @classmethod
    def load(cls: type[Self], model: str | Path, *, device: str = "cpu") -> Self:
        """Load a bundled model by its name, or a checkpoint folder.

        Raises: UserError if there is no such model, it is damaged or of another task, or the device
            does not exist.
        """
        path = find_model(model)
        tensors, config = load_checkpoint(path, kind=KIND, version=VERSION)
        if config.get("task") != cls.task:
            raise UserError(
                f"'{model}' is a model to {config.get('task')}, not to {cls.task}",
                hint="choose another --model",
            )
        try:
            stored = config["vocabulary"]
            vocabulary = WordVocabulary(
                stored["words"], stored["characters"], cased=stored["cased"]
            )
            architecture = SentenceArchitecture.of(config["architecture"])
            check_sizes(architecture.sizes(), tensors, source=path)
            own = {key: config[key] for key in cls.own_entries()}
            loaded = cls.rebuild(vocabulary, architecture, own, tensors)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"the config in '{path}' is damaged ({error})",
                hint="copy or train the checkpoint again",
            ) from None
        weights = {
            name.removeprefix("network."): tensor
            for name, tensor in tensors.items()
            if name.startswith("network.")
        }
        load_weights(loaded.network, weights, source=path)
        known = ("kind", "version", "task", "architecture", "vocabulary", *cls.own_entries())
        loaded.info = {key: value for key, value in config.items() if key not in known}
        loaded.network.eval().to(resolve_device(device))
        return loaded

    def save(self, folder: str | Path, *, dtype: torch.dtype | None = torch.float16) -> None:
        """Write a checkpoint folder. dtype: type of the stored weights; None keeps theirs."""
        architecture = {**vars(self.architecture), "dilations": list(self.architecture.dilations)}
        vocabulary = self.vocabulary
        config = {
            "kind": KIND,
            "version": VERSION,
            "task": self.task,
            "architecture": architecture,
            "vocabulary": {
                "cased": vocabulary.cased,
                "words": vocabulary.words,
                "characters": vocabulary.characters,
            },
            **self.own_config(),
            **self.info,
        }
        weights = {f"network.{name}": t for name, t in self.network.state_dict().items()}
        save_checkpoint(Path(folder), {**weights, **self.own_tensors()}, config, dtype=dtype)

    def neighbours(self, word: str, count: int = 10) -> list[tuple[str, float]]:
        """The words whose embeddings are most alike, and the cosine of the angle between them.

        Raises: UserError for a word that has no embedding.
        """
        place = self.vocabulary.word_id(word) - len(SPECIAL)
        if place < 0:
            raise UserError(f"the model has no embedding of '{word}', only its spelling")
        embedding = self.network.get_submodule("words.embedding")
        assert isinstance(embedding, nn.Embedding)
        table = embedding.weight.detach()[len(SPECIAL) :].float().cpu()
        table = nn.functional.normalize(table, dim=1)  # (words, word size)
        cosines = table @ table[place]
        order = cosines.argsort(descending=True).tolist()
        others = [index for index in order if index != place][:count]
        return [(self.vocabulary.words[index], float(cosines[index])) for index in others]

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next(self.network.parameters()).device

    @classmethod
    @abstractmethod
    def own_entries(cls) -> tuple[str, ...]:
        """The entries that the config of this task has beside those of all."""

    @classmethod
    @abstractmethod
    def rebuild(
        cls: type[Self],
        vocabulary: WordVocabulary,
        architecture: SentenceArchitecture,
        own: Mapping[str, Any],
        tensors: Mapping[str, torch.Tensor],
    ) -> Self:
        """A model whose network still has random weights. own: what `own_config` said."""

    @abstractmethod
    def own_config(self) -> dict[str, Any]:
        """The values of `own_entries`."""

    def own_tensors(self) -> dict[str, torch.Tensor]:
        """Tensors that a checkpoint keeps beside the weights."""
        return {}

    def begin_epoch(self, examples: Sequence[Example], seed: int) -> None:
        """Called before an epoch of training on the examples."""

    @abstractmethod
    def loss(self, examples: Sequence[Example], places: Sequence[int]) -> torch.Tensor:
        """The mean loss of a batch of training examples, which are given by their places."""

    @abstractmethod
    def size(self, example: Example) -> int:
        """The words of an example; batches are of examples of similar size."""

    @abstractmethod
    def scores(self, examples: Sequence[Example]) -> dict[str, float]:
        """Scores by name, as fractions."""


def bundled_models() -> list[str]:
    """The names of the models that come with the package."""
    folder = Path(str(resources.files("sequences"))) / "pretrained"
    return sorted(path.parent.name for path in folder.glob("*/config.json"))


def default_model(task: str) -> str:
    """The bundled model that a task's command uses.

    Raises: UserError if none comes with the package.
    """
    name = DEFAULTS[task]
    if name not in bundled_models():
        raise UserError(
            f"no model to {task} comes with the package", hint="name a checkpoint folder by --model"
        )
    return name


def find_model(model: str | Path) -> Path:
    """The folder of a bundled model's name, or of a path.

    Raises: UserError if there is neither, naming the bundled ones.
    """
    if str(model) in bundled_models():
        return Path(str(resources.files("sequences"))) / "pretrained" / str(model)
    path = Path(model)
    if path.exists():
        return path
    names = ", ".join(bundled_models()) or "none"
    raise UserError(
        f"there is no model '{model}': neither a folder nor one that comes with the package"
        f" ({names})"
    )


def in_batches(sizes: Sequence[int], batch_size: int) -> list[list[int]]:
    """Places in batches of examples of similar size, so that little is padded."""
    order = sorted(range(len(sizes)), key=lambda place: sizes[place])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
