"""From logits to text: temperature, top-k, top-p, stop strings, a seed; a generator of characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.data import Vocabulary
from charlm.inference.base import Stepper
from rnnkit.errors import UserError

COLDEST = 1e-6  # at a lower temperature nothing but the likeliest is ever drawn, and 32 bits cannot say so
HOTTEST = 1_000_000  # all characters are equally likely long before that


@dataclass(frozen=True)
class Choice:
    """How the next character is drawn. The three limits hold together: temperature first, then
    top-k, then top-p.
    """

    temperature: float = 1.0  # 0 always takes the likeliest
    top_k: int = 0  # only the k likeliest; 0 is all
    top_p: float = (
        1.0  # only the likeliest whose probabilities reach p together (Holtzman et al. 2020)
    )

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
        cumulative = running_sums(self.weights(logits))  # (B, V)
        total = cumulative[:, -1]
        # Rounding must not carry the threshold up to the total, behind which there is no character.
        threshold = np.minimum(uniform * total, np.nextafter(total, 0))
        return likeliest(cumulative > threshold[:, None])

    def weights(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities but for a factor, (batch, vocabulary), 0 for what the limits leave out.
        Needs a temperature of COLDEST at least.
        """
        weights: NDArray[np.float32] = np.exp(
            (logits - logits.max(axis=1, keepdims=True)) / self.temperature
        )
        if 0 < self.top_k < weights.shape[1]:
            least = np.partition(weights, -self.top_k, axis=1)[:, -self.top_k, None]
            weights[weights < least] = 0
        if self.top_p < 1:
            ranked = -np.sort(-weights, axis=1)  # (B, V), falling
            before = ranked.cumsum(axis=1) - ranked  # what the likelier ones have together
            kept = before < self.top_p * ranked.sum(axis=1, keepdims=True)  # the first always
            least = np.where(kept, ranked, np.inf).min(axis=1, keepdims=True)
            weights[weights < least] = 0
        return weights


def likeliest(scores: NDArray[Any]) -> NDArray[np.int64]:
    """The first of the highest scores in each row. scores: (batch, vocabulary)."""
    return np.asarray(scores.argmax(axis=1), dtype=np.int64)


def running_sums(weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sums of each row up to each place, (batch, vocabulary), in double precision."""
    if len(weights) < 12:
        return np.add.accumulate(weights, axis=1, dtype=np.float64)
    # The same sums in the same order, in a third of the time for many rows; for few, numpy is the
    # faster.
    return np.asarray(torch.from_numpy(weights).cumsum(dim=1, dtype=torch.float64))


class StopStrings:
    """Lets characters through, holding back those that may be the beginning of a stop string."""

    def __init__(self, strings: Sequence[str]) -> None:
        if "" in strings:
            raise UserError("a stop string must not be empty: leave it out")
        self.strings, self.held, self.stopped = tuple(strings), "", False

    def push(self, character: str) -> str:
        """Take one more character; returns what is sure not to be part of a stop string. `stopped`
        says that one came.
        """
        self.held += character
        if self.held.endswith(self.strings):
            self.stopped = True
            stop = max((s for s in self.strings if self.held.endswith(s)), key=len)
            return self._release(len(stop), forget=True)
        longest = max(
            (n for s in self.strings for n in range(1, len(s)) if self.held.endswith(s[:n])),
            default=0,
        )
        return self._release(longest)

    def _release(self, keep: int, forget: bool = False) -> str:
        cut = len(self.held) - keep
        released, self.held = self.held[:cut], "" if forget else self.held[cut:]
        return released


def generate(
    stepper: Stepper,
    vocabulary: Vocabulary,
    prompts: Sequence[Sequence[int]],
    *,
    length: int,
    choice: Choice,
    stop: Sequence[str] = (),
    seed: int | None = None,
) -> Iterator[list[str]]:
    """Go on from several prompts at once.

    All texts step together; each is fed its prompt first and then what was drawn for it, so prompts
    may differ in length. Where a prompt is empty, the network is fed a line end (or the most
    frequent character), after which a text begins.

    Args:
        stepper: of batch size len(prompts).
        prompts: ids.
        length: characters to draw for each.
        stop: a text ends before the first of these strings; they are not given out.
        seed: of the random numbers; None takes another each time.

    Yields: a piece of text for each prompt: most often one character; "" while its prompt is read,
        while characters that may begin a stop string are held back, and after its end.
    """
    stepper.reset()
    uniform = _uniform(np.random.default_rng(seed), len(prompts))
    fed = [list(prompt) or [vocabulary.begin] for prompt in prompts]
    stops = [StopStrings(stop) for _ in prompts]
    ends = [
        len(prompt) + length for prompt in fed
    ]  # what is drawn at position p is given out where len(prompt) <= p < end
    all_read, first_end = max(map(len, fed)), min(ends)
    unknown, symbols = vocabulary.unknown, vocabulary.symbols
    ids = np.array([prompt[0] for prompt in fed], dtype=np.int64)
    position = 1
    while position < max(ends):
        logits = stepper(ids)
        if unknown is not None:
            logits[:, unknown] = -np.inf
        ids = choice.draw(logits, next(uniform))
        if all_read <= position < first_end and not stop:
            yield [symbols[index] for index in ids.tolist()]
        else:
            pieces = [""] * len(fed)
            for row, index in enumerate(ids.tolist()):
                if position < len(fed[row]):
                    ids[row] = fed[row][position]
                elif position < ends[row]:
                    pieces[row] = stops[row].push(symbols[index])
                    if stops[row].stopped:
                        ends[row] = position
                    elif position + 1 == ends[row]:
                        pieces[row] += stops[row].held
            if any(pieces):
                yield pieces
        position += 1


def _uniform(generator: np.random.Generator, size: int) -> Iterator[NDArray[np.float64]]:
    """Random numbers in [0, 1), (size,) at a time; the same as drawing each alone, which takes
    longer.
    """
    while True:
        yield from generator.random((256, size))
