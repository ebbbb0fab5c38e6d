"""Captions to judge: every format read, every image matched, every flaw named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from captioner.data.annotations import Example
from captioner.evaluation.predictions import read_predictions
from rnnkit.errors import UserError

CAPTIONS = {
    "1": "a brown dog, running",
    "2": "two children",
    "42": "a man on a wave",
    "holiday": "a white boat",
}
FILES = {
    "1": "1.jpg",
    "2": "2.jpg",
    "42": "COCO_val2014_000000000042.jpg",
    "holiday": "holiday.jpg",
}
EXAMPLES = [
    Example(Path("val2014") / FILES[key], ("a dog",), "test", int(key) if key.isdigit() else key)
    for key in CAPTIONS
]
OTHERS = [Example(Path("train2014/7.jpg"), ("a cat",), "train", 7)]
ROWS: list[dict[str, Any]] = [
    {"image_id": int(key) if key.isdigit() else key, "caption": text}
    for key, text in CAPTIONS.items()
]


def read(
    tmp_path: Path, content: Any, name: str = "results.json", **options: Any
) -> dict[str, str]:
    path = tmp_path / name
    path.write_text(
        content if isinstance(content, str) else json.dumps(content), encoding="utf-8", newline=""
    )
    return read_predictions(path, EXAMPLES, others=[*EXAMPLES, *OTHERS], **options)


def refused(tmp_path: Path, content: Any, name: str = "results.json", **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(tmp_path, content, name, **options)
    assert name in str(caught.value)
    return str(caught.value)


def jsonl(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


# --- formats --------------------------------------------------------------------------------------


def test_coco_results_are_matched_by_id_whether_number_or_text(tmp_path: Path) -> None:
    assert read(tmp_path, ROWS) == CAPTIONS
    assert (
        read(tmp_path, [row | {"image_id": str(row["image_id"])} for row in reversed(ROWS)])
        == CAPTIONS
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "r.jsonl",
            jsonl(
                *(
                    {"path": f"photos/{FILES[key]}", "caption": text, "status": "ok"}
                    for key, text in CAPTIONS.items()
                )
            ),
        ),
        ("r.jsonl", jsonl(*ROWS)),
        (
            "r.out",
            jsonl(*({"file_name": FILES[key], "caption": text} for key, text in CAPTIONS.items())),
        ),
        (
            "r.csv",
            "path,caption,score,status,error\n"
            + "".join(f'p/{FILES[key]},"{text}",-1.0,ok,\n' for key, text in CAPTIONS.items()),
        ),
        (
            "r.csv",
            "\ufeffcaption,image_id\r\n"
            + "".join(f'"{text}",{key}\r\n' for key, text in CAPTIONS.items()),
        ),
        ("r.tsv", "".join(f"/photos/{FILES[key]}\t{text}\n" for key, text in CAPTIONS.items())),
        (
            "r.tsv",
            "path\tcaption\n" + "".join(f"{key}\t{text}\n" for key, text in CAPTIONS.items()),
        ),
        ("r.txt", "".join(f"{FILES[key]}\t{text}\r\n" for key, text in CAPTIONS.items())),
        ("r.txt", "\n".join(CAPTIONS.values())),
        ("r.txt", "\n".join(CAPTIONS.values()) + "\n"),
    ],
)
def test_jsonl_csv_tsv_and_text_give_what_coco_results_give(
    name: str, content: str, tmp_path: Path
) -> None:
    assert {key: text.strip() for key, text in read(tmp_path, content, name).items()} == CAPTIONS


@pytest.mark.parametrize("format", ["tsv", "jsonl", "csv", "coco"])
def test_what_the_caption_command_writes_is_read(format: str, tmp_path: Path) -> None:
    from captioner.outputs.base import open_output
    from captioner.types import Caption, CaptionResult

    output = tmp_path / f"out.{'json' if format == 'coco' else format}"
    with (
        output.open("w", encoding="utf-8") as stdout,
        open_output(format, output.with_name(f"w{output.suffix}"), stdout) as write,
    ):
        for key, text in CAPTIONS.items():
            write(
                CaptionResult(
                    Path("photos") / FILES[key], (Caption(text, -0.5, tuple(text.split())),)
                )
            )
    assert read_predictions(output.with_name(f"w{output.suffix}"), EXAMPLES) == CAPTIONS


def test_a_photo_is_found_by_its_name_where_its_number_is_another_images_id(tmp_path: Path) -> None:
    swapped = [
        Example(Path("2.jpg"), ("a dog",), "test", 900),
        Example(Path("3.jpg"), ("a cat",), "test", 901),
    ]
    (tmp_path / "r.tsv").write_text("in/3.jpg\ta cat\nin/2.jpg\ta dog\n", encoding="utf-8")
    for others in ([], swapped, [Example(Path("b/4.jpg"), ("a cow",), "val", 3)]):
        assert read_predictions(tmp_path / "r.tsv", swapped, others=others) == {
            "900": "a dog",
            "901": "a cat",
        }


def test_captions_of_another_split_are_left_aside(tmp_path: Path) -> None:
    assert read(tmp_path, [*ROWS, {"image_id": 7, "caption": "a zebra"}]) == CAPTIONS


# --- flaws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            ROWS[1:],
            "has no captions for 1 of 4 images, for example 1: use --split if it is of another",
        ),
        ([], "has no captions for 4 of 4 images, for example 1, 2, 42"),
        (
            [*ROWS, {"image_id": 42, "caption": "again"}],
            "has two captions for image 42 (entry 3 and entry 5): keep one",
        ),
        ([*ROWS, {"image_id": "42", "caption": "again"}], "has two captions for image 42"),
        (
            [*ROWS, {"image_id": 99, "caption": "a zebra"}],
            "has captions of images that are not in the references (1), for example '99' (entry 5)",
        ),
        (
            [*ROWS[:3], {"image_id": "holiday", "caption": " "}],
            "has captions without a word (1), for example of image holiday (entry 4)",
        ),
        ([*ROWS[:3], {"image_id": "holiday", "caption": "..."}], "has captions without a word (1)"),
        ([{"id": 1, "caption": "a dog"}], "is not a COCO results file"),
        ([{"image_id": 1}], "is not a COCO results file"),
        ([{"image_id": 1, "caption": None}], "is not a COCO results file"),
        ({"annotations": ROWS}, "is not a COCO results file"),
        ("[1, 2]", "is not a COCO results file"),
        ("3", "is not a COCO results file"),
        ("{", "is not a COCO results file"),
        ("", "is not a COCO results file"),
        ("[" * 100_000, "is not a COCO results file"),
    ],
)
def test_coco_results_that_cannot_be_judged_are_refused_with_the_reason(
    content: Any, said: str, tmp_path: Path
) -> None:
    assert said in refused(tmp_path, content)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("r.jsonl", "a dog\n", 'is not jsonl with {"path", "caption"} on each line'),
        ("r.jsonl", '{"path": "1.jpg", "caption": "a dog"}\n{"path": "2.jp', "is not jsonl"),
        ("r.jsonl", '{"caption": "a dog"}\n', "line 1 names no image"),
        ("r.jsonl", '{"path": "1.jpg", "caption": 3}\n', "a caption must be text, not 3"),
        (
            "r.csv",
            "photo;sentence\n1.jpg;a dog\n",
            "the first line must name the columns image and caption",
        ),
        ("r.csv", "path,caption\n1.jpg\n", "line 2 has no image or no caption"),
        ("r.csv", "", "is not csv"),
        ("r.tsv", "1.jpg\ta dog\n2.jpg two\n", "line 2 has no tab between photo and caption"),
        ("r.txt", "a dog\n", "has 1 lines for 4 images"),
        ("r.txt", "", "has 0 lines for 4 images"),
        (
            "r.txt",
            "a\n\nb\nc\n",
            "has captions without a word (1), for example of image 2 (line 2)",
        ),
        (
            "r.tsv",
            "p/1.jpg\ta dog\nq/1.jpg\ta cat\n",
            "has two captions for image 1 (line 1 and line 2)",
        ),
        (
            "r.jsonl",
            jsonl({"path": "1.jpg", "status": "error", "error": "damaged"}),
            "for example 1, 2, 42 (1 marked as failed)",
        ),
        (
            "r.jsonl",
            jsonl({"path": "1.jpg", "status": "unsure", "caption": "a dog"}),
            "for example 1, 2, 42 (1 marked as unsure)",
        ),
    ],
)
def test_other_files_that_cannot_be_judged_are_refused_with_the_reason(
    name: str, content: str, said: str, tmp_path: Path
) -> None:
    assert said in refused(tmp_path, content, name)


def test_a_photo_that_failed_once_and_was_captioned_then_has_one_caption(tmp_path: Path) -> None:
    rows = jsonl({"path": "1.jpg", "status": "error", "error": "busy"}, *ROWS)
    assert read(tmp_path, rows, "r.jsonl") == CAPTIONS


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no predictions at '.*gone.json'"):
        read_predictions(tmp_path / "gone.json", EXAMPLES)
    with pytest.raises(UserError, match="cannot be read"):
        read_predictions(tmp_path, EXAMPLES)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        read_predictions(tmp_path / "latin.txt", EXAMPLES)


# --- subsets --------------------------------------------------------------------------------------


def test_images_may_lack_a_caption_only_where_that_is_allowed(tmp_path: Path) -> None:
    assert read(tmp_path, ROWS[1:], allow_missing=True) == {
        key: text for key, text in CAPTIONS.items() if key != "1"
    }


def test_a_photo_that_failed_may_be_one_without_references(tmp_path: Path) -> None:
    rows = jsonl({"path": "text.jpg", "status": "error", "error": "not a picture"}, *ROWS)
    assert read(tmp_path, rows, "r.jsonl") == CAPTIONS


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([*ROWS[1:], {"image_id": 99, "caption": "a zebra"}], "not in the references"),
        ([*ROWS[1:], ROWS[1]], "two captions"),
        ([*ROWS[2:], {"image_id": 2, "caption": ""}], "captions without a word"),
    ],
)
def test_allowing_images_without_a_caption_allows_nothing_else(
    content: Any, said: str, tmp_path: Path
) -> None:
    assert said in refused(tmp_path, content, allow_missing=True)
