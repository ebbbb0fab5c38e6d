"""The three cells at one size, to look at side by side: trained ones from the package, else untrained ones."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import torch

from charlm.cells import STEPS
from charlm.corpus import Vocabulary
from charlm.model import CharLM
from charlm.network import Architecture, Network
from rnnkit.errors import UserError

HIDDEN_SIZE, NUM_LAYERS, EMBEDDING_SIZE = 128, 1, 32


def load_cells(vocabulary: Vocabulary, *, folder: Path | None = None, device: str = "cpu") -> tuple[dict[str, CharLM], bool]:
    """A small model of each cell.

    Args:
        vocabulary: of the models if they have to be made anew.
        folder: with a checkpoint folder for each of rnn, gru and lstm; None is the package's own.

    Returns: models by cell, in the order rnn, gru, lstm; whether they are trained. Untrained ones have random weights, the
        same each time.
    """
    where = folder if folder is not None else Path(str(resources.files("charlm") / "pretrained" / "cells"))
    try:
        return {cell: CharLM.load(where / cell, device=device) for cell in STEPS}, True
    except UserError:
        return {cell: _untrained(cell, vocabulary) for cell in STEPS}, False


def _untrained(cell: str, vocabulary: Vocabulary) -> CharLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CharLM(Network(Architecture(len(vocabulary), cell, HIDDEN_SIZE, NUM_LAYERS, EMBEDDING_SIZE)), vocabulary)
