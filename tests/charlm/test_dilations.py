"""A dilated language model is the same everywhere: in chunks, character by character, stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from charlm import CharLM
from charlm.analysis.insight import connectivity, gradient_flow, unit_traces
from charlm.inference.base import prepare
from charlm.network import Architecture, Network
from charlm.training.config import TrainingConfig
from charlm.vocabulary import CharacterVocabulary
from rnnkit.errors import UserError
from tests.charlm.conftest import next_log_probs

TEXT = "The rain it falls upon"


@pytest.fixture
def model() -> CharLM:
    torch.manual_seed(0)
    vocabulary = CharacterVocabulary.of(TEXT)
    architecture = Architecture(len(vocabulary), "lstm", 12, 3, 8, dilations="1,2,4")
    return CharLM(Network(architecture), vocabulary)


def test_a_text_read_in_chunks_is_the_text_read_at_once(model: CharLM) -> None:
    ids = model.vocabulary.encode(TEXT)[:, None]
    whole, after = model.network(ids)
    state, pieces = None, []
    for start in range(0, len(ids), 5):
        piece, state = model.network(ids[start : start + 5], state)
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=0, atol=1e-5)
    torch.testing.assert_close(state, after, rtol=0, atol=1e-5)


def test_a_text_read_character_by_character_has_the_same_probabilities(model: CharLM) -> None:
    ids = model.vocabulary.encode(TEXT)
    found = next_log_probs(prepare(model.network)(), ids)
    torch.testing.assert_close(found, model.log_probs(TEXT), rtol=0, atol=1e-5)
    with pytest.raises(UserError, match="dilations"):
        prepare(model.network, precision="int8")


def test_a_stored_model_keeps_its_dilations(model: CharLM, tmp_path: Path) -> None:
    model.save(tmp_path, dtype=None)
    again = CharLM.load(tmp_path)
    assert again.network.architecture.dilations == "1,2,4"
    assert torch.equal(again.log_probs(TEXT), model.log_probs(TEXT))


def test_the_views_inside_follow_the_dilations(model: CharLM) -> None:
    traces = unit_traces(model, TEXT)
    assert traces.shape == (len(TEXT), 3, 12)
    assert np.all(connectivity(model, TEXT, 9) > 0)
    flow = gradient_flow(model.network, model.vocabulary.encode(TEXT)[:6])
    # The top layer skips four steps: of five, only the first leads to the last.
    assert np.flatnonzero(flow.norms[2, 0]).tolist() == [0, 4]


def test_a_language_model_does_not_read_backwards() -> None:
    with pytest.raises(UserError, match="cannot be bidirectional"):
        TrainingConfig(bidirectional=True)
    with pytest.raises(UserError, match="dilations"):
        TrainingConfig(dilations="0")
