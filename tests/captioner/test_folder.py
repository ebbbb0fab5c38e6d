"""Many photos: found in a stable order, captioned in that order, none lost."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captioner import Captioner, Decoding
from captioner.decoder import Decoder, DecoderConfig
from captioner.encoder import create_encoder
from captioner.folder import Row, caption_photos, default_workers, find_photos
from captioner.vocabulary import END, SPECIAL, Vocabulary
from rnnkit.errors import UserError


def make_files(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(*paths: Path | str, recursive: bool = False) -> list[str]:
    return [path.name for path in find_photos([str(path) for path in paths], recursive=recursive)]


# --- finding ----------------------------------------------------------------------------------------------------------


def test_a_folder_gives_its_photos_by_name_and_nothing_else(tmp_path: Path) -> None:
    make_files(tmp_path, ["b.JPG", "a.jpeg", "c.png", "d.webp", "notes.txt", "a.json", ".hidden.jpg", "deep/e.jpg", "e.HEIC"])
    assert found(tmp_path) == ["a.jpeg", "b.JPG", "c.png", "d.webp", "e.HEIC"]


def test_folders_inside_are_looked_into_only_when_asked(tmp_path: Path) -> None:
    make_files(tmp_path, ["z.jpg", "deep/a.jpg", "deep/deeper/b.jpg"])
    assert found(tmp_path) == ["z.jpg"]
    assert sorted(found(tmp_path, recursive=True)) == ["a.jpg", "b.jpg", "z.jpg"]


def test_a_folder_without_photos_says_what_was_looked_for(tmp_path: Path) -> None:
    make_files(tmp_path, ["deep/a.jpg", "notes.txt"])
    with pytest.raises(UserError, match=r"no photos in '.*' \(looked for .*\.jpg.*; folders inside need --recursive\)"):
        find_photos([str(tmp_path)])
    (tmp_path / "deep" / "a.jpg").unlink()
    with pytest.raises(UserError) as caught:
        find_photos([str(tmp_path)], recursive=True)
    assert "no photos in" in str(caught.value) and "--recursive" not in str(caught.value)


def test_a_file_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    make_files(tmp_path, ["upload.tmp"])
    assert found(tmp_path / "upload.tmp") == ["upload.tmp"]


def test_a_glob_gives_what_it_matches_by_name(tmp_path: Path) -> None:
    make_files(tmp_path, ["b1.jpg", "a1.jpg", "a2.png", "deep/a3.jpg"])
    assert found(tmp_path / "a*") == ["a1.jpg", "a2.png"]
    assert found(tmp_path / "**" / "*.jpg", recursive=True) == ["a1.jpg", "b1.jpg", "a3.jpg"]


def test_a_name_with_brackets_is_no_glob_where_it_is_a_file(tmp_path: Path) -> None:
    make_files(tmp_path, ["dog [1].jpg"])
    assert found(tmp_path / "dog [1].jpg") == ["dog [1].jpg"]


@pytest.mark.parametrize("name", ["nowhere.jpg", "no*.jpg", "gone/"])
def test_a_path_at_which_nothing_is_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing at '.*': give an image, a folder or a glob"):
        find_photos([f"{tmp_path}/{name}"])


def test_a_glob_that_matches_folders_only_is_an_error_and_not_silence(tmp_path: Path) -> None:
    make_files(tmp_path, ["one/a.jpg", "two/b.jpg"])
    with pytest.raises(UserError, match="nothing at"):
        find_photos([f"{tmp_path}/*"])


def test_a_photo_named_twice_is_captioned_once_and_paths_keep_their_order(tmp_path: Path) -> None:
    make_files(tmp_path, ["a.jpg", "b.jpg"])
    assert found(tmp_path / "b.jpg", tmp_path, tmp_path / "*.jpg") == ["b.jpg", "a.jpg"]


# --- captioning -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    """Untrained, with weights large enough that photos differ in their captions."""
    torch.manual_seed(0)
    words = (*SPECIAL, *(f"word{number}" for number in range(60)))
    encoder = create_encoder("efficientnet-lite0")
    decoder = Decoder(DecoderConfig(len(words), encoder.channels, 16, 16, 8))
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(3)
        decoder.output_bias[END] = -9
    return Captioner(encoder, decoder, Vocabulary(words))


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(7)]
    for number, path in enumerate(paths):
        noise = np.random.default_rng(number).integers(0, 255, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC).save(path)
    return paths


def all_rows(captioner: Captioner, photos: Sequence[Path], batch_size: int = 3, **options: int) -> list[Row]:
    decoding = Decoding(max_length=5)
    return [row for batch in caption_photos(captioner, photos, decoding, batch_size=batch_size, **options) for row in batch]


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
    assert [len(batch) for batch in caption_photos(captioner, photos, Decoding(), batch_size=3)] == [3, 3, 1]


def test_no_more_than_three_batches_are_held_at_a_time(captioner: Captioner, photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
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
    (batch,) = caption_photos(captioner, photos[:2], Decoding(num_captions=3, beam_size=3, max_length=5))
    for row in batch:
        scores = [caption.score for caption in row.captions]
        assert len(scores) == 3 and len({caption.words for caption in row.captions}) == 3


def test_without_photos_there_are_no_rows(captioner: Captioner) -> None:
    assert all_rows(captioner, []) == []


def test_there_is_a_thread_for_each_core_up_to_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, threads in ((1, 1), (4, 4), (64, 8), (None, 1)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert default_workers() == threads
