"""Fixtures for the tests of charlm: a small text and small models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from charlm import CharLM
from charlm.inference.base import Stepper
from charlm.network import Architecture, Network
from charlm.training.config import TrainingConfig
from charlm.training.trainer import train
from charlm.vocabulary import CharacterVocabulary

VERSE = """FIRST VOICE:
The rain it falls upon the hill,
The hill is green, the wind is still.

SECOND VOICE:
And who will walk upon the hill,
When rain is cold and wind is still?

"""


@pytest.fixture(scope="session")
def verse() -> str:
    """Some two thousand characters that a tiny network can learn."""
    return VERSE * 10


@pytest.fixture(scope="session")
def tiny_settings() -> TrainingConfig:
    return TrainingConfig(
        hidden_size=32,
        num_layers=2,
        embedding_size=8,
        batch_size=4,
        sequence_length=32,
        epochs=6,
        learning_rate=0.01,
        warmup_steps=5,
        save_minutes=0.0,
        log_every=5,
    )


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory, verse: str, tiny_settings: TrainingConfig
) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert train(verse, folder, tiny_settings, device=torch.device("cpu"))
    return folder


@pytest.fixture
def make_model(verse: str) -> Callable[..., CharLM]:
    """An untrained model over the verse's characters, with weights far from 0."""

    def make(
        cell: str = "lstm",
        num_layers: int = 2,
        hidden_size: int = 24,
        seed: int = 0,
        **fields: object,
    ) -> CharLM:
        torch.manual_seed(seed)
        vocabulary = CharacterVocabulary.of(verse)
        embedding_size = hidden_size if fields.get("tied") else 8
        network = Network(
            Architecture(
                len(vocabulary),
                cell,
                hidden_size,
                num_layers,
                embedding_size,
                bool(fields.get("tied")),
            )
        )
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(2)
        return CharLM(network, vocabulary)

    return make


def next_log_probs(stepper: Stepper, ids: torch.Tensor) -> torch.Tensor:
    """Natural-log probabilities after each character of one text, read from the zero state.

    Args:
        stepper: of batch size 1.
        ids: (characters,).

    Returns: (characters, vocabulary).
    """
    stepper.reset()
    rows = [torch.from_numpy(stepper(np.array([index])).copy()) for index in ids.tolist()]
    return torch.cat(rows).log_softmax(-1)
