"""Which photos are meant by paths: found in a stable order, none twice."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from captioner.jobs.find_photos import find_photos
from rnnkit.errors import UserError


def make_files(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(*paths: Path | str, recursive: bool = False) -> list[str]:
    return [path.name for path in find_photos([str(path) for path in paths], recursive=recursive)]


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


def test_a_name_with_brackets_is_not_a_glob_where_it_is_a_file(tmp_path: Path) -> None:
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


def test_a_deep_folder_comes_in_the_order_of_its_paths(tmp_path: Path) -> None:
    make_files(tmp_path, ["b/a.jpg", "b.jpg", "a/z.jpg", "a/b/c.jpg", "c.jpg", "a-b.jpg"])
    paths = list(find_photos([str(tmp_path)], recursive=True))
    assert paths == sorted(paths) and len(paths) == 6
