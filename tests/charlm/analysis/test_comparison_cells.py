"""The three small cells: the bundled ones, untrained ones, and damaged ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from charlm import CharLM
from charlm.analysis.comparison_cells import load_cells, load_named, untrained_cells
from charlm.vocabulary import CharacterVocabulary
from rnnkit.errors import UserError


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A folder of the three cells."""
    for cell, lm in untrained_cells(CharacterVocabulary("ab \n")).items():
        lm.save(tmp_path / cell)
    return tmp_path


def test_the_packages_own_cells_are_trained_and_know_the_characters_of_its_model() -> None:
    vocabulary = CharLM.load().vocabulary
    cells, trained = load_cells(vocabulary)
    assert trained and list(cells) == ["rnn", "gru", "lstm"]
    for cell, lm in cells.items():
        assert lm.network.architecture.cell == cell
        said = lm.log_probs("ROMEO:\nWhat is the mat")[-1].argmax()
        assert lm.vocabulary[int(said)] == "t"  # it has learnt to spell


def test_a_model_to_compare_with_is_a_cell_of_the_package_or_a_folder(stored: Path) -> None:
    assert load_named("gru").network.architecture.cell == "gru"
    assert load_named("gru").vocabulary != load_named(str(stored / "gru")).vocabulary
    with pytest.raises(UserError, match="no model 'elman': give rnn, gru, lstm or a folder"):
        load_named("elman")


def test_a_damaged_cell_is_named_and_not_replaced(stored: Path) -> None:
    weights = stored / "gru" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(UserError, match=r"gru.*damaged"):
        load_cells(CharacterVocabulary("ab"), folder=stored)


def test_one_missing_cell_of_three_is_named_and_not_replaced(stored: Path) -> None:
    shutil.rmtree(stored / "rnn")
    with pytest.raises(UserError, match=r"no checkpoint at .*rnn"):
        load_cells(CharacterVocabulary("ab"), folder=stored)


def test_trained_cells_are_loaded_and_without_them_untrained_ones_of_one_size_are_made(
    make_model: Callable[..., CharLM], tmp_path: Path
) -> None:
    vocabulary = make_model().vocabulary
    cells, trained = load_cells(vocabulary, folder=tmp_path)
    assert not trained and list(cells) == ["rnn", "gru", "lstm"]
    assert {lm.network.architecture.hidden_size for lm in cells.values()} == {128}
    again, _ = load_cells(vocabulary, folder=tmp_path)
    assert all(
        (again[cell].log_probs("The") == cells[cell].log_probs("The")).all() for cell in cells
    )
    for cell in cells:
        make_model(cell=cell).save(tmp_path / cell)
    stored, trained = load_cells(vocabulary, folder=tmp_path)
    assert trained and [lm.network.architecture.cell for lm in stored.values()] == [
        "rnn",
        "gru",
        "lstm",
    ]
