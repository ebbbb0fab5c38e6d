"""Batches of an epoch: the same for every process, and shares whose gradients add up to the
whole's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from captioner.data.annotations import Example
from captioner.network.decoder import Decoder, DecoderConfig
from captioner.network.vocabulary import END, PAD, START, Vocabulary
from captioner.training.batches import TrainingSet, _ahead, epoch_batches, epoch_steps
from captioner.training.config import TrainingConfig
from captioner.training.loss import Batch, CaptionModel
from rnnkit.metrics.tokenizer import tokenize

CONFIG = TrainingConfig(batch_size=6, captions_per_photo=3, seed=5)
REGIONS, CHANNELS, VIEWS = 4, 5, 2


def make_photos(count: int = 12, captions: int = 3) -> TrainingSet:
    """TrainingSet whose rows are random, with captions of one to nine words."""
    source = np.random.default_rng(0)
    words = [f"word{number}" for number in range(20)]
    texts = [
        [" ".join(source.choice(words, source.integers(1, 10))) for _ in range(captions)]
        for _ in range(count)
    ]
    examples = [
        Example(Path(f"{number}.jpg"), tuple(group), "train", number)
        for number, group in enumerate(texts)
    ]
    vocabulary = Vocabulary.from_captions(tokenize(text) for group in texts for text in group)
    rows = SimpleNamespace(
        rows=source.normal(size=(count, VIEWS, REGIONS, CHANNELS)).astype(np.float16)
    )
    return TrainingSet(examples, cast(Any, rows), range(count), vocabulary, 20)


# --- what a batch is ------------------------------------------------------------------------------


def test_an_epoch_shows_every_photo_once_in_an_order_of_its_own() -> None:
    photos = make_photos()
    orders = [
        np.concatenate(
            [chosen for chosen, *_ in epoch_batches(photos, CONFIG, epoch, 0, 1)]
        ).tolist()
        for epoch in (1, 2, 1)
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(12))
    assert orders[0] == orders[2] != orders[1]
    other_seed = replace(CONFIG, seed=6)
    assert (
        np.concatenate(
            [chosen for chosen, *_ in epoch_batches(photos, other_seed, 1, 0, 1)]
        ).tolist()
        != orders[0]
    )


def test_words_are_whole_captions_of_the_photo_the_longest_first() -> None:
    photos = make_photos()
    for chosen, inputs, words, targets in epoch_batches(photos, CONFIG, 1, 0, 1):
        assert words.shape[:2] == (6, 3) and inputs.shape == (6, REGIONS, CHANNELS)
        for photo, sentences in zip(chosen, words.tolist(), strict=True):
            found = [[word for word in sentence if word != PAD] for sentence in sentences]
            assert sorted(found) == sorted(photos.ids[photo])
            assert [len(sentence) for sentence in found] == sorted(map(len, found), reverse=True)
            assert all(sentence[0] == START and sentence[-1] == END for sentence in found)
        assert targets == int((words[..., 1:] != PAD).sum())


@pytest.mark.parametrize(("there", "asked"), [(2, 5), (1, 4), (5, 2)])
def test_with_fewer_captions_than_asked_for_each_is_used_once(there: int, asked: int) -> None:
    photos = make_photos(captions=there)
    for chosen, _, words, _ in epoch_batches(
        photos, replace(CONFIG, captions_per_photo=asked), 1, 0, 1
    ):
        for photo, sentences in zip(chosen, words.tolist(), strict=True):
            found = {tuple(word for word in sentence if word != PAD) for sentence in sentences}
            assert len(sentences) == len(found) == min(there, asked)
            assert found <= {tuple(ids) for ids in photos.ids[photo]}


def mixed_photos() -> TrainingSet:
    """14 photos of three captions, then 36 of one."""
    many, single = make_photos(14), make_photos(36, captions=1)
    rows = SimpleNamespace(rows=np.concatenate([many.rows.rows, single.rows.rows]))
    examples = many.examples + single.examples
    words = (tokenize(caption) for example in examples for caption in example.captions)
    return TrainingSet(examples, cast(Any, rows), range(50), Vocabulary.from_captions(words), 20)


def test_photos_with_fewer_captions_share_larger_batches_of_as_many_captions() -> None:
    photos = mixed_photos()
    batches = list(epoch_batches(photos, CONFIG, 1, 0, 1))
    assert len(batches) == epoch_steps(photos, CONFIG) == 4
    seen = np.concatenate([chosen for chosen, *_ in batches])
    assert len(set(seen.tolist())) == len(seen) == 6 + 6 + 6 + 18
    for chosen, _, words, _ in batches:
        captions = [len(photos.ids[photo]) for photo in chosen]
        assert (words[..., 0] == START).sum(dim=1).tolist() == captions
        if len(set(captions)) == 1:
            assert words[..., 0].numel() == 18


def test_parts_of_a_pass_over_the_photos_are_epochs_that_show_each_photo_once() -> None:
    photos, config = mixed_photos(), replace(CONFIG, epoch_parts=2)
    epochs = [list(epoch_batches(photos, config, epoch, 0, 1)) for epoch in (1, 2, 3)]
    assert [len(batches) for batches in epochs] == [epoch_steps(photos, config)] * 3 == [2] * 3
    seen = [[photo for chosen, *_ in batches for photo in chosen.tolist()] for batches in epochs]
    assert not set(seen[0]) & set(seen[1]) and len(seen[0] + seen[1]) == 36
    assert seen[0] != seen[2]


def test_photos_with_captions_enough_keep_their_own_captions_and_rows() -> None:
    photos = mixed_photos()
    kept = photos.with_captions(3)
    assert len(kept) == 14 and len(photos) == 50 and kept.ids == photos.ids[:14]
    np.testing.assert_array_equal(kept.inputs(np.array([2])), photos.inputs(np.array([2])))


def test_captions_are_cut_to_the_longest_allowed() -> None:
    photos = make_photos()
    short = TrainingSet(
        photos.examples,
        photos.rows,
        photos.indices.tolist(),
        Vocabulary.from_captions([["word1"]]),
        4,
    )
    assert max(len(ids) for group in short.ids for ids in group) == 4 + 2


def test_inputs_are_the_rows_of_the_views_drawn() -> None:
    photos = make_photos()
    views = np.array([1, 0, 1])
    found = photos.inputs(np.array([7, 2, 0]), views).numpy()
    np.testing.assert_array_equal(found, photos.rows.rows[[7, 2, 0], views])
    np.testing.assert_array_equal(photos.inputs(np.array([3])).numpy(), photos.rows.rows[[3], 0])


def test_without_mirroring_only_even_views_are_drawn() -> None:
    drawn = make_photos().draw_views(np.zeros(50, dtype=int), np.random.default_rng(0), False)
    assert set(drawn.tolist()) == {0}


# --- shares ---------------------------------------------------------------------------------------


def gradient(model: CaptionModel, batch: Batch) -> Tensor:
    model.zero_grad()
    model(batch, label_smoothing=0.1, attention_penalty=0.0, sampling_rate=0.0).backward()
    return torch.cat(
        [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    )


@pytest.mark.parametrize("processes", [2, 3])
def test_the_mean_of_the_shares_gradients_is_the_gradient_of_the_whole_batch(
    processes: int,
) -> None:
    """Sentences differ in length, so a share may not have one as long as the batch's longest."""
    photos = make_photos(24)
    torch.manual_seed(0)
    vocabulary = 4 + max(word for group in photos.ids for ids in group for word in ids)
    decoder = Decoder(
        DecoderConfig(
            vocabulary, CHANNELS, embedding_size=8, hidden_size=8, attention_size=8, dropout=0.0
        )
    )
    model = CaptionModel(cast(Any, torch.nn.Identity()), decoder, 0)

    def batch(words: Tensor, inputs: Tensor, normalizer: float) -> Batch:
        return Batch(inputs, words, (words[..., 1:] != PAD).float(), normalizer)

    whole = list(epoch_batches(photos, CONFIG, 1, 0, 1))
    shares = [list(epoch_batches(photos, CONFIG, 1, rank, processes)) for rank in range(processes)]
    assert len(whole) == 4
    for number, (_, inputs, words, targets) in enumerate(whole):
        mean = torch.stack(
            [
                gradient(model, batch(share[number][2], share[number][1], targets / processes))
                for share in shares
            ]
        ).mean(dim=0)
        torch.testing.assert_close(
            mean, gradient(model, batch(words, inputs, targets)), atol=1e-6, rtol=1e-4
        )


# --- working ahead --------------------------------------------------------------------------------


def test_results_made_ahead_come_in_order_and_none_is_lost() -> None:
    assert list(_ahead(lambda a, b: a * b, ((number, 2) for number in range(20)))) == [
        2 * number for number in range(20)
    ]
    assert list(_ahead(lambda a: a, iter([]))) == []


def test_an_error_in_what_is_made_ahead_is_not_lost() -> None:
    def arguments() -> Iterator[tuple[int]]:
        yield from ((1,), (0,), (2,))

    results = _ahead(lambda number: 1 / number, arguments())
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        list(results)
