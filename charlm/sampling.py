"""From logits to text: how a character is drawn, stop strings, and the one loop that writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.inference.base import Stepper
from charlm.vocabulary import CharacterVocabulary
from rnnkit.errors import UserError

COLDEST = 1e-6  # below this only the likeliest is ever drawn, and 32 bits cannot express it
HOTTEST = 1_000_000  # all characters are equally likely long before that


@dataclass(frozen=True)
class SamplingParams:
    """How the next character is drawn: temperature first, then top-k, then top-p.

    Raises: UserError for a value out of its range.
    """

    temperature: float = 1.0  # 0 always takes the likeliest
    top_k: int = 0  # only the k likeliest; 0 is all
    top_p: float = 1.0  # only the likeliest that together reach p (Holtzman et al. 2020)

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= HOTTEST:
            raise UserError(f"temperature must be from 0 to {HOTTEST:,}, not {self.temperature}")
        if self.top_k < 0:
            raise UserError(f"top-k must be 0 (all) or more, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top-p must be above 0 and at most 1, not {self.top_p}")

    def draw(self, logits: NDArray[np.float32], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        """One character for each row.

        Args:
            logits: (batch, vocabulary); -inf is never drawn.
            uniform: (batch,), random numbers in [0, 1).

        Returns: ids (batch,).
        """
        if self.temperature < COLDEST:
            return likeliest(logits)
        cumulative = self.weights(logits).cumsum(axis=1, dtype=np.float64)  # (B, V)
        total = cumulative[:, -1]
        # Rounding must not lift the threshold to the total, which no sum exceeds.
        threshold = np.minimum(uniform * total, np.nextafter(total, 0))
        return likeliest(cumulative > threshold[:, None])

    def weights(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unnormalised probabilities, (batch, vocabulary), 0 for the characters left out.

        The temperature must be at least COLDEST.
        """
        weights: NDArray[np.float32] = np.exp(
            (logits - logits.max(axis=1, keepdims=True)) / self.temperature
        )
        if 0 < self.top_k < weights.shape[1]:
            least = np.partition(weights, -self.top_k, axis=1)[:, -self.top_k, None]
            weights[weights < least] = 0
        if self.top_p < 1:
            ranked = -np.sort(-weights, axis=1)  # (B, V), falling
            before = ranked.cumsum(axis=1) - ranked  # the sum of the likelier ones
            kept = before < self.top_p * ranked.sum(axis=1, keepdims=True)  # the first always
            least = np.where(kept, ranked, np.inf).min(axis=1, keepdims=True)
            weights[weights < least] = 0
        return weights


def likeliest(scores: NDArray[Any]) -> NDArray[np.int64]:
    """The first of the highest scores in each row. scores: (batch, vocabulary)."""
    return np.asarray(scores.argmax(axis=1), dtype=np.int64)


class StopStrings:
    """Lets characters through, but holds back those that may begin a stop string.

    Attributes:
        held: the characters held back.
        stopped: whether a stop string was completed.

    Raises: UserError for an empty stop string.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        if "" in strings:
            raise UserError("a stop string must not be empty", hint="leave it out")
        self.strings, self.held, self.stopped = tuple(strings), "", False

    def push(self, character: str) -> str:
        """Take one more character; returns what cannot be part of a stop string."""
        if not self.strings:
            return character
        self.held += character
        completed = [stop for stop in self.strings if self.held.endswith(stop)]
        if completed:
            self.stopped = True
            released, self.held = self.held[: -max(map(len, completed))], ""
            return released
        possible = max(
            (n for s in self.strings for n in range(1, len(s)) if self.held.endswith(s[:n])),
            default=0,
        )
        cut = len(self.held) - possible
        released, self.held = self.held[:cut], self.held[cut:]
        return released


class TextSession:
    """A batch of texts being written: leave them at any character, look, and write on.

    All texts take each step together. Every step feeds each text its next character: the prompt's
    until it ends, then the one drawn last. So prompts may differ in length. An empty prompt is
    replaced by a line end (or the most frequent character), after which a text begins.

    What a text says depends on its prompt, its row, the number of texts, the seed and the
    settings, but not on the other prompts nor on how often it was left: the character after its
    t-th one is drawn with number [t, row] of `default_rng(seed).random((..., texts))`.

    Attributes:
        prompts: the prompts, without characters that the model does not know.
        stopped: whether the last `write` ended each text at a stop string.
        seed: of the random numbers; None takes others each time.
    """

    def __init__(
        self,
        stepper: Stepper,
        vocabulary: CharacterVocabulary,
        prompts: Sequence[Sequence[int]],
        *,
        seed: int | None = None,
    ) -> None:
        self.prompts = [vocabulary.decode(prompt) for prompt in prompts]
        self.stopped, self.seed = [False] * len(prompts), seed
        self._stepper, self._vocabulary = stepper, vocabulary
        self._unknown = vocabulary.unknown
        self._texts = [list(prompt) or [vocabulary.begin] for prompt in prompts]  # ids; they grow
        self._starts = [len(text) for text in self._texts]  # where the prompt ends
        self._entropy = np.random.SeedSequence(seed)
        self._rewind()

    @property
    def written(self) -> list[str]:
        """All that was written after each prompt, including stop strings."""
        pairs = zip(self._texts, self._starts, strict=True)
        return [self._vocabulary.decode(text[start:]) for text, start in pairs]

    @property
    def texts(self) -> list[str]:
        """Each prompt and what was written after it."""
        return [p + written for p, written in zip(self.prompts, self.written, strict=True)]

    def write(
        self, length: int, params: SamplingParams = SamplingParams(), stop: str | Sequence[str] = ()
    ) -> Iterator[list[str]]:
        """Write on. The iterator may be left at any character; the next `write` continues there.

        Args:
            length: how many characters to draw for each text.
            stop: one or more strings that end a text for this `write`. They become part of
                `texts`, but are not given out.

        Yields: a piece of each text: usually one character; "" while its prompt is read, while
            characters that may begin a stop string are held back, and after its end.
        Raises: UserError for a setting out of its range; at the call, not later.
        """
        if length < 0:
            raise UserError(f"length must be 0 or more, not {length}")
        strings = (stop,) if isinstance(stop, str) else tuple(stop)
        return self._write(length, params, [StopStrings(strings) for _ in self._texts])

    def likeliest(self, k: int = 10, *, row: int = 0) -> list[tuple[str, float]]:
        """The k likeliest next characters of a text and their probabilities at temperature 1."""
        self._rewind_if_ahead()
        while self._position < len(self._texts[row]):
            self._read()
        weights = SamplingParams().weights(self._logits[row : row + 1])[0]  # (V,)
        known = len(weights) - (self._unknown is not None)
        order = np.argsort(-weights, kind="stable")[: min(k, known)]
        total = weights.sum()
        return [(self._vocabulary[int(id)], float(weights[id] / total)) for id in order]

    def _write(
        self, length: int, params: SamplingParams, stops: list[StopStrings]
    ) -> Iterator[list[str]]:
        self._rewind_if_ahead()
        texts, symbols = self._texts, self._vocabulary.symbols
        ends = [len(text) + length for text in texts]
        self.stopped = [False] * len(texts)
        while growing := [row for row, text in enumerate(texts) if len(text) < ends[row]]:
            if all(len(texts[row]) > self._position for row in growing):
                self._read()
            drawn = params.draw(self._logits, self._uniform).tolist()
            pieces = [""] * len(texts)
            for row in growing:
                text, stop = texts[row], stops[row]
                if len(text) > self._position:  # its prompt is still being read
                    continue
                text.append(drawn[row])
                pieces[row] = stop.push(symbols[drawn[row]])
                if stop.stopped:
                    ends[row], self.stopped[row] = len(text), True
                elif len(text) == ends[row]:
                    pieces[row] += stop.held
            if any(pieces):
                yield pieces

    def _read(self) -> None:
        """Feed each text its next character. One that has none is fed anything and runs ahead."""
        ids = [text[self._position] if self._position < len(text) else 0 for text in self._texts]
        self._logits = self._stepper(np.array(ids))  # (B, V)
        if self._unknown is not None:
            self._logits[:, self._unknown] = -np.inf
        self._uniform = self._generator.random(len(ids))  # (B,)
        self._position += 1

    def _rewind_if_ahead(self) -> None:
        """Texts that ended earlier than others are read again before they are written on."""
        if any(len(text) < self._position for text in self._texts):
            self._rewind()

    def _rewind(self) -> None:
        self._stepper.reset()
        self._generator = np.random.default_rng(self._entropy)
        self._position = 0  # how many characters of each text were read
