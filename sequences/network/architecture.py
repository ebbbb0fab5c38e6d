"""Everything that rebuilds a network, as a config file holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnnkit.errors import UserError, either
from rnnkit.layers import LAYERS, MAX_DILATION

MAX_SIZE, MAX_LAYERS = 100_000, 100
OUTPUTS = ("softmax", "crf")


@dataclass(frozen=True)
class SentenceArchitecture:
    """The sizes of a network for sentences.

    Raises: UserError for a value of the wrong type or out of its range, as a config file may hold.
    """

    cell: str = "lstm"
    hidden_size: int = 128  # units of each layer in each direction
    num_layers: int = 1
    bidirectional: bool = True
    dilations: tuple[int, ...] = (1,)
    word_size: int = 64  # of a word's embedding
    character_size: int = 32  # of a character's
    spelling_size: int = 64  # units of each direction over a word's characters
    output: str = "softmax"  # of a tagger

    def __post_init__(self) -> None:
        if self.cell not in LAYERS:
            raise UserError(f"cell must be {either(LAYERS)}, not {self.cell!r}")
        sizes = ("hidden_size", "word_size", "character_size", "spelling_size")
        for name, most in (*((name, MAX_SIZE) for name in sizes), ("num_layers", MAX_LAYERS)):
            size = getattr(self, name)
            if type(size) is not int or not 1 <= size <= most:
                raise UserError(f"{name} must be a whole number from 1 to {most}, not {size!r}")
        if type(self.bidirectional) is not bool:
            raise UserError(f"bidirectional must be true or false, not {self.bidirectional!r}")
        if not self.dilations or not all(
            type(step) is int and 1 <= step <= MAX_DILATION for step in self.dilations
        ):
            raise UserError(f"dilations must be from 1 to {MAX_DILATION}, not {self.dilations!r}")
        if self.output not in OUTPUTS:
            raise UserError(f"output must be {' or '.join(OUTPUTS)}, not {self.output!r}")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> SentenceArchitecture:
        """From JSON values. Raises: UserError, TypeError or KeyError if they do not fit."""
        return cls(**{**values, "dilations": tuple(values["dilations"])})

    def sizes(self) -> dict[str, int]:
        """What must not be larger than the stored tensors."""
        return {
            "hidden_size": self.hidden_size,
            "word_size": self.word_size,
            "character_size": self.character_size,
            "spelling_size": self.spelling_size,
        }


@dataclass(frozen=True)
class SentenceDropout:
    """Chances of dropping while training; one mask for all words of a sentence but for `word`."""

    word: float = 0.0  # the embedding of a whole word, which leaves its spelling
    input: float = 0.0  # units of a word's vector
    hidden: float = 0.0  # units between layers
    output: float = 0.0  # units of what the last layer gives
