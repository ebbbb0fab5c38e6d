"""Runs: stopped and resumed they come out the same, and what does not fit is refused."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rnnkit.errors import UserError
from rnnkit.runs import METRICS
from sequences.classifier import Classifier
from sequences.data import Labelled
from sequences.network.architecture import SentenceDropout
from sequences.tagger import Tagger
from sequences.training.config import ClassifyConfig, TagConfig, TrainingConfig
from sequences.training.trainer import SentenceTrainer, shuffled_batches, start_from, train
from tests.sequences.conftest import LABELLED, SETTINGS, SMALL, TAGGED

CPU = torch.device("cpu")
SHORT = replace(SETTINGS, epochs=2, batch_size=4, ema_decay=0.9)


def new_classifier() -> Classifier:
    torch.manual_seed(0)
    dropout = SentenceDropout(0.2, 0.2, 0.2, 0.2)
    return Classifier.new(LABELLED, SMALL, dropout, min_count=1, evidence=True)


def run(folder: Path, config: TrainingConfig = SHORT, *, resume: bool = False) -> bool:
    return train(new_classifier(), LABELLED, LABELLED, folder, config, device=CPU, resume=resume)


def test_a_run_that_was_stopped_and_resumed_is_the_run_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path / "whole")
    once = SentenceTrainer._train_batch

    def stop_after_two(trainer: SentenceTrainer[Labelled], indices: list[int]) -> None:
        once(trainer, indices)
        if trainer.step == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(SentenceTrainer, "_train_batch", stop_after_two)
    assert not run(tmp_path / "stopped")
    monkeypatch.undo()
    assert run(tmp_path / "stopped", resume=True)
    for name in ("state.safetensors", "model.safetensors"):
        weights = [(tmp_path / which / name).stat().st_size for which in ("whole", "stopped")]
        assert weights[0] == pytest.approx(weights[1], abs=200)  # the header has times
    whole, stopped = (Classifier.load(tmp_path / which) for which in ("whole", "stopped"))
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, stopped.network.state_dict()[name]), name


def test_a_finished_run_is_not_started_again_but_may_have_more_epochs(tmp_path: Path) -> None:
    assert run(tmp_path / "run")
    records = (tmp_path / "run" / METRICS).read_text(encoding="utf-8")
    assert run(tmp_path / "run", resume=True)
    assert (tmp_path / "run" / METRICS).read_text(encoding="utf-8") == records
    with pytest.raises(UserError, match="--resume"):
        run(tmp_path / "run")
    assert run(tmp_path / "run", replace(SHORT, epochs=3), resume=True)
    lines = (tmp_path / "run" / METRICS).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines if "best" in line] == [1, 2, 3]


def test_a_run_is_not_resumed_on_other_examples(tmp_path: Path) -> None:
    assert run(tmp_path / "run")
    with pytest.raises(UserError, match="other examples"):
        train(
            new_classifier(),
            LABELLED[1:],
            LABELLED,
            tmp_path / "run",
            SHORT,
            device=CPU,
            resume=True,
        )


def test_a_run_is_not_resumed_with_other_settings(tmp_path: Path) -> None:
    assert run(tmp_path / "run")
    with pytest.raises(UserError, match="learning-rate"):
        run(tmp_path / "run", replace(SHORT, learning_rate=0.5), resume=True)


def test_the_kept_weights_are_the_best_on_dev(tmp_path: Path) -> None:
    assert run(tmp_path / "run", replace(SHORT, epochs=3))
    lines = (tmp_path / "run" / METRICS).read_text(encoding="utf-8").splitlines()
    scores = [record["accuracy"] for record in map(json.loads, lines) if "accuracy" in record]
    kept = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert len(scores) == 3 and kept["training"]["dev"]["accuracy"] == max(scores)


def test_a_loss_that_is_not_finite_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Classifier, "loss", lambda model, *_: next(model.network.parameters()).sum() * float("nan")
    )
    with pytest.raises(UserError, match="the loss is nan"):
        run(tmp_path / "run", replace(SHORT, log_every=1))


def test_every_weight_of_every_task_gets_a_gradient() -> None:
    tagger = Tagger.new(TAGGED, replace(SMALL, output="crf"), SentenceDropout(), min_count=1)
    for model, examples in ((new_classifier(), LABELLED), (tagger, TAGGED)):
        if isinstance(model, Classifier):
            model.begin_epoch(LABELLED, 0)
        model.loss(examples, range(10)).backward()  # type: ignore[arg-type]
        for name, parameter in model.network.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_a_missed_entity_costs_what_an_o_that_scored_more_would(tagger: Tagger) -> None:
    indices = range(len(TAGGED))
    network = tagger.network
    emissions = network(tagger.vocabulary.encode([example.words for example in TAGGED]))
    raised = emissions.detach().clone()
    for column, example in enumerate(TAGGED):
        for row, tag in enumerate(example.tags):
            raised[row, column, tagger.tags.index("O")] += 2.0 * (tag != "O")
    plain = tagger.loss(TAGGED, indices)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "missed_entity_cost", 2.0)
        costly = tagger.loss(TAGGED, indices)
        patch.setattr(network, "missed_entity_cost", 0.0)
        patch.setattr(network, "forward", lambda sentences: raised)
        assert tagger.loss(TAGGED, indices).item() == pytest.approx(costly.item(), rel=1e-5)
    assert costly > plain


def test_batches_have_every_example_once_in_another_order_each_epoch() -> None:
    sizes = [index % 7 for index in range(100)]
    first, second = (shuffled_batches(sizes, 8, seed) for seed in (1, 2))
    assert sorted(index for batch in first for index in batch) == list(range(100))
    assert first != second and first == shuffled_batches(sizes, 8, 1)
    assert max(max(sizes[p] for p in b) - min(sizes[p] for p in b) for b in first) <= 1


def test_a_model_that_starts_from_another_keeps_its_words_and_layers() -> None:
    tagger = Tagger.new(TAGGED, SMALL, SentenceDropout(), min_count=1)
    classifier = Classifier.new(
        LABELLED, SMALL, SentenceDropout(), min_count=1, evidence=False, known=tagger.vocabulary
    )
    copied = start_from(classifier.network, tagger)
    assert "words.embedding.weight" in copied and "layers.forwards.0.weight_ih_l0" in copied
    word_id = tagger.vocabulary.word_id("paris")
    assert word_id == classifier.vocabulary.word_id("Paris")
    assert torch.equal(
        classifier.network.words.embedding.weight[word_id],
        tagger.network.words.embedding.weight[word_id],
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"cell": "mlp"},
        {"dilations": "1,x"},
        {"dilations": "0"},
        {"epochs": 0},
        {"output_layer": "x"},
    ],
)
def test_settings_out_of_their_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        TagConfig(**wrong)  # type: ignore[arg-type]


def test_the_network_is_the_one_that_the_settings_ask_for() -> None:
    a = ClassifyConfig(
        cell="gru", bidirectional=False, dilations="1,2", num_layers=2
    ).architecture()
    assert (a.cell, a.bidirectional, a.dilations, a.num_layers) == ("gru", False, (1, 2), 2)
    assert TagConfig(output_layer="crf").architecture().output == "crf"


def test_one_label_alone_is_nothing_to_learn() -> None:
    with pytest.raises(UserError, match="nothing to learn"):
        Classifier.new(LABELLED[:1], SMALL, SentenceDropout(), min_count=1, evidence=False)
