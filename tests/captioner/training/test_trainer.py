"""Training small captioners for real: they learn, go on exactly after a kill, and share work
between processes.
"""

from __future__ import annotations

import copy
import itertools
import json
import socket
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from captioner import Captioner
from captioner.confidence import FEATURES, ConfidenceModel
from captioner.data.annotations import read_dataset
from captioner.network.backbones import create_encoder
from captioner.network.decoder import Decoder, DecoderConfig
from captioner.network.vocabulary import END, PAD, START, Vocabulary
from captioner.training import trainer as training
from captioner.training.batches import epoch_batches
from captioner.training.config import TrainingConfig
from captioner.training.loss import Batch, CaptionModel
from captioner.training.preparation import Run, _initial_parts, _load_state
from captioner.training.self_critical import Reward, self_critical_targets, word_mask
from captioner.training.trainer import train
from rnnkit.checkpoint import update_config
from rnnkit.errors import UserError
from rnnkit.runs import RunFolder
from rnnkit.training import start_accelerator
from tests.forked_commands import start_forked

Shapes = Callable[[int, int], tuple[Path, Path]]

SMALL = TrainingConfig(
    encoder="efficientnet-lite0",
    embedding_size=32,
    hidden_size=32,
    attention_size=16,
    min_count=1,
    dropout=0.1,
    label_smoothing=0.0,
    ema_decay=0.0,
    epochs=2,
    batch_size=8,
    captions_per_photo=3,
    learning_rate=0.01,
    warmup_steps=4,
    max_length=8,
    mixed_precision="no",
)


def run(
    shapes: tuple[Path, Path], output: Path, config: TrainingConfig, **more: Any
) -> dict[str, Any]:
    return train(
        [read_dataset(*shapes)], output, config, device="cpu", cache=output.parent / "cache", **more
    )


def metrics(output: Path) -> list[dict[str, Any]]:
    """The records of a run, without what the clock says."""
    records = [
        json.loads(line)
        for line in (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    return [
        {key: value for key, value in record.items() if "seconds" not in key} for record in records
    ]


def test_a_small_captioner_learns_to_name_colours_and_shapes(
    shapes: Shapes, tmp_path: Path
) -> None:
    files = shapes(32, 8)
    best = run(files, tmp_path / "run", replace(SMALL, epochs=14))
    assert best["cider_d"] > 3
    captioner = Captioner.load(tmp_path / "run", device="cpu", backend="torch")
    captions = [captioner.caption(files[1] / f"{number}.png").text for number in range(32, 40)]
    right = sum(
        colour in caption
        for colour, caption in zip(["red", "green", "blue", "yellow"] * 2, captions, strict=True)
    )
    assert right >= 7, captions


def test_fine_tuning_changes_the_last_stages_only_and_crops_are_learnt_from(
    shapes: Shapes, tmp_path: Path
) -> None:
    config = replace(
        SMALL,
        fine_tune_stages=1,
        fine_tune_from=1,
        crops=2,
        encoder_learning_rate=1e-3,
        ema_decay=0.9,
    )
    run(shapes(16, 4), tmp_path / "run", config)
    found = load_file(tmp_path / "run" / "model.safetensors")
    before = create_encoder("efficientnet-lite0").half().state_dict()
    changed = {
        name.split(".")[1]
        for name in before
        if not torch.equal(found[f"encoder.{name}"], before[name])
    }
    last = max(int(name.split(".")[1]) for name in before)
    assert changed == {str(last)}


def test_the_cnn_waits_for_its_epoch_and_sees_colours_in_the_size_asked_for(
    shapes: Shapes, tmp_path: Path
) -> None:
    files = shapes(16, 4)
    config = replace(
        SMALL,
        fine_tune_stages=1,
        fine_tune_from=3,
        encoder_learning_rate=1e-3,
        image_size=96,
        colours=True,
        ema_decay=0.9,
        epoch_parts=2,
    )
    before = create_encoder("efficientnet-lite0").state_dict()

    def changed(output: Path) -> bool:
        found = load_file(output / "state.safetensors")
        return any(not torch.equal(found[f"model.encoder.{name}"], before[name]) for name in before)

    run(files, tmp_path / "still", config)
    assert not changed(tmp_path / "still")
    run(files, tmp_path / "moving", replace(config, fine_tune_from=2, epochs=3))
    assert changed(tmp_path / "moving")
    own = Captioner.load(tmp_path / "moving", device="cpu", backend="torch").preprocessing
    assert own.size == 96 and own.colours
    init = replace(config, init=str(tmp_path / "moving"), image_size=0, colours=False, epochs=1)
    run(files, tmp_path / "again", init)
    assert Captioner.load(tmp_path / "again", device="cpu", backend="torch").preprocessing == own


def test_a_trained_captioner_knows_how_sure_it_is_of_its_words(
    shapes: Shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captioner.training.confidence.LEAST_WORDS", 5)
    files, config = shapes(8, 8), replace(SMALL, epochs=1)
    run(files, tmp_path / "run", config)
    captioner = Captioner.load(tmp_path / "run", device="cpu", backend="torch")
    caption = captioner.caption(files[1] / "0.png")
    assert caption.confidence is not None and 0 < caption.confidence < 1
    # As a run is that was killed before it was stored: what resumes it has nothing else to do.
    update_config(tmp_path / "run", {"confidence": None})
    run(files, tmp_path / "run", config, resume=True)
    again = Captioner.load(tmp_path / "run", device="cpu", backend="torch")
    assert again.confidence_model == captioner.confidence_model


class _Killed(BaseException):
    """Not an Exception: nothing in between may catch it."""


def test_a_killed_run_that_is_resumed_ends_as_if_nothing_had_happened(
    shapes: Shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = shapes(16, 4)
    config = replace(
        SMALL,
        epochs=2,
        self_critical_epochs=2,
        self_critical_learning_rate=1e-3,
        ema_decay=0.5,
        sampling_rate=0.2,
    )
    run(files, tmp_path / "whole", config)
    save = training.save_state
    # Among these epochs are the last of cross-entropy and the first that is self-critical.
    for victim, saved in itertools.product((1, 2, 3), (False, True)):

        def dying_save(run: Run, victim: int = victim, saved: bool = saved) -> None:
            if saved or run.progress.epoch < victim:
                save(run)
            if run.progress.epoch == victim:
                raise _Killed

        monkeypatch.setattr(training, "save_state", dying_save)
        with pytest.raises(_Killed):
            run(files, tmp_path / "killed", config, resume=(victim, saved) > (1, False))
    monkeypatch.undo()
    run(files, tmp_path / "killed", config, resume=True)
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    for name in ("model.safetensors", "state.safetensors"):
        whole, killed = load_file(tmp_path / "whole" / name), load_file(tmp_path / "killed" / name)
        assert all(torch.equal(whole[key], killed[key]) for key in whole)


def test_resuming_with_other_settings_or_nothing_to_resume_is_refused(
    shapes: Shapes, tmp_path: Path
) -> None:
    files = shapes(8, 4)
    with pytest.raises(UserError, match="nothing to resume"):
        run(files, tmp_path / "run", SMALL, resume=True)
    run(files, tmp_path / "run", replace(SMALL, epochs=1))
    with pytest.raises(UserError, match=r"was started with hidden-size 32, not 16"):
        run(files, tmp_path / "run", replace(SMALL, epochs=1, hidden_size=16), resume=True)
    with pytest.raises(UserError, match="already holds a run"):
        run(files, tmp_path / "run", SMALL)


def test_epochs_of_cross_entropy_cannot_be_added_once_they_are_over_and_another_phase_follows(
    tmp_path: Path,
) -> None:
    config, folder = (
        replace(SMALL, epochs=2, self_critical_epochs=1),
        RunFolder(tmp_path, "captioner"),
    )
    for epoch in (1, 2):
        folder.save_state({}, asdict(config), {"epoch": epoch, "step": 9, "best": None})
        if epoch < 2:
            _, progress = _load_state(folder, replace(config, epochs=3), resuming=True)
            assert progress.epoch == epoch
    with pytest.raises(UserError, match="is past its 2 epochs of cross-entropy"):
        _load_state(folder, replace(config, epochs=3), resuming=True)


def test_resuming_on_other_data_is_refused(shapes: Shapes, tmp_path: Path) -> None:
    annotations, images = shapes(8, 4)
    whole = json.loads(annotations.read_text(encoding="utf-8"))
    run((annotations, images), tmp_path / "run", replace(SMALL, epochs=1))

    def resume(change: Callable[[list[dict[str, Any]]], object]) -> None:
        records = copy.deepcopy(whole["images"])
        change(records)
        annotations.write_text(json.dumps(whole | {"images": records}), encoding="utf-8")
        run((annotations, images), tmp_path / "run", replace(SMALL, epochs=1), resume=True)

    for change in (
        lambda records: records.pop(0),
        lambda records: records.reverse(),
        lambda records: records[0]["sentences"].pop(),
        lambda records: records[8]["sentences"][0].update(raw="a red circle"),
        lambda records: records[0].update(split="val"),
    ):
        with pytest.raises(UserError, match="was started on other photos or captions"):
            resume(change)
    resume(lambda records: records)


def test_a_run_whose_state_does_not_name_its_data_is_resumed(
    shapes: Shapes, tmp_path: Path
) -> None:
    files = shapes(8, 4)
    run(files, tmp_path / "run", replace(SMALL, epochs=1))
    folder = RunFolder(tmp_path / "run", "captioner")
    tensors, info = folder.load_state()
    del info["data_hash"]
    folder.save_state(tensors, info["settings"], info)
    run(files, tmp_path / "run", replace(SMALL, epochs=1), resume=True)


@pytest.mark.slow
def test_two_processes_take_the_same_steps_as_one_with_the_whole_batch(
    shapes: Shapes, tmp_path: Path
) -> None:
    annotations, images = shapes(16, 4)
    config = replace(SMALL, dropout=0.0, epochs=1, self_critical_epochs=0, batch_size=8)
    run((annotations, images), tmp_path / "one", config)
    (tmp_path / "config.json").write_text(json.dumps(vars(config)), encoding="utf-8")
    files = ("--annotations", annotations, "--images", images, "--config", tmp_path / "config.json")
    where = ("--output", tmp_path / "two", "--device", "cpu", "--cache", tmp_path / "cache")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What torchrun sets; a test of charlm starts torchrun itself.
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    together |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    processes = [
        start_forked(
            "captioner",
            *("train", *files, *where),
            err=tmp_path / f"err{rank}",
            environment=together | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    for rank, process in enumerate(processes):
        process.join(300)
        assert process.exitcode == 0, (tmp_path / f"err{rank}").read_text(encoding="utf-8")
    (one,), (two,) = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert two["step"] == one["step"] == 2
    assert two["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-4)
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
    ours, theirs = (
        load_file(tmp_path / "one" / "state.safetensors"),
        load_file(tmp_path / "two" / "state.safetensors"),
    )
    for name in ours:
        # The first moments are sums of the gradients themselves: Adam's steps would hide their
        # size.
        if name.startswith("optimizer.") and name.endswith(".exp_avg"):
            torch.testing.assert_close(theirs[name], ours[name], rtol=1e-3, atol=1e-6)


def test_processes_wait_for_one_that_works_alone_for_hours() -> None:
    handler = start_accelerator(torch.device("cpu"), "no").init_handler
    assert handler is not None and handler.to_kwargs() == {"timeout": timedelta(days=1)}


def test_every_process_gets_its_share_of_the_same_batches(
    shapes: Shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, Any] = {}
    monkeypatch.setattr(
        training, "train_epochs", lambda run: kept.setdefault("photos", run.training)
    )
    run(shapes(16, 4), tmp_path / "run", SMALL)
    photos = kept["photos"]
    whole = list(epoch_batches(photos, SMALL, 1, 0, 1))
    shares = [list(epoch_batches(photos, SMALL, 1, rank, 2)) for rank in range(2)]
    assert len(whole) == 2
    for number, (chosen, inputs, words, targets) in enumerate(whole):
        for rank in range(2):
            part = shares[rank][number]
            assert np.array_equal(part[0], chosen[rank::2])
            assert torch.equal(part[1], inputs[rank::2])
            assert torch.equal(part[2], words[rank::2])
            assert part[3] == targets == int((words[..., 1:] != PAD).sum())
    assert sorted(np.concatenate([chosen for chosen, *_ in whole]).tolist()) == list(range(16))


def test_more_processes_than_photos_are_refused(
    shapes: Shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelerate.Accelerator.num_processes", 5)
    with pytest.raises(
        UserError,
        match=r"4 to train on and 2 to validate on: training needs at least 5 \(one for each",
    ):
        run(shapes(4, 2), tmp_path / "run", SMALL)


@pytest.mark.parametrize("counts", [(8, 1), (8, 0), (0, 8)])
def test_too_few_photos_are_refused_before_any_feature_is_computed(
    counts: tuple[int, int], shapes: Shapes, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError,
        match=(
            f"{counts[0]} to train on and {counts[1]} to validate on: training needs at least 1 .*"
            " validation 2 of one data set"
        ),
    ):
        run(shapes(*counts), tmp_path / "run", SMALL)
    assert not (tmp_path / "cache").exists()


def test_a_data_set_with_one_photo_to_validate_on_is_named_beside_another_that_judges(
    shapes: Shapes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    annotations, images = shapes(8, 4)
    records = json.loads(annotations.read_text(encoding="utf-8"))["images"]
    (tmp_path / "few.json").write_text(
        json.dumps({"images": [*records[:4], records[-1]]}), encoding="utf-8"
    )
    judged: list[str] = []
    monkeypatch.setattr(training, "train_epochs", lambda run: judged.extend(run.validation))
    datasets = [read_dataset(file, images) for file in (annotations, tmp_path / "few.json")]
    with caplog.at_level("WARNING", "captioner"):
        train(datasets, tmp_path / "run", SMALL, device="cpu", cache=tmp_path / "cache")
    assert len(judged) == 1 and "few: its only validation photo is left out" in caplog.text


def test_each_training_in_a_process_has_its_own_precision_and_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for precision in ("no", "bf16", "no"):
        accelerator = start_accelerator(torch.device("cpu"), precision)
        assert (accelerator.mixed_precision, accelerator.device.type) == (precision, "cpu")
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    start_accelerator(torch.device("cuda:1"), "no")
    assert chosen == [torch.device("cuda:1")]


def test_a_photo_whose_caption_says_left_is_never_mirrored(
    shapes: Shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotations, images = shapes(8, 4)
    records = json.loads(annotations.read_text(encoding="utf-8"))
    for record in records["images"][:4]:
        record["sentences"][0]["raw"] += " to the left"
    annotations.write_text(json.dumps(records), encoding="utf-8")
    kept: dict[str, Any] = {}
    monkeypatch.setattr(
        training, "train_epochs", lambda run: kept.setdefault("photos", run.training)
    )
    run((annotations, images), tmp_path / "run", SMALL)
    views = np.stack(
        [
            kept["photos"].draw_views(np.arange(8), np.random.default_rng(seed), True)
            for seed in range(40)
        ]
    )
    assert (views[:, :4] == 0).all()
    assert all(set(views[:, column]) == {0, 1} for column in range(4, 8))


def test_unreadable_photos_are_left_out_and_named(
    shapes: Shapes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    annotations, images = shapes(12, 4)
    (images / "3.png").write_bytes(b"not a picture")
    with caplog.at_level("WARNING", "captioner"):
        run((annotations, images), tmp_path / "run", replace(SMALL, epochs=1))
    assert "1 photos skipped: 3.png (not a picture of a known format" in caplog.text


def test_the_loss_is_the_mean_negative_log_likelihood_of_the_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    decoder = Decoder(
        DecoderConfig(11, 6, embedding_size=8, hidden_size=8, attention_size=4, dropout=0.0)
    )
    model = CaptionModel(create_encoder("efficientnet-lite0", pretrained=False), decoder, 0)
    words = torch.tensor([[[START, 4, 5, 6, END], [START, 7, END, PAD, PAD]]])
    features = torch.rand(1, 9, 6)
    batch = Batch(features, words, (words[..., 1:] != PAD).float(), 6.0)
    loss = model(batch, label_smoothing=0.0, attention_penalty=0.0, sampling_rate=0.0)
    total = torch.tensor(0.0)
    for sentence in words[0]:
        ids = sentence[sentence != PAD]
        logits, _ = decoder(ids[None, None, :-1], features)
        total -= logits[0, 0].log_softmax(-1).gather(-1, ids[1:, None]).sum()
    assert loss.item() == pytest.approx(total.item() / 6, rel=1e-5)


def test_self_critical_targets_carry_advantages_up_to_the_first_end() -> None:
    sampled = torch.tensor([[[4, 5, END, END], [6, END, END, END]]])
    given = torch.tensor([[[START, 7, 8, 9, END]]])
    words, weights = self_critical_targets(
        sampled, torch.tensor([[3.0, 1.0]]), given, share=0.25, normalizer=word_mask(sampled).sum()
    )
    # Longest first. With two samples the baseline of each is the other's reward: advantages +2 and
    # -2; five words in all.
    assert words.tolist() == [
        [[START, 7, 8, 9, END], [START, 4, 5, END, PAD], [START, 6, END, PAD, PAD]]
    ]
    expected = torch.tensor([[[0.25] * 4, [0.4, 0.4, 0.4, 0.0], [-0.4, -0.4, 0.0, 0.0]]])
    torch.testing.assert_close(weights, expected)


def test_the_reward_counts_the_share_of_words_that_captions_use() -> None:
    references = [[["a", "red", "ball"]], [["a", "blue", "box"]], [["two", "dogs"]]]
    vocabulary = Vocabulary.from_captions(tokens for group in references for tokens in group)
    sentences = (["a", "red", "box"], ["a", "red", "ball"])
    drawn = torch.tensor([[vocabulary.encode(words)[1:] for words in sentences]])  # (1, 2, L)
    plain, more = (
        Reward(references, vocabulary, support=weight)(np.array([0]), drawn)
        for weight in (0.0, 0.6)
    )
    torch.testing.assert_close(more - plain, torch.tensor([[0.3, 0.6]]))


def test_the_reward_falls_with_every_gender_that_no_caption_mentions() -> None:
    references = [[["a", "girl", "runs"]], [["a", "man", "runs"]], [["a", "person", "runs"]]]
    vocabulary = Vocabulary.from_captions(tokens for group in references for tokens in group)
    sentences = (["a", "girl", "runs"], ["a", "man", "runs"], ["a", "person", "runs"])
    drawn = torch.tensor([[vocabulary.encode(words)[1:] for words in sentences]])  # (1, 3, L)
    plain, less = (
        Reward(references, vocabulary, gender_penalty=weight)(np.array([0]), drawn)
        for weight in (0.0, 0.75)
    )
    torch.testing.assert_close(less - plain, torch.tensor([[0.0, -0.75, 0.0]]))


def test_each_phase_learns_only_from_photos_with_captions_enough(
    shapes: Shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotations, images = shapes(16, 4)
    data = json.loads(annotations.read_text(encoding="utf-8"))
    for record in data["images"][:6]:
        record["sentences"] = record["sentences"][:1]
    annotations.write_text(json.dumps(data), encoding="utf-8")
    sizes: list[tuple[int, int]] = []

    def counted(photos: Any, config: TrainingConfig, epoch: int, *rest: int) -> Any:
        sizes.append((epoch, len(photos)))
        return epoch_batches(photos, config, epoch, *rest)

    monkeypatch.setattr(training, "epoch_batches", counted)
    config = replace(
        SMALL, epochs=1, self_critical_epochs=1, self_critical_references=2, support_reward=0.5
    )
    run((annotations, images), tmp_path / "run", config)
    assert sizes == [(1, 16), (2, 10)]
    finish = replace(config, cross_entropy_references=3, self_critical_epochs=0)
    run((annotations, images), tmp_path / "finish", finish)
    assert sizes[2:] == [(1, 10)]
    for name in ("self_critical_references", "cross_entropy_references"):
        with pytest.raises(UserError, match=f"lower --{name.replace('_', '-')}"):
            run((annotations, images), tmp_path / "none", replace(config, **{name: 50}))  # type: ignore[arg-type]


def test_the_reward_prefers_a_whole_sentence_to_one_broken_off() -> None:
    references = [
        [["a", "dog", "runs", "on", "grass"]],
        [["two", "men", "sit", "on", "a", "bench"]],
        [["a", "red", "bus"]],
    ]
    vocabulary = Vocabulary.from_captions([caption for group in references for caption in group])
    whole, cut = (
        vocabulary.encode(tokens)[1:] for tokens in (references[0][0], references[0][0][:4])
    )
    endless = [*whole[:-1], *whole[:1]]
    sampled = torch.tensor([[whole, [*cut, END], endless]])
    rewards = Reward(references, vocabulary)(np.array([0]), sampled)[0]
    assert rewards[0] > rewards[1]
    assert rewards[0] > rewards[2]
    assert float(rewards[0]) == pytest.approx(10.0, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"epochs": 0}, "nothing to do"),
        ({"self_critical_epochs": 1, "self_critical_samples": 1}, "self-critical-samples"),
        ({"mixed_precision": "fp8"}, "mixed-precision"),
        ({"batch_size": 0}, "batch-size"),
        ({"attention": "foo"}, "attention must be additive or none"),
        ({"learning_rate": -1.0}, "learning-rate must be above 0"),
        ({"seed": -1}, "seed must be from 0"),
        ({"crops": -5}, "crops must be at least 0"),
        ({"min_count": 1000}, "0 different words, counting those seen 1000 times"),
        ({"fine_tune_stages": 99}, "stages"),
        ({"validation_photos": 1}, "validation-photos must be 0 .* or at least 2"),
        ({"hidden_size": 10**7}, "hidden-size must be from 1 to 1,000,000"),
        ({"encoder": "resnet"}, "unknown encoder"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(
    change: dict[str, Any], message: str, shapes: Shapes, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        run(shapes(4, 2), tmp_path / "run", replace(SMALL, **change))
    assert not (tmp_path / "cache").exists()  # said before any feature is computed


@pytest.mark.parametrize("device", ["gpu", "cuda:9"])
def test_a_device_that_is_not_there_is_refused_before_anything_is_made(
    device: str, shapes: Shapes, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"device '{device}'"):
        train(
            [read_dataset(*shapes(4, 2))],
            tmp_path / "run",
            SMALL,
            device=device,
            cache=tmp_path / "cache",
        )
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("batch_size", "said"), [(8, "the loss is (nan|inf)"), (16, "no sentence has a probability")]
)
def test_a_run_that_diverges_ends_with_the_setting_to_lower(
    batch_size: int, said: str, shapes: Shapes, tmp_path: Path
) -> None:
    files = shapes(16, 4)
    config = replace(SMALL, learning_rate=1e30, warmup_steps=0, batch_size=batch_size)
    with pytest.raises(
        UserError, match=rf"{said} in epoch 1: lower --learning-rate or --clip-norm$"
    ):
        run(files, tmp_path / "run", config)


def test_data_sets_of_one_name_are_scored_apart(shapes: Shapes, tmp_path: Path) -> None:
    files = shapes(8, 4)
    datasets = [read_dataset(*files), read_dataset(*files)]
    train(
        datasets, tmp_path / "run", replace(SMALL, epochs=1), device="cpu", cache=tmp_path / "cache"
    )
    (record,) = metrics(tmp_path / "run")
    assert len(record["validation"]) == 2


def test_the_bundled_captioner_is_a_checkpoint_to_start_from() -> None:
    parts = _initial_parts(TrainingConfig(init="bundled"))
    assert parts is not None and "bicycle" in parts.vocabulary.words
    assert parts.encoder != TrainingConfig().encoder  # and yet it is taken without being named


def test_training_goes_on_from_another_checkpoint_with_its_vocabulary(
    shapes: Shapes, tmp_path: Path
) -> None:
    files = shapes(8, 4)
    run(files, tmp_path / "first", SMALL)
    sure = ConfidenceModel(0.5, dict.fromkeys(FEATURES, 0.0), {}).as_config()
    decoding = {"repeatable": ["circle", "red"], "length_penalty": 0.75, "gender_clarity": 0.8}
    update_config(tmp_path / "first", {"confidence": sure, "decoding": decoding})
    first = Captioner.load(tmp_path / "first", device="cpu", backend="torch")
    run(
        files,
        tmp_path / "second",
        replace(
            SMALL, init=str(tmp_path / "first"), learning_rate=1e-9, epochs=1, gender_clarity=0.9
        ),
    )
    second = Captioner.load(tmp_path / "second", device="cpu", backend="torch")
    assert second.vocabulary.words == first.vocabulary.words
    decoding = second.info["decoding"]
    assert {"circle", "red"} <= set(decoding["repeatable"])
    assert decoding["length_penalty"] == 0.75  # the first's
    assert decoding["gender_clarity"] == 0.9  # what was asked for
    # Four photos are too few to fit it on.
    assert second.confidence_model == first.confidence_model is not None
    torch.testing.assert_close(
        second.decoder.key.weight, first.decoder.key.weight, atol=1e-4, rtol=0
    )
    with pytest.raises(
        UserError, match="was trained on efficientnet-lite0: leave out --encoder efficientnet-lite1"
    ):
        run(
            files,
            tmp_path / "third",
            replace(SMALL, init=str(tmp_path / "first"), encoder="efficientnet-lite1"),
        )
    with pytest.raises(UserError, match="hidden-size, 64, comes from the checkpoint of --init"):
        run(
            files,
            tmp_path / "fourth",
            replace(SMALL, init=str(tmp_path / "first"), hidden_size=64),
        )
