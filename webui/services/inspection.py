"""Looks into the language model while it reads a visitor's text, for the Inside tab."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from charlm import CharLM
from charlm.analysis.comparison_cells import untrained_cells
from charlm.analysis.insight import (
    GradientFlow,
    Surprise,
    connectivity,
    gradient_flow,
    surprise,
    unit_traces,
)
from rnnkit.errors import UserError
from webui.client_values import real_number
from webui.workers import Models, TextWorker

MAX_TEXT = 600  # characters
STEPS_BACK = 100  # that the gradient is followed
KNOWN = 0.9  # the share of a text's characters that the trained cells must know to be used


@dataclass(frozen=True)
class Reading:
    """What the model did while it read a text.

    Attributes:
        text: the characters that the model knows, T of them.
        left_out: how many characters it does not know.
        surprise: of each character.
        traces: h after each character, (T, layers, hidden size).
    """

    text: str
    left_out: int
    surprise: Surprise
    traces: np.ndarray


def read_text(worker: TextWorker, text: Any) -> Reading:
    """Let the model read a text.

    Raises: UserError if it is not text, too long, or shorter than 2 characters that the model
        knows.
    """
    if not isinstance(text, str):
        raise UserError("the text must be text")
    if len(text) > MAX_TEXT:
        raise UserError(
            f"the text has {len(text):,} characters, more than the limit of {MAX_TEXT}: shorten it"
        )
    vocabulary = worker.lm.vocabulary
    known = vocabulary.decode(vocabulary.encode(text, unknown="skip"))
    if len(known) < 2:
        raise UserError("the text must have at least 2 characters that the model knows")
    with worker.lock:
        return Reading(
            known,
            len(text) - len(known),
            surprise(worker.lm, known),
            unit_traces(worker.lm, known),
        )


def strengths(worker: TextWorker, text: str, position: int) -> np.ndarray:
    """How much each earlier character moved the prediction of the one at a position,
    (position,).
    """
    with worker.lock:
        return connectivity(worker.lm, text, position)


def clip_norm_of(clip: Any, norm: Any) -> float:
    """The norm to which the gradient is clipped; infinity if it is not.

    Raises: UserError if the norm is not a number above 0.
    """
    number = real_number(norm, "the clip norm")
    if not 0 < number < math.inf:
        raise UserError("the clip norm must be a number above 0")
    return number if clip else math.inf


def cells_for(models: Models, text: str) -> tuple[Mapping[str, CharLM], str]:
    """Three small networks of one size that can read a text, by the name of their cell, and a
    sentence about where they come from.

    Raises: UserError if the trained ones cannot be loaded.
    """
    cells, trained = models.cells.get()
    if not trained:
        return cells, (
            "No trained cells come with this installation: these three have the same size and"
            " random weights, as before training."
        )
    known = min(len(lm.vocabulary.encode(text, unknown="skip")) for lm in cells.values())
    if known < KNOWN * len(text):
        return untrained_cells(models.charlm.get().lm.vocabulary), (
            "The trained cells have learned English and do not know this text's characters:"
            " these three have the same size and random weights, as before training."
        )
    return cells, "Three small networks of the same size, trained on the same text."


def gradient_flows(
    cells: Mapping[str, CharLM], text: str, clip_norm: float
) -> Iterator[tuple[str, GradientFlow]]:
    """How the last character's error flows back through each cell, by the cell's name."""
    for name, lm in cells.items():
        ids = lm.vocabulary.encode(text, unknown="skip").to(lm.device)
        # Not infinity, which times a norm of 0 is not a number.
        yield name, gradient_flow(lm.network, ids, clip_norm=min(clip_norm, 1e30))
