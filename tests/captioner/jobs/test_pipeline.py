"""Many photos: captioned in their order, none lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captioner import Caption, Captioner, Decoding
from captioner.jobs.pipeline import caption_photos, default_workers
from captioner.types import CaptionResult, EncodedPicture


@pytest.fixture(scope="module")
def captioner(untrained: Path) -> Captioner:
    return Captioner.load(untrained, device="cpu", backend="torch")


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(7)]
    for number, path in enumerate(paths):
        noise = np.random.default_rng(number).integers(0, 255, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC).save(path)
    return paths


def all_rows(
    captioner: Captioner,
    photos: Sequence[Path | EncodedPicture],
    batch_size: int = 3,
    workers: int = 2,
) -> list[CaptionResult]:
    decoding = Decoding(max_length=5)
    return [
        row
        for batch in caption_photos(
            captioner, photos, decoding, batch_size=batch_size, workers=workers
        )
        for row in batch
    ]


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (3, 2), (100, 4)])
def test_rows_come_in_the_order_of_the_photos_each_with_its_own_caption(
    batch_size: int, workers: int, captioner: Captioner, photos: list[Path]
) -> None:
    rows = all_rows(captioner, photos, batch_size, workers=workers)
    assert [row.path for row in rows] == photos
    alone = [captioner.caption(photo, max_length=5).text for photo in photos]
    assert [row.captions[0].text for row in rows] == alone and len(set(alone)) > 3
    assert all(row.error is None for row in rows)


@pytest.mark.parametrize("bad", [{1}, {0, 1, 2}, {6}, set(range(7))])
def test_a_photo_that_does_not_open_is_one_row_with_the_reason_and_moves_no_other(
    bad: set[int], captioner: Captioner, photos: list[Path]
) -> None:
    whole = all_rows(captioner, photos)
    for number in bad:
        photos[number].write_bytes(b"no picture")
    rows = all_rows(captioner, photos)
    assert [row.path for row in rows] == photos
    for number, row in enumerate(rows):
        if number in bad:
            assert row.captions == () and row.error is not None and "not a picture" in row.error
        else:
            assert row.error is None and row.captions[0].text == whole[number].captions[0].text


def test_batches_are_as_large_as_asked_for(captioner: Captioner, photos: list[Path]) -> None:
    assert [
        len(batch) for batch in caption_photos(captioner, photos, Decoding(), batch_size=3)
    ] == [3, 3, 1]


def test_no_more_than_three_batches_are_held_at_a_time(
    captioner: Captioner, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    lock = threading.Lock()
    prepare = captioner.prepare

    def noting(photo: Path) -> np.ndarray:
        with lock:
            opened.append(photo)
        return prepare(photo)

    monkeypatch.setattr(captioner, "prepare", noting)
    batches = caption_photos(captioner, photos * 3, Decoding(max_length=2), batch_size=2)
    for number in range(1, 8):
        next(batches)
        assert len(opened) <= 2 * (number + 2)
    assert len(opened) < len(photos * 3)


def test_several_captions_a_photo_come_best_first(captioner: Captioner, photos: list[Path]) -> None:
    (batch,) = caption_photos(
        captioner, photos[:2], Decoding(num_captions=3, beam_size=3, max_length=5)
    )
    for row in batch:
        scores = [caption.score for caption in row.captions]
        assert len(scores) == 3 and len({caption.words for caption in row.captions}) == 3


def test_without_photos_there_are_no_rows(captioner: Captioner) -> None:
    assert all_rows(captioner, []) == []


def test_there_is_a_thread_for_each_core_up_to_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, threads in ((1, 1), (4, 4), (64, 8), (None, 1)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert default_workers() == threads


class Stages:
    """Stands in for a captioner: notes which photos each stage has begun with."""

    def __init__(self) -> None:
        self.begun = {"decode": 0, "encode": 0, "search": 0}
        self.changed = threading.Condition()
        self.failing: Path | None = None

    def note(self, stage: str, photos: int) -> None:
        with self.changed:
            self.begun[stage] += photos
            self.changed.notify_all()

    def wait_until_begun(self, stage: str, photos: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.begun[stage] >= photos, timeout=60), (
                f"{stage} did not continue in the meantime"
            )

    def prepare(self, photo: Path | bytes) -> np.ndarray:
        if photo == self.failing:
            raise RuntimeError("a bug")
        self.note("decode", 1)
        return np.zeros((2, 2, 3), dtype=np.uint8)

    def encode(self, pixels: np.ndarray) -> torch.Tensor:
        self.note("encode", len(pixels))
        return torch.zeros(len(pixels), 1, 1)

    def caption_features(self, features: torch.Tensor, decoding: Decoding) -> list[list[Caption]]:
        self.note("search", len(features))
        return [[Caption("", 0.0, ())] for _ in features]


def test_while_one_batch_is_searched_the_next_is_encoded_and_the_one_after_that_decoded() -> None:
    class Waiting(Stages):
        def caption_features(
            self, features: torch.Tensor, decoding: Decoding
        ) -> list[list[Caption]]:
            found = super().caption_features(features, decoding)
            self.wait_until_begun("encode", min(self.begun["search"] + 4, 40))
            return found

        def encode(self, pixels: np.ndarray) -> torch.Tensor:
            found = super().encode(pixels)
            self.wait_until_begun("decode", min(self.begun["encode"] + 4, 40))
            return found

    stages = Waiting()
    photos = [Path(f"{number}.jpg") for number in range(40)]
    assert (
        sum(
            len(batch)
            for batch in caption_photos(stages, photos, Decoding(), batch_size=4, workers=1)
        )
        == 40
    )


def test_photos_are_asked_for_a_few_at_a_time_however_many_come() -> None:
    asked = 0

    def coming() -> Iterator[Path]:
        nonlocal asked
        for number in range(1_000_000):
            asked = number + 1
            yield Path(f"{number}.jpg")

    batches = caption_photos(Stages(), coming(), Decoding(), batch_size=4)
    assert [row.path.name for _ in range(5) for row in next(batches)] == [
        f"{number}.jpg" for number in range(20)
    ]
    assert asked <= 28
    batches.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_bug_in_a_thread_reaches_the_caller_and_leaves_no_thread_behind(batch_size: int) -> None:
    stages = Stages()
    stages.failing = Path("9.jpg")
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="a bug"):
        list(
            caption_photos(
                stages,
                [Path(f"{number}.jpg") for number in range(20)],
                Decoding(),
                batch_size=batch_size,
            )
        )
    assert threading.active_count() == before


def test_a_picture_in_memory_is_captioned_as_the_file_is(
    captioner: Captioner, photos: list[Path]
) -> None:
    pictures = [EncodedPicture(Path("in a shard"), photo.read_bytes()) for photo in photos]
    assert [row.captions for row in all_rows(captioner, pictures)] == [
        row.captions for row in all_rows(captioner, photos)
    ]
