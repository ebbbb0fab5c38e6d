"""Rows that are computed once: the right ones, kept through crashes, and never stale."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from captioner.data.images import open_image
from captioner.network.backbones import create_encoder
from captioner.network.encoder import Encoder
from captioner.training import feature_cache as features
from captioner.training.feature_cache import PhotoRows, decoded, photo_views
from rnnkit.errors import UserError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return create_encoder("efficientnet-lite0")


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Five photos whose left and right differ."""
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = []
    for number in range(5):
        noise = np.random.default_rng(number).integers(0, 255, (6, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number}.png")
        paths.append(folder / f"{number}.png")
    return paths


def views(
    encoder: Encoder, photos: Sequence[Path], cache: Path, **options: Any
) -> tuple[np.ndarray, dict[int, str]]:
    rows, bad = photo_views(encoder, photos, cache, CPU, backend="torch", batch_size=2, **options)
    return rows.rows, bad


def direct(encoder: Encoder, pixels: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        found: np.ndarray = encoder(torch.from_numpy(np.ascontiguousarray(pixels[None])))[0].numpy()
    return found


class Counted:
    """Stands for the engine's choice and counts the photos that are computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.photos: list[int] = []
        self.fail_after: int | None = None
        whole = features.decoded

        def counting(
            photos: Sequence[Path], indices: Sequence[int], *rest: Any
        ) -> Iterator[tuple[Sequence[int], np.ndarray]]:
            for batch, (chosen, pixels) in enumerate(whole(photos, indices, *rest)):
                if batch == self.fail_after:
                    raise KeyboardInterrupt
                self.photos += chosen
                yield chosen, pixels

        monkeypatch.setattr(features, "decoded", counting)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


# --- what a row holds -----------------------------------------------------------------------------


def test_a_row_holds_the_features_of_a_photo_and_of_its_mirror_image(
    encoder: Encoder, photos: list[Path], tmp_path: Path
) -> None:
    rows, bad = views(encoder, photos, tmp_path / "cache")
    assert rows.shape == (5, 2, 49, 1280) and rows.dtype == np.float16 and bad == {}
    for number, photo in enumerate(photos):
        pixels = encoder.preprocessing.pixels(open_image(photo))
        for view, seen in enumerate((pixels, pixels[:, ::-1])):
            wanted = direct(encoder, seen)
            assert np.abs(rows[number, view] - wanted).max() < 0.01 * wanted.max()
        assert np.abs(rows[number, 0] - rows[number, 1]).max() > 0.1


def test_with_stages_left_for_training_a_row_holds_what_they_need(
    encoder: Encoder, photos: list[Path], tmp_path: Path
) -> None:
    grid, _ = views(encoder, photos[:2], tmp_path / "cache", trained=2)
    whole, _ = views(encoder, photos[:2], tmp_path / "cache")
    with torch.inference_mode():
        found = encoder.back(torch.from_numpy(np.array(grid[:, 0])).float(), 2).numpy()
    assert np.abs(found - whole[:, 0]).max() < 0.02 * whole.max()


def test_crops_are_more_views_that_differ_from_photo_to_photo_and_not_from_run_to_run(
    encoder: Encoder, photos: list[Path], tmp_path: Path
) -> None:
    one, _ = views(encoder, photos, tmp_path / "one", crops=2)
    two, _ = views(encoder, photos, tmp_path / "two", crops=2)
    assert one.shape[1] == 4
    np.testing.assert_array_equal(one, two)
    assert len({one[0, view].tobytes() for view in range(4)}) == 4


def test_a_crop_keeps_the_share_asked_for_and_every_other_one_is_mirrored(tmp_path: Path) -> None:
    # Red grows from left to right, blue from top to bottom, so a crop's edges can be read off.
    ramp = np.zeros((300, 400, 3), dtype=np.uint8)
    ramp[..., 0], ramp[..., 2] = np.linspace(0, 255, 400), np.linspace(0, 255, 300)[:, None]
    path = tmp_path / "ramp.png"
    Image.fromarray(ramp).save(path)
    preprocessing = create_encoder("efficientnet-lite0", pretrained=False).preprocessing
    for scale in (0.3, 0.8):
        shares = []
        for index in range(30):
            stack = features._views(
                path, index, preprocessing=preprocessing, crops=4, crop_scale=scale
            ).astype(int)
            np.testing.assert_array_equal(stack[1], stack[0][:, ::-1])
            for number, view in enumerate(stack[2:]):
                width, height = (
                    view[112, -1, 0] - view[112, 0, 0],
                    view[-1, 112, 2] - view[0, 112, 2],
                )
                assert (width < 0) == (number % 2 == 1) and height > 0
                shares.append(abs(width) * height / 255**2)
        assert scale - 0.05 < min(shares) < scale + 0.15 and 0.85 < max(shares) <= 1.02


# --- the cache ------------------------------------------------------------------------------------


def test_a_second_run_computes_nothing(
    encoder: Encoder, photos: list[Path], tmp_path: Path, counted: Counted
) -> None:
    first, _ = views(encoder, photos, tmp_path / "cache")
    assert sorted(counted.photos) == [0, 1, 2, 3, 4]
    second, _ = views(encoder, photos, tmp_path / "cache")
    assert len(counted.photos) == 5
    np.testing.assert_array_equal(first, second)


def test_after_a_crash_only_the_rest_is_computed(
    encoder: Encoder, photos: list[Path], tmp_path: Path, counted: Counted
) -> None:
    counted.fail_after = 1
    with pytest.raises(KeyboardInterrupt):
        views(encoder, photos, tmp_path / "cache")
    assert counted.photos == [0, 1]
    counted.fail_after = None
    rows, bad = views(encoder, photos, tmp_path / "cache")
    assert counted.photos == [0, 1, 2, 3, 4] and bad == {}
    np.testing.assert_array_equal(rows, views(encoder, photos, tmp_path / "other")[0])


def test_a_photo_that_changed_is_computed_again_and_no_other(
    encoder: Encoder, photos: list[Path], tmp_path: Path, counted: Counted
) -> None:
    before = np.array(views(encoder, photos, tmp_path / "cache")[0])
    counted.photos.clear()
    Image.new("RGB", (300, 200), (250, 0, 0)).save(photos[3])
    after, _ = views(encoder, photos, tmp_path / "cache")
    assert counted.photos == [3]
    np.testing.assert_array_equal(after[[0, 1, 2, 4]], before[[0, 1, 2, 4]])
    assert not np.array_equal(after[3], before[3])


def test_a_photo_that_was_replaced_by_one_of_the_same_size_is_noticed(
    encoder: Encoder, photos: list[Path], tmp_path: Path, counted: Counted
) -> None:
    views(encoder, photos, tmp_path / "cache")
    counted.photos.clear()
    stat = photos[1].stat()
    os.utime(photos[1], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    views(encoder, photos, tmp_path / "cache")
    assert counted.photos == [1]


def test_other_weights_stages_crops_or_photos_have_other_rows(
    encoder: Encoder, photos: list[Path], tmp_path: Path, counted: Counted
) -> None:
    cache = tmp_path / "cache"
    changed = create_encoder("efficientnet-lite0")
    with torch.no_grad():
        next(changed.parameters())[0, 0, 0, 0] += 0.1
    for model, chosen, options in (
        (encoder, photos[:2], {}),
        (changed, photos[:2], {}),
        (encoder, photos[:2], {"trained": 1}),
        (encoder, photos[:2], {"crops": 1}),
        (encoder, photos[:2], {"crops": 1, "crop_scale": 0.9}),
        (encoder, photos[1::-1], {}),
    ):
        counted.photos.clear()
        views(model, chosen, cache, **options)
        assert sorted(counted.photos) == [0, 1], options
    assert len(list(cache.iterdir())) == 6


def test_weights_stored_in_half_precision_find_the_rows_of_those_they_came_from(
    encoder: Encoder, photos: list[Path], tmp_path: Path, counted: Counted
) -> None:
    first, zero = next(iter(encoder.state_dict())), torch.zeros(())
    own, stored = (create_encoder("efficientnet-lite0", pretrained=False) for _ in range(2))
    own.load_state_dict(encoder.state_dict())
    stored.load_state_dict(
        {name: tensor.half().to(tensor.dtype) for name, tensor in encoder.state_dict().items()}
    )
    for model, value in ((own, -zero), (stored, zero)):  # as a moving average changes them
        model.state_dict()[first].view(-1)[0] = value
    views(own, photos, tmp_path / "cache")
    counted.photos.clear()
    views(stored, photos, tmp_path / "cache")
    assert counted.photos == []


def test_rows_of_the_wrong_size_are_not_used(
    encoder: Encoder, photos: list[Path], tmp_path: Path
) -> None:
    views(encoder, photos, tmp_path / "cache")
    (rows,) = (tmp_path / "cache").glob("*/rows.bin")
    with rows.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(UserError, match=r"rows.bin' is damaged .*: delete the folder"):
        views(encoder, photos, tmp_path / "cache")


def test_a_disk_without_room_for_the_rows_is_told_before_any_is_computed(
    encoder: Encoder,
    photos: list[Path],
    tmp_path: Path,
    counted: Counted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match=r"No space left .*\.bin, [0-9.]+ GB"):
        views(encoder, photos, tmp_path / "cache")
    assert counted.photos == [] and not list((tmp_path / "cache").glob("*/*.bin"))


@pytest.mark.skipif(
    not hasattr(os, "posix_fallocate"), reason="what the other process comes in between"
)
@pytest.mark.parametrize("links", [True, False])
def test_processes_that_open_a_new_cache_at_once_share_its_rows(
    links: bool, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:

        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)

    def opened() -> PhotoRows:
        return PhotoRows(tmp_path / "cache", photos, {"what": "numbers"}, (2,), np.int32)

    others: list[PhotoRows] = []
    reserve = os.posix_fallocate

    def another_comes(*arguments: int) -> None:
        """While one process makes its file, another opens the cache and fills it."""
        monkeypatch.setattr(os, "posix_fallocate", reserve)
        others.append(opened())
        others[0].fill(lambda stale: iter([(stale, np.full((len(stale), 2), 7))]), "numbers")
        reserve(*arguments)

    monkeypatch.setattr(os, "posix_fallocate", another_comes)
    rows = opened()
    assert (rows.rows == 7).all() and rows.fill(lambda stale: iter(()), "numbers") == {}
    rows.rows[0] = 8
    assert (others[0].rows[0] == 8).all()
    assert sorted(path.name for path in (tmp_path / "cache").glob("*/*")) == [
        "fingerprints.bin",
        "key.json",
        "rows.bin",
    ]


# --- photos that do not open ----------------------------------------------------------------------


def test_photos_that_do_not_open_are_named_with_their_reason_and_the_others_computed(
    encoder: Encoder, photos: list[Path], tmp_path: Path, counted: Counted
) -> None:
    photos[1].write_bytes(photos[1].read_bytes()[:500])
    photos[2].write_text("no picture", encoding="utf-8")
    photos[4].unlink()
    rows, bad = views(encoder, photos, tmp_path / "cache")
    assert sorted(counted.photos) == [0, 3] and sorted(bad) == [1, 2, 4]
    assert (
        "damaged or cut short" in bad[1] and "not a picture" in bad[2] and bad[4] == "no such file"
    )
    assert rows[0].any() and rows[3].any()


def test_a_photo_that_was_mended_is_computed(
    encoder: Encoder, photos: list[Path], tmp_path: Path, counted: Counted
) -> None:
    whole = photos[2].read_bytes()
    photos[2].write_bytes(whole[:200])
    _, bad = views(encoder, photos, tmp_path / "cache")
    assert list(bad) == [2]
    photos[2].write_bytes(whole)
    counted.photos.clear()
    rows, bad = views(encoder, photos, tmp_path / "cache")
    assert bad == {} and counted.photos == [2] and rows[2].any()


def test_a_photo_that_went_away_is_no_longer_used(
    encoder: Encoder, photos: list[Path], tmp_path: Path
) -> None:
    views(encoder, photos, tmp_path / "cache")
    photos[0].unlink()
    _, bad = views(encoder, photos, tmp_path / "cache")
    assert bad == {0: "no such file"}


# --- the parts ------------------------------------------------------------------------------------


def test_batches_are_decoded_in_order_and_leave_out_what_does_not_open(photos: list[Path]) -> None:
    photos[3].write_bytes(b"")

    def prepare(photo: Path, index: int) -> np.ndarray:
        return np.array([index, open_image(photo).width])

    batches = [
        (list(chosen), rows.tolist()) for chosen, rows in decoded(photos, [4, 3, 2, 0], prepare, 2)
    ]
    assert batches == [([4], [[4, 320]]), ([2, 0], [[2, 320], [0, 320]])]


def test_rows_of_any_shape_can_be_kept(tmp_path: Path, photos: list[Path]) -> None:
    def compute(indices: Sequence[int]) -> Iterator[tuple[Sequence[int], np.ndarray]]:
        for index in indices:
            yield [index], np.full((1, 2, 3), index)

    kept = PhotoRows(tmp_path / "cache", photos, {"what": "numbers"}, (2, 3), np.int32)
    assert kept.fill(compute, "numbers") == {}
    again = PhotoRows(tmp_path / "cache", photos, {"what": "numbers"}, (2, 3), np.int32)
    np.testing.assert_array_equal(again.rows[:, 1, 2], np.arange(5))
    assert again.fill(compute, "numbers") == {}
