"""Writes texts from a prompt as they are sampled, for the Write tab and for /generate."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from charlm.sampling import SamplingParams, TextSession
from rnnkit.errors import UserError
from webui.client_values import real_number, whole_number
from webui.workers import TextWorker

SECONDS_BETWEEN_YIELDS = 0.05
SECONDS_A_TURN = 0.04  # of the model, before another visitor's text may have it
MAX_PROMPT, MAX_LENGTH, MAX_SEED, MAX_TEXTS = 5000, 20_000, 2**31, 6


@dataclass
class Draft:
    """Texts being written, all from one prompt."""

    session: TextSession
    left_out: int = 0  # characters of the prompt that the model has never seen

    @property
    def prompt(self) -> str:
        """The prompt, without the characters that were left out."""
        return self.session.prompts[0]

    @property
    def written(self) -> list[str]:
        """What was written after the prompt, of each text."""
        return self.session.written

    @property
    def characters(self) -> int:
        """How many characters were written in all."""
        return sum(map(len, self.written))

    @property
    def stopped(self) -> int:
        """How many texts the stop text ended in the last go."""
        return sum(self.session.stopped)

    @property
    def seed(self) -> int | None:
        """The seed of their random numbers."""
        return self.session.seed

    def likeliest(self, k: int) -> list[tuple[str, float]]:
        """The k likeliest next characters of the first text and their probabilities."""
        return self.session.likeliest(k)


@dataclass(eq=False)
class Turn:
    """One visitor's go at a text, from the click to its end; `write` looks at it before each
    character.
    """

    stopped: bool = False  # the visitor pressed Stop, perhaps before there was a draft
    over: bool = False  # the visitor has begun another text, which has the text box now


def random_seed() -> int:
    """A seed short enough to be read out."""
    return random.randrange(10**6)


def begin(worker: TextWorker, prompt: Any, seed: Any, count: Any = 1) -> Draft:
    """Read a prompt; characters that the model has never seen are left out.

    Args:
        count: how many texts to write from it.

    Raises: UserError if the prompt is not text or too long, or a number is not one or out of its
        range.
    """
    number = whole_number(seed, "the seed", 0, MAX_SEED)
    texts = whole_number(count, "the number of texts", 1, MAX_TEXTS)
    if not isinstance(prompt, str):
        raise UserError("the prompt must be text")
    if len(prompt) > MAX_PROMPT:
        raise UserError(
            f"the prompt has {len(prompt):,} characters, more than the limit of {MAX_PROMPT:,}:"
            " shorten it"
        )
    with worker.lock:
        session = worker.lm.session([prompt] * texts, seed=number, unknown="skip")
    return Draft(session, len(prompt) - len(session.prompts[0]))


def write(
    worker: TextWorker,
    draft: Draft,
    *,
    length: Any,
    temperature: Any = 1.0,
    top_k: Any = 0,
    top_p: Any = 1.0,
    stop: Any = "",
    turn: Turn | None = None,
) -> Iterator[list[str]]:
    """What follows the prompt as it grows, in each text: at most twenty times a second, whatever
    the model's speed, and once at its end.

    Args:
        length, temperature, top_k, top_p, stop: as a client sent them.

    Raises: UserError naming a setting that is not a number or out of its range.
    """
    characters = whole_number(length, "the length", 1, MAX_LENGTH)
    params = SamplingParams(
        real_number(temperature, "the temperature"),
        whole_number(top_k, "top-k"),
        real_number(top_p, "top-p"),
    )
    turn = turn or Turn()
    stops = stop if isinstance(stop, str) and stop else ()
    steps = draft.session.write(characters, params, stops)
    texts, last_yield, ended = draft.written, 0.0, False
    while not ended:
        with worker.lock:
            until = time.monotonic() + SECONDS_A_TURN
            while time.monotonic() < until:
                if turn.stopped or turn.over:
                    return
                pieces = next(steps, None)
                if pieces is None:
                    ended = True
                    break
                texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
                if not last_yield:
                    break  # the first character is shown at once
        wait = last_yield + SECONDS_BETWEEN_YIELDS - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        last_yield = time.monotonic()
        if turn.over:
            return
        yield texts
