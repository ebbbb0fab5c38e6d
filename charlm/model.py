"""CharLM: a network with its vocabulary, loaded from and saved to a checkpoint folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from charlm.inference.base import Precision, Stepper, prepare
from charlm.network import SIZES, Architecture, Network
from charlm.sampling import SamplingParams, TextSession
from charlm.vocabulary import CharacterVocabulary, UnknownPolicy
from rnnkit.checkpoint import check_sizes, load_checkpoint, load_weights, save_checkpoint
from rnnkit.devices import resolve_device
from rnnkit.errors import UserError, problem

KIND, VERSION = "charlm", 1


class CharLM:
    """A character-level language model: prompt in, text out.

    After a change to the network, make a new CharLM: the weights for sampling are prepared once.

    Attributes:
        vocabulary: its symbols, in the order of their ids.
        network: the recurrent network, in evaluation mode.
        info: training settings, corpus and scores of the checkpoint, as JSON values.
    """

    def __init__(
        self,
        network: Network,
        vocabulary: CharacterVocabulary,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self.network, self.vocabulary, self.info = network.eval(), vocabulary, dict(info or {})
        self._prepared: dict[tuple[int, Precision], Callable[[], Stepper]] = {}

    @classmethod
    def load(cls, folder: str | Path | None = None, *, device: str = "cpu") -> CharLM:
        """Load a checkpoint folder; without one, the model that comes with the package.

        Raises: UserError if the folder does not hold a sound charlm checkpoint, or the device does
            not exist.
        """
        path = Path(folder or str(resources.files("charlm") / "pretrained"))
        tensors, config = load_checkpoint(path, kind=KIND, version=VERSION)
        try:
            vocabulary = CharacterVocabulary(config["vocabulary"])
            architecture = Architecture(vocabulary_size=len(vocabulary), **config["architecture"])
        except (KeyError, TypeError, UserError) as error:
            raise UserError(
                f"the config in '{path}' is damaged ({problem(error)})",
                hint="copy or train the checkpoint again",
            ) from None
        check_sizes({name: getattr(architecture, name) for name in SIZES}, tensors, source=path)
        network = Network(architecture)
        load_weights(network, _with_tied(tensors, architecture), source=path)
        own = ("kind", "version", "architecture", "vocabulary")
        info = {key: value for key, value in config.items() if key not in own}
        return cls(network.to(resolve_device(device)), vocabulary, info)

    def save(self, folder: str | Path, *, dtype: torch.dtype | None = torch.float16) -> None:
        """Write a checkpoint folder.

        Args:
            dtype: type of the stored weights; None keeps theirs.
        """
        architecture = dataclasses.asdict(self.network.architecture)
        del architecture["vocabulary_size"]  # the vocabulary has it
        if architecture["dilations"] == "1":
            del architecture["dilations"]  # earlier versions, which know none, can load it
        config = {
            "kind": KIND,
            "version": VERSION,
            "architecture": architecture,
            "vocabulary": list(self.vocabulary),
            **self.info,
        }
        tensors = self.network.state_dict()
        if self.network.architecture.tied:
            del tensors["output.weight"]
        save_checkpoint(Path(folder), tensors, config, dtype=dtype)

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return self.network.output.weight.device

    def log_probs(self, text: str) -> torch.Tensor:
        """Natural-log probabilities of what follows each character of a text, from a zero state.

        Returns: (characters, vocabulary), float32 on the CPU; row t is about what follows
            text[: t + 1].
        Raises: UserError naming characters that the model does not know.
        """
        if not text:
            return torch.empty(0, len(self.vocabulary))
        ids = self.vocabulary.encode(text).to(self.device)
        with torch.inference_mode():
            logits: torch.Tensor = self.network(ids[:, None])[0][:, 0]  # (T, V)
            return logits.float().log_softmax(-1).cpu()

    def sample(
        self,
        prompt: str = "",
        *,
        length: int = 200,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        unknown: UnknownPolicy = "error",
        precision: Precision = "auto",
    ) -> Iterator[str]:
        """Continue a prompt, character by character.

        Args:
            prompt: may be empty; it is not yielded.
            length: how many characters to draw.
            temperature: below 1 likelier, above 1 wilder, 0 always the likeliest character.
            top_k: only the k likeliest characters; 0 is all.
            top_p: only the likeliest characters that together have this probability.
            stop: one or more strings; the text ends before the first of them.
            seed: the same seed, model and settings give the same text on the same device; with None
                it is another text each time.
            unknown: "skip" leaves out characters of the prompt that the model does not know;
                "error" refuses them.
            precision: of the recurrent weights: "float32", "int8", or "auto" (int8 where it runs).

        Yields: pieces of text, one character each unless some were held back as the possible start
            of a stop string.
        Raises: UserError for a setting out of its range or an unknown character; at the call, not
            later.
        """
        pieces = self.sample_many(
            [prompt],
            length=length,
            params=SamplingParams(temperature, top_k, top_p),
            stop=stop,
            seed=seed,
            unknown=unknown,
            precision=precision,
        )
        return (piece for (piece,) in pieces)

    def sample_many(
        self,
        prompts: Sequence[str],
        *,
        length: int = 200,
        params: SamplingParams = SamplingParams(),
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        unknown: UnknownPolicy = "error",
        precision: Precision = "auto",
    ) -> Iterator[list[str]]:
        """Several texts at once, as one batch; the settings are those of `sample`.

        Yields: a list with a piece of text for each prompt; "" for one that has nothing new at this
            step.
        """
        if not prompts:
            return iter(())
        session = self.session(prompts, seed=seed, unknown=unknown, precision=precision)
        return session.write(length, params, stop)

    def session(
        self,
        prompts: Sequence[str],
        *,
        seed: int | None = None,
        unknown: UnknownPolicy = "error",
        precision: Precision = "auto",
    ) -> TextSession:
        """Texts that can be left, looked at and continued; the settings are those of `sample`."""
        ids = [self.vocabulary.encode(prompt, unknown=unknown).tolist() for prompt in prompts]
        return TextSession(self.stepper(len(ids), precision), self.vocabulary, ids, seed=seed)

    def stepper(self, batch_size: int = 1, precision: Precision = "auto") -> Stepper:
        """A one-character stepper with a zero state.

        Its weights are prepared once for each batch size and precision.
        """
        key = (batch_size, precision)
        if key not in self._prepared:
            self._prepared[key] = prepare(self.network, batch_size, precision)
        return self._prepared[key]()


def _with_tied(
    tensors: dict[str, torch.Tensor], architecture: Architecture
) -> dict[str, torch.Tensor]:
    tied = architecture.tied and "embedding.weight" in tensors
    return {**tensors, "output.weight": tensors["embedding.weight"]} if tied else tensors
