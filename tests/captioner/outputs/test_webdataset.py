"""Tar shards: made from photos, captioned from shards, read by webdataset, resumed after a kill."""

from __future__ import annotations

import errno
import io
import json
import sys
import tarfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captioner.jobs.progress import Summary
from captioner.types import Caption, CaptionResult
from rnnkit.errors import UserError

webdataset = pytest.importorskip(
    "webdataset", reason="webdataset, the extra of that name, is not installed"
)
from captioner.outputs import webdataset as module  # noqa: E402
from captioner.outputs.webdataset import CaptionedShards, PhotoShards  # noqa: E402

Run = Callable[..., tuple[int, str, str]]


def samples(*shards: Path) -> list[dict[str, Any]]:
    """As webdataset reads them."""
    return [
        sample
        for shard in shards
        for sample in webdataset.WebDataset(str(shard), shardshuffle=False, empty_check=False)
    ]


def make_shard(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_photos_become_shards_that_webdataset_reads(
    caption: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAMPLES", 2)
    said = dict(line.split("\t") for line in caption(photos)[1].splitlines())
    assert caption(photos, "--format", "webdataset", "--output", tmp_path / "out")[0] == 1
    shards = sorted((tmp_path / "out").iterdir())
    assert [shard.name for shard in shards] == ["00000.tar", "00001.tar", "00002.tar"]
    found = samples(*shards)
    assert [len(samples(shard)) for shard in shards] == [2, 2, 1]
    for sample in found:
        row = json.loads(sample["caption.json"])
        photo = Path(row["path"])
        assert sample[photo.suffix[1:].lower()] == photo.read_bytes()
        assert (
            sample["txt"].decode() == row["caption"] == said[str(photo)] and row["status"] == "ok"
        )
    assert len({sample["__key__"] for sample in found}) == 5
    assert (
        "captioned 0, skipped 5, failed 1"
        in caption(photos, "--format", "webdataset", "--output", tmp_path / "out")[2]
    )
    assert sorted((tmp_path / "out").iterdir()) == shards


def test_shards_become_shards_of_the_same_names_with_captions(
    caption: Run, photos: Path, tmp_path: Path
) -> None:
    jpeg = (photos / "0.jpg").read_bytes()
    make_shard(
        tmp_path / "a.tar",
        {
            "x/1.jpg": jpeg,
            "x/1.cls": b"7",
            "x/2.bad.jpg": b"nonsense",
            "x/3.jpg": b"nonsense",
            "x/4.txt": b"no photo",
        },
    )
    make_shard(
        tmp_path / "b.tar",
        {
            "1.jpg": jpeg,
            "1.txt": b"my words",
            "2.PNG": (photos / "1.PNG").read_bytes(),
            "2.json": b"{}",
        },
    )
    code, _, err = caption(
        tmp_path / "[ab].tar", "--format", "webdataset", "--output", tmp_path / "out"
    )
    assert code == 1
    assert "a.tar/x/3.jpg: not a picture" in err and "captioned 2, skipped 1, failed 2" in err
    a = {sample["__key__"]: sample for sample in samples(tmp_path / "out" / "a.tar")}
    assert a["x/1"]["jpg"] == jpeg and a["x/1"]["cls"] == b"7" and a["x/1"]["txt"]
    assert json.loads(a["x/1"]["caption.json"]) | {"score": 0} == {
        "path": f"{tmp_path}/a.tar/x/1.jpg",
        "caption": a["x/1"]["txt"].decode(),
        "status": "ok",
        "score": 0,
    }
    assert (
        a["x/3"]["jpg"] == b"nonsense"
        and "txt" not in a["x/3"]
        and json.loads(a["x/3"]["caption.json"])["status"] == "error"
    )
    assert a["x/4"]["txt"] == b"no photo" and list(a) == ["x/1", "x/2", "x/3", "x/4"]
    b = samples(tmp_path / "out" / "b.tar")
    assert (b[0]["txt"], b[1]["json"]) == (b"my words", b"{}") and b[1]["txt"]
    before = (tmp_path / "out" / "a.tar").read_bytes()
    assert (
        caption(tmp_path / "[ab].tar", "--format", "webdataset", "--output", tmp_path / "out")[0]
        == 0
    )
    assert (tmp_path / "out" / "a.tar").read_bytes() == before


def test_samples_that_would_be_unpacked_elsewhere_are_named_and_left_out(
    caption: Run, tmp_path: Path
) -> None:
    astray = ["../up", "in/../../up", "/etc/up", "in\\..\\..\\up", "C:/up"]
    make_shard(tmp_path / "a.tar", {f"{key}.txt": b"words" for key in (*astray, "in..side/a")})
    code, _, err = caption(
        tmp_path / "a.tar", "--format", "webdataset", "--output", tmp_path / "out"
    )
    assert code == 1 and "failed 5" in err
    assert all(f"unpacked elsewhere and is left out ('{key}.txt')" in err for key in astray)
    assert [sample["__key__"] for sample in samples(tmp_path / "out" / "a.tar")] == ["in..side/a"]


@pytest.mark.parametrize(
    ("existing", "text"),
    [("overwrite", "{}"), ("append", "my words\n{}"), ("prepend", "{}\nmy words")],
)
def test_texts_that_a_shard_has_are_replaced_or_added_to(
    existing: str, text: str, caption: Run, photos: Path, tmp_path: Path
) -> None:
    make_shard(tmp_path / "b.tar", {"1.jpg": (photos / "0.jpg").read_bytes(), "1.txt": b"my words"})
    said = caption(photos / "0.jpg")[1].rstrip().split("\t")[1]
    assert (
        caption(
            tmp_path / "b.tar",
            "--format",
            "webdataset",
            "--output",
            tmp_path / "out",
            "--existing",
            existing,
        )[0]
        == 0
    )
    assert samples(tmp_path / "out" / "b.tar")[0]["txt"].decode() == text.format(said)


def test_two_runs_cannot_write_shards_into_one_folder(photos: Path, tmp_path: Path) -> None:
    shard = make_shard(tmp_path / "a.tar", {"1.jpg": (photos / "0.jpg").read_bytes()})
    out = tmp_path / "out"
    for first in (
        PhotoShards([photos / "0.jpg"], "skip", out),
        CaptionedShards([shard], "skip", out, Summary()),
    ):
        with first:
            for second in (
                PhotoShards([photos / "0.jpg"], "skip", out),
                CaptionedShards([shard], "skip", out, Summary()),
            ):
                with pytest.raises(UserError, match=r"another run is writing '.*out'"), second:
                    pass
        assert not list(out.iterdir())


def test_a_damaged_shard_is_named_and_the_others_are_done(
    caption: Run, photos: Path, tmp_path: Path
) -> None:
    jpeg = (photos / "0.jpg").read_bytes()
    whole = make_shard(tmp_path / "a.tar", {"1.jpg": jpeg, "2.jpg": jpeg}).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: len(whole) // 3])
    make_shard(tmp_path / "b.tar", {"1.jpg": jpeg})
    code, _, err = caption(
        tmp_path / "a.tar",
        tmp_path / "b.tar",
        "--format",
        "webdataset",
        "--output",
        tmp_path / "out",
    )
    assert code == 1
    assert f"{tmp_path}/a.tar: the shard is damaged (unexpected end of data)\n" in err
    assert "captioned 1, skipped 0, failed 1 (1 the shard is damaged)" in err
    assert (
        len(samples(tmp_path / "out" / "b.tar")) == 1 and not (tmp_path / "out" / "a.tar").exists()
    )


def test_a_disk_that_fills_up_is_not_damage_of_the_shard_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard, summary = make_shard(tmp_path / "a.tar", {"1.jpg": b"", "1.txt": b"my words"}), Summary()

    def write(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"{module.__name__}.TarWriter.write", write)
    with (
        pytest.raises(OSError, match="No space left"),
        CaptionedShards([shard], "skip", tmp_path / "out", summary) as output,
    ):
        list(output.photos)
    assert not summary.failed


def test_a_photo_that_vanishes_before_its_caption_is_there_is_a_failure_and_no_sample(
    photos: Path, tmp_path: Path
) -> None:
    paths = [photos / "0.jpg", photos / "gone.jpg", photos / "3.jpeg"]
    with PhotoShards(paths, "skip", tmp_path / "out") as write:
        assert [write(row) for row in captions_of(paths)] == [None, "no such file", None]
    assert [
        json.loads(sample["caption.json"])["path"]
        for sample in samples(tmp_path / "out" / "00000.tar")
    ] == [
        str(paths[0]),
        str(paths[2]),
    ]


def test_photos_in_shards_that_were_done_before_a_stop_are_counted_as_skipped(
    tmp_path: Path,
) -> None:
    members = {
        "1.jpg": b"",
        "1.txt": b"my words",
        "2.jpg": b"",
        "3.cls": b"",
        "4.jpg": b"",
        "5.jpg": b"",
    }
    shard = make_shard(tmp_path / "a.tar", members)
    skipped = []
    for stop in (3, 99):
        with (
            suppress(KeyboardInterrupt),
            CaptionedShards([shard], "skip", tmp_path / "out", summary := Summary()) as output,
        ):
            for number, picture in enumerate(output.photos):
                if number == stop - 1:
                    raise KeyboardInterrupt
                (row,) = captions_of([picture.path])
                row = replace(row, source=picture)
                output(row)
        skipped.append(summary.skipped)
    assert skipped == [1, 2]  # the last one before the stop may be cut, and is done again


def test_shards_and_folders_that_do_not_fit_are_named_before_anything_is_done(
    caption: Run, photos: Path, tmp_path: Path
) -> None:
    shard = make_shard(tmp_path / "a.tar", {"1.jpg": (photos / "0.jpg").read_bytes()})
    (tmp_path / "more").mkdir()
    twin = make_shard(tmp_path / "more" / "a.tar", {})
    out = ("--format", "webdataset", "--output", tmp_path / "out")
    for arguments, said in (
        ((shard,), "is a tar shard: add --format webdataset"),
        ((shard, photos, *out), "is a shard but others are photos"),
        ((shard, twin, *out), "would both become"),
        ((shard, "--format", "webdataset", "--output", tmp_path), "is in"),
        ((shard, "--format", "webdataset", "--output", shard), "is a file"),
        ((photos, *out, "--existing", "append"), "--existing append is not supported"),
        (
            (photos, "--format", "webdataset", "--output", tmp_path / "more"),
            "was not made from photos here",
        ),
    ):
        if said.startswith("was not"):
            make_shard(twin, {"1.jpg": b""})
        code, _, err = caption(*arguments)
        assert code == 2 and said in err
        assert not (tmp_path / "out").exists()


def captions_of(paths: list[Path]) -> list[CaptionResult]:
    return [CaptionResult(path, (Caption(f"about {path.stem}", -1.0, ()),)) for path in paths]


@pytest.mark.parametrize("moved", ["00000.tar", "00001.tar"])
@pytest.mark.parametrize("to", ["elsewhere/00000.tar", "out/train.tar"])
def test_after_a_shard_was_moved_no_other_is_written_over_and_no_key_comes_twice(
    moved: str, to: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAMPLES", 2)
    paths = sorted(path for path in photos.iterdir() if path.stem != "bad")
    (tmp_path / "elsewhere").mkdir()

    def run(count: int) -> None:
        with PhotoShards(paths[:count], "skip", tmp_path / "out") as write:
            for row in captions_of([path for path in write.photos if isinstance(path, Path)]):
                write(row)

    run(4)
    (tmp_path / "out" / moved).rename(tmp_path / to)
    before = {path: path.read_bytes() for path in (tmp_path / to, *(tmp_path / "out").iterdir())}
    run(5)
    assert all(path.read_bytes() == content for path, content in before.items())
    keys = [sample["__key__"] for sample in samples(*(tmp_path / "out").iterdir())]
    assert len(set(keys)) == len(keys) >= 5 - 2 * (to != "out/train.tar")


def test_a_shard_that_came_while_another_of_its_name_grew_is_not_replaced(
    photos: Path, tmp_path: Path
) -> None:
    with (
        pytest.raises(UserError, match=r"00000\.tar' exists already and is not replaced"),
        PhotoShards([], "skip", tmp_path) as write,
    ):
        write(captions_of([photos / "0.jpg"])[0])
        (tmp_path / "00000.tar").write_bytes(b"somebody's")
    assert (tmp_path / "00000.tar").read_bytes() == b"somebody's" and len(
        samples(tmp_path / "00000.tar.part")
    ) == 1


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_killed_run_over_photos_is_resumed_and_no_photo_comes_twice(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAMPLES", 3)
    folder = tmp_path_factory.mktemp("killed")
    paths = [folder / f"{number}.webp" for number in range(5)]
    for path in paths:
        path.write_bytes(b"photo " * (700 * int(path.stem)))
    with pytest.raises(KeyboardInterrupt), PhotoShards(paths, "skip", folder / "out") as write:
        for row in captions_of(paths)[: data.draw(st.integers(0, 5))]:
            write(row)
        raise KeyboardInterrupt
    for part in (folder / "out").glob("*.part"):
        whole = part.read_bytes()
        part.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with PhotoShards(paths, "skip", folder / "out") as write:
        for row in captions_of([path for path in write.photos if isinstance(path, Path)]):
            write(row)
    shards = sorted((folder / "out").iterdir())
    assert [shard.name for shard in shards] == ["00000.tar", "00001.tar"]
    found = samples(*shards)
    assert sorted(json.loads(sample["caption.json"])["path"] for sample in found) == list(
        map(str, paths)
    )
    assert all(
        sample["webp"] == Path(json.loads(sample["caption.json"])["path"]).read_bytes()
        for sample in found
    )
    assert len({sample["__key__"] for sample in found}) == 5


@settings(max_examples=40)
@given(data=st.data())
def test_a_killed_run_over_shards_is_resumed_and_ends_as_one_that_was_not(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    members = {
        f"{number}.{kind}": b"photo " * 300 * number
        for number in range(5)
        for kind in ("cls", "jpg")
    } | {
        "x.cls": b"",
        "y.jpg": b"y",
    }
    shard = make_shard(folder / "a.tar", members)

    def run(out: Path, stop_after: int = 99) -> None:
        with CaptionedShards([shard], "skip", out, Summary()) as write:
            for number, picture in enumerate(write.photos):
                if number == stop_after:
                    raise KeyboardInterrupt
                (row,) = captions_of([picture.path])
                row = replace(row, source=picture)
                write(row)

    run(folder / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(folder / "out", data.draw(st.integers(0, 5)))
    for part in (folder / "out").glob("*.part"):
        whole = part.read_bytes()
        part.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    run(folder / "out")

    def content(path: Path) -> list[dict[str, Any]]:
        return [
            {
                key: value
                for key, value in sample.items()
                if key not in ("__url__", "__local_path__")
            }
            for sample in samples(path)
        ]

    assert content(folder / "out" / "a.tar") == content(folder / "whole" / "a.tar")
    assert [path.name for path in (folder / "out").iterdir()] == ["a.tar"]


def test_without_webdataset_the_extra_is_named(
    caption: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "webdataset"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "captioner.outputs.webdataset")
    code, _, err = caption(photos, "--format", "webdataset", "--output", tmp_path / "out")
    assert (code, err) == (
        2,
        'captioner: tar shards need webdataset: pip install "show-and-spell[webdataset]"\n',
    )
