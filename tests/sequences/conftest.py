"""Small data that tiny networks learn by heart in a second or two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sequences.classifier import Classifier
from sequences.data import Labelled, Pair, Tagged
from sequences.network.architecture import SentenceArchitecture, SentenceDropout
from sequences.tagger import Tagger
from sequences.training.config import TrainingConfig
from sequences.training.trainer import train
from sequences.translator import Translator

SMALL = SentenceArchitecture(
    cell="gru", hidden_size=12, word_size=10, character_size=6, spelling_size=6
)
# Everything but dropout, which would have to be fought with more epochs.
SETTINGS = TrainingConfig(
    epochs=2, batch_size=5, learning_rate=0.02, warmup_steps=5, ema_decay=0.5, log_every=5
)

LABELLED = [
    Labelled("A warm and funny film.", "positive"),
    Labelled("not a good film", "negative"),
    Labelled("a good film", "positive"),
    Labelled("not warm", "negative"),
    Labelled("warm", "positive"),
    Labelled("dull and cold", "negative"),
    Labelled("a joy", "positive"),
    Labelled("not a joy", "negative"),
    Labelled("never dull", "positive"),
    Labelled("never funny", "negative"),
]
TAGGED = [
    Tagged(("Anna", "met", "Bob", "Lee"), ("B-person", "O", "B-person", "I-person")),
    Tagged(("Bob", "Lee", "left", "Paris"), ("B-person", "I-person", "O", "B-place")),
    Tagged(("Paris", "is", "big"), ("B-place", "O", "O")),
    Tagged(("New", "York", "is", "big"), ("B-place", "I-place", "O", "O")),
    Tagged(("new", "is", "big"), ("O", "O", "O")),
    Tagged(("Lee", "met", "Anna", "Lee"), ("B-person", "O", "B-person", "I-person")),
    Tagged(("we", "left", "New", "York"), ("O", "O", "B-place", "I-place")),
    Tagged(("Anna", "Lee"), ("B-person", "I-person")),
    Tagged(("Bob", "left", "Anna"), ("B-person", "O", "B-person")),
    Tagged(("big", "York"), ("O", "B-place")),
]
PAIRS = [
    Pair("Dia membaca buku.", "He reads a book."),
    Pair("Dia membaca.", "He reads."),
    Pair("Aku membaca buku.", "I read a book."),
    Pair("Tom makan nasi.", "Tom eats rice."),
    Pair("Aku makan nasi.", "I eat rice."),
    Pair("Dia makan.", "He eats."),
    Pair("Aku makan.", "I eat."),
    Pair("Tom membaca buku.", "Tom reads a book."),
    Pair("Apakah dia makan?", "Does he eat?"),
    Pair("Apakah Tom membaca?", "Does Tom read?"),
]


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """A classifier that has learned LABELLED, loaded from the folder of its run."""
    torch.manual_seed(0)
    model = Classifier.new(20 * LABELLED, SMALL, SentenceDropout(), min_count=1, evidence=True)
    folder = tmp_path_factory.mktemp("runs") / "classify"
    assert train(model, 20 * LABELLED, LABELLED, folder, SETTINGS, device=torch.device("cpu"))
    return Classifier.load(folder)


@pytest.fixture(scope="session")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Tagger:
    """A tagger with a CRF that has learned TAGGED, loaded from the folder of its run."""
    torch.manual_seed(0)
    architecture = SentenceArchitecture(**{**vars(SMALL), "output": "crf"})
    model = Tagger.new(TAGGED, architecture, SentenceDropout(), min_count=1)
    folder = tmp_path_factory.mktemp("runs") / "tag"
    assert train(model, 20 * TAGGED, TAGGED, folder, SETTINGS, device=torch.device("cpu"))
    return Tagger.load(folder)


@pytest.fixture(scope="session")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    """A translator that has learned PAIRS, loaded from the folder of its run."""
    torch.manual_seed(0)
    model = Translator.new(PAIRS, SMALL, SentenceDropout(), min_count=1)
    folder = tmp_path_factory.mktemp("runs") / "translate"
    settings = replace(SETTINGS, epochs=4)
    assert train(model, 20 * PAIRS, PAIRS, folder, settings, device=torch.device("cpu"))
    return Translator.load(folder)


def folder_of(model: Classifier | Tagger | Translator, folder: Path) -> Path:
    """A checkpoint of a model in a folder."""
    model.save(folder)
    return folder
