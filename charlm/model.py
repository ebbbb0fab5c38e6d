"""CharLM: a network with its vocabulary, loaded from and saved to a checkpoint folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from charlm.corpus import Vocabulary
from charlm.network import Architecture, Network
from rnnkit.checkpoint import load_checkpoint, load_weights, save_checkpoint
from rnnkit.devices import resolve_device
from rnnkit.errors import UserError

KIND, VERSION = "charlm", 1


class CharLM:
    """A character-level language model: prompt in, text out.

    Attributes:
        vocabulary: its symbols, in the order of their ids.
        network: the recurrent network, in evaluation mode.
        about: what the checkpoint says of itself (training settings, corpus, scores), as JSON values.
    """

    def __init__(self, network: Network, vocabulary: Vocabulary, about: Mapping[str, Any] | None = None) -> None:
        self.network, self.vocabulary, self.about = network.eval(), vocabulary, dict(about or {})

    @classmethod
    def load(cls, folder: str | Path | None = None, *, device: str = "cpu") -> CharLM:
        """Load a checkpoint folder; without one, the model that comes with the package.

        Raises: UserError if the folder holds no sound charlm checkpoint or the device is not there.
        """
        path = Path(str(resources.files("charlm") / "pretrained")) if folder is None else Path(folder)
        tensors, config = load_checkpoint(path, kind=KIND, version=VERSION)
        try:
            vocabulary = Vocabulary(config["vocabulary"])
            network = Network(Architecture(vocabulary_size=len(vocabulary), **config["architecture"]))
        except (KeyError, TypeError) as error:
            raise UserError(f"the config in '{path}' is damaged ({error}): copy or train the checkpoint again") from None
        load_weights(network, _with_tied(tensors, network), source=path)
        about = {key: value for key, value in config.items() if key not in ("kind", "version", "architecture", "vocabulary")}
        return cls(network.to(resolve_device(device)), vocabulary, about)

    def save(self, folder: str | Path, *, dtype: torch.dtype | None = torch.float16) -> None:
        """Write a checkpoint folder, weights in half precision unless another type is given (None keeps theirs)."""
        architecture = dataclasses.asdict(self.network.architecture)
        del architecture["vocabulary_size"]  # the vocabulary says it
        config = {"kind": KIND, "version": VERSION, "architecture": architecture, "vocabulary": list(self.vocabulary), **self.about}
        tensors = self.network.state_dict()
        if self.network.architecture.tied:
            del tensors["output.weight"]
        save_checkpoint(Path(folder), tensors, config, dtype=dtype)

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return self.network.output.weight.device

    def log_probs(self, text: str) -> torch.Tensor:
        """Natural-log probabilities of the next character after each character of a text, from a zero state.

        Returns: (characters, vocabulary), float32 on the CPU; row t is about what follows text[: t + 1].
        Raises: UserError naming characters that the model does not know.
        """
        if not text:
            return torch.empty(0, len(self.vocabulary))
        ids = self.vocabulary.encode(text).to(self.device)
        with torch.inference_mode():
            logits: torch.Tensor = self.network(ids[:, None])[0][:, 0]  # (T, V)
            return logits.float().log_softmax(-1).cpu()

    def sample(self, prompt: str = "", **options: Any) -> Iterator[str]:
        from charlm.sampling import sample

        return sample(self, prompt, **options)


def _with_tied(tensors: dict[str, torch.Tensor], network: Network) -> dict[str, torch.Tensor]:
    tied = network.architecture.tied and "embedding.weight" in tensors
    return {**tensors, "output.weight": tensors["embedding.weight"]} if tied else tensors
