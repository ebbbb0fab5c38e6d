"""The three cells at one size, to compare: trained ones from the package, or untrained ones."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import torch

from charlm.model import CharLM
from charlm.network import Architecture, Network
from charlm.vocabulary import CharacterVocabulary
from rnnkit.cells import STEPS
from rnnkit.errors import UserError

HIDDEN_SIZE, NUM_LAYERS, EMBEDDING_SIZE = 128, 1, 32


def load_cells(
    vocabulary: CharacterVocabulary, *, folder: Path | None = None, device: str = "cpu"
) -> tuple[dict[str, CharLM], bool]:
    """A small model of each cell: stored ones, or untrained ones if none are stored.

    Args:
        vocabulary: of untrained models.
        folder: has a checkpoint folder for each of rnn, gru and lstm; None is the package's own.

    Returns: models by cell, in the order rnn, gru, lstm; whether they are trained.
    Raises: UserError naming a checkpoint that is missing or damaged.
    """
    where = folder or _stored_cells()
    if not any((where / cell).is_dir() for cell in STEPS):
        return untrained_cells(vocabulary), False
    return {cell: CharLM.load(where / cell, device=device) for cell in STEPS}, True


def load_named(name: str, *, device: str = "cpu") -> CharLM:
    """The stored cell of that name (rnn, gru or lstm), or the model in the folder of that name.

    Raises: UserError if it is neither.
    """
    if name not in STEPS or Path(name).is_dir():
        if not Path(name).exists():
            raise UserError(f"there is no model '{name}': give {', '.join(STEPS)} or a folder")
        return CharLM.load(name, device=device)
    return CharLM.load(_stored_cells() / name, device=device)


def _stored_cells() -> Path:
    return Path(str(resources.files("charlm") / "pretrained" / "cells"))


def untrained_cells(vocabulary: CharacterVocabulary) -> dict[str, CharLM]:
    """A small model of each cell with random weights, the same ones each time.

    Returns: models by cell, in the order rnn, gru, lstm.
    """
    return {cell: _untrained(cell, vocabulary) for cell in STEPS}


def _untrained(cell: str, vocabulary: CharacterVocabulary) -> CharLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CharLM(
            Network(Architecture(len(vocabulary), cell, HIDDEN_SIZE, NUM_LAYERS, EMBEDDING_SIZE)),
            vocabulary,
        )
