"""A text in the making: it can be stopped at any character, looked at, and gone on with, under
other settings too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from charlm.data import Vocabulary
from charlm.inference.base import Stepper
from charlm.sampling import Choice, StopStrings
from rnnkit.errors import UserError


class Writer:
    """One text with the network's state after it; `CharLM.writer` makes one.

    What it writes in several goes is what `CharLM.sample` writes in one, for the same seed and
    settings.

    Attributes:
        prompt: what the text went on from, as far as the model knows its characters.
        written: all that was written since, stop strings that ended a go included.
        stopped: the last go was ended by a stop string.
        seed: of the random numbers.
    """

    def __init__(
        self,
        stepper: Stepper,
        vocabulary: Vocabulary,
        prompt: Sequence[int],
        *,
        seed: int | None = None,
    ) -> None:
        stepper.reset()
        self._stepper, self._vocabulary, self._generator = (
            stepper,
            vocabulary,
            np.random.default_rng(seed),
        )
        self._unknown = vocabulary.unknown
        for number, index in enumerate(list(prompt) or [vocabulary.begin]):
            if number:
                self._generator.random(
                    1
                )  # `sample` draws while it reads too, so that texts in one batch keep step
            self._read(index)
        self.prompt, self.written, self.stopped, self.seed = (
            vocabulary.decode(prompt),
            "",
            False,
            seed,
        )

    @property
    def text(self) -> str:
        """Prompt and what was written."""
        return self.prompt + self.written

    def write(
        self, length: int, *, choice: Choice = Choice(), stop: str | Sequence[str] = ()
    ) -> Iterator[str]:
        """Go on for some characters.

        The iterator may be left at any character: the next go starts behind what was given out.

        Args:
            length: how many characters to draw.
            stop: a string, or some, after which the go ends; it is part of the text but not given
                out.

        Yields: pieces of text, one character each unless some were held back as the possible start
            of a stop string.
        Raises: UserError for a setting out of its range; at the call, not later.
        """
        if length < 0:
            raise UserError(f"length must be 0 or more, not {length}")
        return self._go(
            length, choice, StopStrings((stop,) if isinstance(stop, str) else tuple(stop))
        )

    def likeliest(self, k: int = 10) -> list[tuple[str, float]]:
        """The k likeliest next characters and their probabilities, at temperature 1."""
        weights = Choice().weights(self._logits)[0]
        order = np.argsort(-weights, kind="stable")[
            : min(k, len(weights) - (self._unknown is not None))
        ]
        return [
            (self._vocabulary[int(index)], float(weights[index] / weights.sum())) for index in order
        ]

    def _go(self, length: int, choice: Choice, stops: StopStrings) -> Iterator[str]:
        self.stopped = False
        for number in range(1, length + 1):
            index = int(choice.draw(self._logits, self._generator.random(1))[0])
            character = self._vocabulary[index]
            self._read(index)
            self.written += character
            piece = stops.push(character) if stops.strings else character
            self.stopped = stops.stopped
            if number == length and not stops.stopped:
                piece += stops.held
            if piece:
                yield piece
            if stops.stopped:
                return

    def _read(self, index: int) -> None:
        # A copy: the stepper writes its next logits over these.
        self._logits = self._stepper(np.array([index])).copy()
        if self._unknown is not None:
            self._logits[:, self._unknown] = -np.inf
