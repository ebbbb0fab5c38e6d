"""Captioned photos in every format that people hand around, whole and damaged."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from captioner.data.annotations import Dataset, image_id, read_dataset
from rnnkit.errors import UserError


def make_photos(folder: Path, names: Iterable[str]) -> Path:
    """Files by these names; nothing here opens them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"a photo")
    return folder


def write(path: Path, content: Any, encoding: str = "utf-8") -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding=encoding)
    return path


def captions(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    return {example.path.name: example.captions for example in dataset.examples}


# --- formats --------------------------------------------------------------------------------------


def test_karpathys_json_gives_captions_splits_and_ids(tmp_path: Path) -> None:
    photos = make_photos(
        tmp_path / "photos", ["a.jpg", "b.jpg", "val2014/COCO_val2014_000000000042.jpg"]
    )
    data = {
        "images": [
            {
                "filename": "a.jpg",
                "split": "train",
                "sentences": [{"raw": "A dog."}, {"tokens": ["a", "brown", "dog"]}],
            },
            {"filename": "b.jpg", "split": "test", "sentences": [{"raw": "Two cats ."}]},
            {
                "filepath": "val2014",
                "filename": "COCO_val2014_000000000042.jpg",
                "split": "restval",
                "cocoid": 42,
                "sentences": [{"raw": "A shoe"}],
            },
        ]
    }
    dataset = read_dataset(write(tmp_path / "dataset.json", data), photos)
    assert [(e.path, e.captions, e.split, e.image_id) for e in dataset.examples] == [
        (photos / "a.jpg", ("A dog.", "a brown dog"), "train", "a"),
        (photos / "b.jpg", ("Two cats .",), "test", "b"),
        (photos / "val2014/COCO_val2014_000000000042.jpg", ("A shoe",), "train", 42),
    ]
    assert dataset.has_splits and dataset.name == tmp_path.name and not dataset.skipped


def test_restval_counts_as_training_and_dev_as_validation(tmp_path: Path) -> None:
    splits = ["train", "restval", "val", "dev", "test"]
    data = {
        "images": [
            {"filename": f"{s}.jpg", "split": s, "sentences": [{"raw": "a dog"}]} for s in splits
        ]
    }
    dataset = read_dataset(write(tmp_path / "x.json", data), None)
    assert [example.split for example in dataset.examples] == [
        "train",
        "train",
        "val",
        "val",
        "test",
    ]


def test_coco_annotations_give_the_captions_of_each_image(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", ["one.jpg", "two.jpg"])
    data = {
        "images": [{"id": 7, "file_name": "one.jpg"}, {"id": 9, "file_name": "two.jpg"}],
        "annotations": [
            {"image_id": 9, "id": 1, "caption": "a bus"},
            {"image_id": 7, "id": 2, "caption": "a dog"},
            {"image_id": 9, "id": 3, "caption": "a red bus"},
        ],
    }
    dataset = read_dataset(write(tmp_path / "captions_val.json", data), photos)
    assert {example.image_id: example.captions for example in dataset.examples} == {
        7: ("a dog",),
        9: ("a bus", "a red bus"),
    }
    assert not dataset.has_splits and dataset.name == "captions_val"


def test_flickr8ks_token_file_gives_five_captions_a_photo(tmp_path: Path) -> None:
    text = "".join(
        f"{name}.jpg#{number}\tA {name}, number {number} .\n"
        for name in ("dog", "cat")
        for number in range(5)
    )
    photos = make_photos(tmp_path / "photos", ["dog.jpg", "cat.jpg"])
    dataset = read_dataset(write(tmp_path / "Flickr8k.token.txt", text), photos)
    assert captions(dataset) == {
        f"{n}.jpg": tuple(f"A {n}, number {i} ." for i in range(5)) for n in ("dog", "cat")
    }


def test_a_token_file_with_windows_line_ends_and_a_bom_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    path.write_bytes(b"\xef\xbb\xbfa.jpg#0\tA dog .\r\na.jpg#1\tA pup .\r\n")
    assert captions(read_dataset(path, None)) == {"a.jpg": ("A dog .", "A pup .")}


def test_a_csv_with_commas_in_captions_keeps_them_whole(tmp_path: Path) -> None:
    text = (
        'image,caption\na.jpg,"A dog, a cat, and a ""bird"" ."\na.jpg,A dog and a cat\nb.jpg,"Red,'
        ' \n blue"\n'
    )
    dataset = read_dataset(write(tmp_path / "captions.txt", text), None)
    assert captions(dataset) == {
        "a.jpg": ('A dog, a cat, and a "bird" .', "A dog and a cat"),
        "b.jpg": ("Red, blue",),
    }
    assert dataset.name == tmp_path.name


def test_a_csv_with_commas_outside_quotation_marks_keeps_its_captions_whole(tmp_path: Path) -> None:
    text = 'image,caption\na.jpg,A dog, a cat, and 1,000 birds .\nb.jpg, "A cat, asleep"\n'
    found = captions(read_dataset(write(tmp_path / "x.csv", text), None))
    assert found == {"a.jpg": ("A dog, a cat, and 1,000 birds .",), "b.jpg": ('"A cat, asleep"',)}


def test_a_csv_with_a_bom_and_other_columns_is_read(tmp_path: Path) -> None:
    text = "Filename,Number,Caption\na.jpg,0,A dog\na.jpg,1,A pup\n"
    assert captions(read_dataset(write(tmp_path / "x.csv", text, "utf-8-sig"), None)) == {
        "a.jpg": ("A dog", "A pup")
    }


def test_a_file_with_bars_keeps_quotation_marks_and_commas(tmp_path: Path) -> None:
    text = (
        'image_name| comment_number| comment\na.jpg| 0| "Two men, waving\na.jpg| 1| Two "friends"'
        " .\nb.jpg| 0| A cat\n"
    )
    dataset = read_dataset(write(tmp_path / "results.csv", text), None)
    assert captions(dataset) == {
        "a.jpg": ('"Two men, waving', 'Two "friends" .'),
        "b.jpg": ("A cat",),
    }


def test_a_folder_of_photos_with_text_files_beside_them_is_read(tmp_path: Path) -> None:
    folder = make_photos(tmp_path / "mine", ["a.jpg", "b.PNG", "alone.jpg", "notes.md"])
    write(folder / "a.txt", "A dog.\nA brown dog.\n\n")
    write(folder / "b.txt", "A cat.\r\n", "utf-8-sig")
    write(folder / "notes.txt", "no photo")
    dataset = read_dataset(folder, folder)
    assert captions(dataset) == {"a.jpg": ("A dog.", "A brown dog."), "b.PNG": ("A cat.",)}
    assert dataset.name == "mine" and not dataset.skipped


def test_captions_alone_can_be_read_without_photos(tmp_path: Path) -> None:
    dataset = read_dataset(write(tmp_path / "x.csv", "image,caption\nnowhere.jpg,a dog\n"), None)
    assert captions(dataset) == {"nowhere.jpg": ("a dog",)}


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("COCO_val2014_000000000042.jpg", 42),
        ("COCO_train2014_000000581929.jpg", 581929),
        ("000000397133.jpg", 397133),
        ("7.png", 7),
        ("1000268201_693b08cb0e.jpg", "1000268201_693b08cb0e"),
        ("COCO_dog.jpg", "COCO_dog"),
        ("holiday 1.jpg", "holiday 1"),
        ("٣.jpg", "٣"),
    ],
)
def test_the_id_of_a_photo_is_cocos_where_there_is_one(name: str, number: int | str) -> None:
    assert image_id(Path("folder") / name) == number


def test_photos_named_by_number_have_the_same_id_in_every_format(tmp_path: Path) -> None:
    name = "COCO_val2014_000000000042.jpg"
    (tmp_path / "photos").mkdir()
    make_photos(tmp_path / "photos", [name])
    write((tmp_path / "photos" / name).with_suffix(".txt"), "a dog")
    files = [
        write(tmp_path / "a.csv", f"image,caption\n{name},a dog\n"),
        write(tmp_path / "a.token", f"{name}#0\ta dog\n"),
        write(
            tmp_path / "a.json", {"images": [{"filename": name, "sentences": [{"raw": "a dog"}]}]}
        ),
        tmp_path / "photos",
    ]
    assert [read_dataset(file, None).examples[0].image_id for file in files] == [42] * 4


def test_a_data_set_given_by_a_bare_file_name_is_named_by_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "seaside").mkdir()
    write(tmp_path / "seaside" / "captions.txt", "image,caption\na.jpg,a dog\n")
    monkeypatch.chdir(tmp_path / "seaside")
    assert read_dataset(Path("captions.txt"), None).name == "seaside"


def test_photos_outside_of_the_folder_are_named_and_skipped_unless_absolute_names_are_allowed(
    tmp_path: Path,
) -> None:
    photos = make_photos(tmp_path / "photos", ["a.jpg", "in/b.jpg"])
    (outside,) = make_photos(tmp_path, ["c.jpg"]).glob("*.jpg")
    names = ["a.jpg", "in/../in/b.jpg", str(photos / "a.jpg"), "../c.jpg", "in/../../c.jpg"]
    text = "image,caption\n" + "".join(f"{name},a dog\n" for name in [*names, str(outside)])
    annotations = write(tmp_path / "x.csv", text)
    inside = [photos / "a.jpg", photos / "in" / "b.jpg", photos / "a.jpg"]
    dataset = read_dataset(annotations, photos)
    assert [example.path for example in dataset.examples] == inside
    assert [(name, reason.split(",")[0]) for name, reason in dataset.skipped] == [
        ("../c.jpg", "its name leads outside of --images"),
        ("in/../../c.jpg", "its name leads outside of --images"),
        (str(outside), "an absolute name outside of --images"),
    ]
    followed = read_dataset(annotations, photos, absolute_names=True).examples
    assert [example.path for example in followed] == [*inside, outside]


# --- splits ---------------------------------------------------------------------------------------


def many(tmp_path: Path, count: int) -> Path:
    return write(
        tmp_path / "many.csv", "image,caption\n" + "".join(f"{n}.jpg,a dog\n" for n in range(count))
    )


def test_a_format_without_splits_holds_out_about_the_fraction_asked_for(tmp_path: Path) -> None:
    for fraction in (0.1, 0.3):
        dataset = read_dataset(many(tmp_path, 3000), None, validation_fraction=fraction)
        assert len(dataset.split("val")) == pytest.approx(3000 * fraction, rel=0.12)
        assert len(dataset.split("val")) + len(dataset.split("train")) == 3000


def test_the_split_by_hash_is_the_same_on_every_run_and_stays_when_photos_join(
    tmp_path: Path,
) -> None:
    before = {
        example.path: example.split for example in read_dataset(many(tmp_path, 60), None).examples
    }
    after = {
        example.path: example.split for example in read_dataset(many(tmp_path, 120), None).examples
    }
    assert before.items() <= after.items()
    held_out = [path.stem for path, split in before.items() if split == "val"]
    assert held_out == [
        "26",
        "34",
        "36",
        "38",
    ], "another choice would let a resumed run learn what it is judged by"


# --- bad rows -------------------------------------------------------------------------------------


def test_bad_rows_are_counted_and_named_and_the_others_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = make_photos(tmp_path / "photos", ["good.jpg", "half.jpg", "mute.jpg"])
    text = (
        "image,caption\ngood.jpg,a dog\nhalf.jpg,\nhalf.jpg,a cat\nmute.jpg, . \ngone.jpg,a bird\n"
    )
    with caplog.at_level(logging.WARNING):
        dataset = read_dataset(write(tmp_path / "x.csv", text), photos)
    assert captions(dataset) == {"good.jpg": ("a dog",), "half.jpg": ("a cat",)}
    assert dataset.skipped == [
        ("half.jpg", "empty caption"),
        ("mute.jpg", "empty caption"),
        ("mute.jpg", "no caption"),
        ("gone.jpg", "no such photo"),
    ]
    (message,) = caplog.messages
    assert "4 rows skipped" in message and all(
        f"{name} ({reason})" in message for name, reason in dataset.skipped
    )


def test_rows_that_name_no_photo_are_counted_and_named(tmp_path: Path) -> None:
    table = read_dataset(
        write(tmp_path / "x.csv", "caption,image\na dog,a.jpg\na cat\nred,,blue\n\n"), None
    )
    assert captions(table) == {"a.jpg": ("a dog",)} and table.skipped == [
        ("line 3", "names no photo"),
        ("line 4", "names no photo"),
    ]
    tokens = read_dataset(
        write(tmp_path / "x.token", "a.jpg#0\ta dog\nno mark\n\nb.jpg#0 no tab\n"), None
    )
    assert captions(tokens) == {"a.jpg": ("a dog",)} and [name for name, _ in tokens.skipped] == [
        "line 2",
        "line 4",
    ]


def test_coco_captions_of_images_that_are_not_listed_or_of_none_are_counted(tmp_path: Path) -> None:
    data = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
        "annotations": [
            {"image_id": 1, "caption": "a dog"},
            {"image_id": 5, "caption": "a cat"},
            {"image_id": 1, "caption": None},
            {"image_id": 2},
        ],
    }
    dataset = read_dataset(write(tmp_path / "x.json", data), None)
    assert captions(dataset) == {"a.jpg": ("a dog",)}
    assert dataset.skipped[0] == ("caption of image 5", "the file lists no such image")
    assert ("a.jpg", "empty caption") in dataset.skipped and (
        "b.jpg",
        "no caption",
    ) in dataset.skipped


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (
            [{"id": 7, "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}],
            "gives image 7 two files, 'a.jpg' and 'b.jpg'",
        ),
        (
            [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "a.jpg"}],
            "gives 'a.jpg' two ids, 7 and 8",
        ),
        (
            [{"filename": "a.jpg", "sentences": [{"raw": text}]} for text in ("a dog", "a cat")],
            "lists 'a.jpg' twice",
        ),
        (
            [
                {"filename": "a.jpg", "split": split, "sentences": [{"raw": "a dog"}]}
                for split in ("train", "test")
            ],
            "lists 'a.jpg' twice",
        ),
    ],
)
def test_a_photo_listed_twice_and_not_alike_is_an_error_that_names_it(
    images: list[dict[str, Any]], said: str, tmp_path: Path
) -> None:
    data = {"images": images} | (
        {"annotations": [{"image_id": 7, "caption": "a dog"}]} if "id" in images[0] else {}
    )
    path = write(tmp_path / "x.json", data)
    with pytest.raises(UserError, match=re.escape(f"'{path}' {said}")):
        read_dataset(path, None)
    assert captions(read_dataset(write(path, data | {"images": [images[0]] * 2}), None)) == {
        "a.jpg": ("a dog",)
    }


def test_a_split_that_is_unknown_is_counted_and_named(tmp_path: Path) -> None:
    splits: list[Any] = ["train", "holdout", []]
    data = {
        "images": [
            {"filename": f"{split}.jpg", "split": split, "sentences": [{"raw": "a dog"}]}
            for split in splits
        ]
    }
    dataset = read_dataset(write(tmp_path / "x.json", data), None)
    assert dataset.skipped == [
        ("holdout.jpg", "unknown split 'holdout'"),
        ("[].jpg", "unknown split '[]'"),
    ]
    assert len(dataset.examples) == 1


def test_a_file_name_that_is_not_utf_8_is_a_name_like_others(tmp_path: Path) -> None:
    data = {"images": [{"filename": "\udcff.jpg", "sentences": [{"raw": "a dog"}]}]}
    assert captions(read_dataset(write(tmp_path / "x.json", data), None)) == {
        "\udcff.jpg": ("a dog",)
    }


def test_a_file_in_which_nothing_is_usable_is_an_error_that_says_why(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "image,caption\na.jpg,a dog\nb.jpg,a cat\n")
    with pytest.raises(
        UserError,
        match=(
            r"nothing in '.*x.csv' is usable \(a.jpg: no such photo; b.jpg: no such photo\): check"
            r" --images"
        ),
    ):
        read_dataset(path, tmp_path / "photos")


@pytest.mark.parametrize(
    "content", [{"images": []}, "image,caption\n", {"images": [], "annotations": []}]
)
def test_a_file_that_lists_no_photos_is_an_error(content: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing in .* is usable \(it lists no photos\)"):
        read_dataset(write(tmp_path / "x", content), None)


def test_a_folder_without_captioned_photos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is usable"):
        read_dataset(make_photos(tmp_path, ["a.jpg"]), tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "just some text",
        "{broken",
        "[1, 2]",
        '{"other": 1}',
        '{"images": ["a.jpg"]}',
        '{"images": [{"sentences": []}]}',
        '{"images": [{"filename": "a.jpg", "sentences": ["a dog"]}]}',
        '{"images": 3}',
        '{"annotations": []}',
        '{"images": [{"id": 1}], "annotations": [{"caption": "a dog"}]}',
        (
            '{"images": [{"id": 1, "file_name": null}], "annotations": [{"image_id": 1, "caption":'
            ' "a dog"}]}'
        ),
        (
            '{"images": [{"id": 1, "file_name": 5}], "annotations": [{"image_id": 1, "caption": "a'
            ' dog"}]}'
        ),
        pytest.param("[" * 100_000, id="deeply nested"),
        "photo,words\na.jpg,a dog\n",
    ],
)
def test_a_file_in_no_known_format_is_an_error_in_one_line(content: str, tmp_path: Path) -> None:
    path = write(tmp_path / "strange.txt", content)
    with pytest.raises(UserError) as caught:
        read_dataset(path, None)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_and_one_that_is_not_text_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no annotations at"):
        read_dataset(tmp_path / "nothing.json", None)
    (tmp_path / "latin.csv").write_bytes("image,caption\na.jpg,caf\xe9".encode("latin-1"))
    with pytest.raises(UserError, match=r"is not UTF-8 text \(byte 23\)"):
        read_dataset(tmp_path / "latin.csv", None)
