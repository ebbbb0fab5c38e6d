"""Many photos: found in a stable order, captioned in that order, none lost."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from captioner import Caption, Captioner, Decoding
from captioner.jobs.pipeline import (
    Photos,
    caption_photos,
    default_workers,
    find_photos,
)
from captioner.types import CaptionResult, EncodedPicture
from rnnkit.errors import UserError


def make_files(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(*paths: Path | str, recursive: bool = False) -> list[str]:
    return [path.name for path in find_photos([str(path) for path in paths], recursive=recursive)]


# --- finding --------------------------------------------------------------------------------------


def test_a_folder_gives_its_photos_by_name_and_nothing_else(tmp_path: Path) -> None:
    make_files(
        tmp_path,
        [
            "b.JPG",
            "a.jpeg",
            "c.png",
            "d.webp",
            "notes.txt",
            "a.json",
            ".hidden.jpg",
            "deep/e.jpg",
            "e.HEIC",
        ],
    )
    assert found(tmp_path) == ["a.jpeg", "b.JPG", "c.png", "d.webp", "e.HEIC"]


def test_folders_inside_are_looked_into_only_when_asked(tmp_path: Path) -> None:
    make_files(tmp_path, ["z.jpg", "deep/a.jpg", "deep/deeper/b.jpg"])
    assert found(tmp_path) == ["z.jpg"]
    assert sorted(found(tmp_path, recursive=True)) == ["a.jpg", "b.jpg", "z.jpg"]


def test_a_folder_without_photos_says_what_was_looked_for(tmp_path: Path) -> None:
    make_files(tmp_path, ["deep/a.jpg", "notes.txt"])
    with pytest.raises(
        UserError,
        match=r"no photos in '.*' \(looked for .*\.jpg.*; folders inside need --recursive\)",
    ):
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


def test_a_missing_file_among_others_keeps_its_place_and_a_glob_without_matches_is_an_error(
    tmp_path: Path,
) -> None:
    make_files(tmp_path, ["b.jpg", "a.jpg"])
    assert found(tmp_path / "b.jpg", tmp_path / "gone.jpg", tmp_path / "a.jpg") == [
        "b.jpg",
        "gone.jpg",
        "a.jpg",
    ]
    with pytest.raises(UserError, match=r"nothing at '.*no\*.jpg'"):
        find_photos([f"{tmp_path}/{name}" for name in ("a.jpg", "no*.jpg")])
    with pytest.raises(UserError, match=r"nothing at '.*gone.jpg'"):
        find_photos([f"{tmp_path}/{name}" for name in ("gone.jpg", "lost.jpg")])


def test_an_empty_path_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").touch()
    monkeypatch.chdir(tmp_path)
    assert list(find_photos(["."])) == [Path("a.jpg")]
    with pytest.raises(UserError, match="one of the paths is empty"):
        find_photos([""])


def test_a_glob_that_matches_folders_only_is_an_error_and_not_silence(tmp_path: Path) -> None:
    make_files(tmp_path, ["one/a.jpg", "two/b.jpg"])
    with pytest.raises(UserError, match="nothing at"):
        find_photos([f"{tmp_path}/*"])


def test_a_photo_named_twice_is_captioned_once_and_paths_keep_their_order(tmp_path: Path) -> None:
    make_files(tmp_path, ["a.jpg", "b.jpg"])
    assert found(tmp_path / "b.jpg", tmp_path, tmp_path / "*.jpg") == ["b.jpg", "a.jpg"]


# --- captioning -----------------------------------------------------------------------------------


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
    **options: int,
) -> list[CaptionResult]:
    decoding = Decoding(max_length=5)
    return [
        row
        for batch in caption_photos(captioner, photos, decoding, batch_size=batch_size, **options)
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
                f"{stage} did not go on meanwhile"
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

    stages: Any = Waiting()
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

    batches = caption_photos(Stages(), coming(), Decoding(), batch_size=4)  # type: ignore[arg-type]
    assert [row.path.name for _ in range(5) for row in next(batches)] == [
        f"{number}.jpg" for number in range(20)
    ]
    assert asked <= 28
    batches.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_bug_in_a_thread_reaches_the_caller_and_leaves_no_thread_behind(batch_size: int) -> None:
    stages: Any = Stages()
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


def test_a_list_of_photos_is_a_sequence_of_paths_that_takes_little_memory() -> None:
    photos = Photos(f"folder/{number}.jpg" for number in range(5))
    assert photos[1] == Path("folder/1.jpg") and list(photos[3:]) == [
        Path("folder/3.jpg"),
        Path("folder/4.jpg"),
    ]
    tracemalloc.start()
    many = Photos(f"/some/where/photos/{number:08}.jpg" for number in range(20_000))
    assert tracemalloc.get_traced_memory()[0] < 3e6
    tracemalloc.stop()
    assert len(many) == 20_000


def test_a_deep_folder_comes_in_the_order_of_its_paths(tmp_path: Path) -> None:
    make_files(tmp_path, ["b/a.jpg", "b.jpg", "a/z.jpg", "a/b/c.jpg", "c.jpg", "a-b.jpg"])
    paths = list(find_photos([str(tmp_path)], recursive=True))
    assert paths == sorted(paths) and len(paths) == 6
