"""`captioner caption` over folders: which photos, what becomes of captions that are there, what is
said, how it stops.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import captioner
from captioner.jobs.job import TOO_EARLY, settings_text
from captioner.jobs.progress import Summary, duration
from captioner.outputs.resumable_file import ResumableFile
from captioner.outputs.sidecars import Sidecars
from captioner.outputs.text_around import TextAround
from captioner.types import CaptionResult, Decoding

Run = Callable[..., tuple[int, str, str]]
BAD = "not a picture of a known format"


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_summary_says_what_became_of_every_photo_and_how_fast(
    caption: Run, photos: Path, tmp_path: Path
) -> None:
    code, _, err = caption(photos, "--format", "jsonl", "--output", tmp_path / "rows")
    assert code == 1
    last = err.splitlines()[-1]
    assert (
        last.startswith(f"captioner: captioned 5, skipped 0, failed 1 (1 {BAD}); ")
        and "photos/s, " in last
    )
    code, _, err = caption(photos, "--format", "jsonl", "--output", tmp_path / "rows")
    assert code == 1
    assert f"captioned 0, skipped 5, failed 1 (1 {BAD})" in err.splitlines()[-1]
    assert sorted(str(row["status"]) for row in rows(tmp_path / "rows")) == ["error", *["ok"] * 5]
    (photos / "bad.jpg").unlink()
    assert caption(photos, "--format", "jsonl", "--output", tmp_path / "rows")[0] == 0


@pytest.mark.parametrize("format", ["tsv", "jsonl", "csv", "coco"])
def test_a_folder_that_grew_gets_only_its_new_photos_captioned(
    format: str, caption: Run, photos: Path, tmp_path: Path
) -> None:
    (photos / "bad.jpg").unlink()
    late = (photos / "0.jpg").rename(tmp_path / "late.jpg")
    assert caption(photos, "--format", format, "--output", tmp_path / "rows")[0] == 0
    before = (tmp_path / "rows").read_text(encoding="utf-8")
    late.rename(photos / "0.jpg")
    code, _, err = caption(photos, "--format", format, "--output", tmp_path / "rows")
    assert code == 0
    assert "captioned 1, skipped 4" in err
    assert (tmp_path / "rows").read_text(encoding="utf-8").startswith(before.removesuffix("\n]\n"))


def test_a_list_of_photos_is_read_from_a_file_and_from_standard_input(
    caption: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(photos / "3.jpeg"), str(photos / "1.PNG"), "nowhere.jpg", str(photos / "3.jpeg")]
    listed = {
        "lines": "\r\n".join(names),
        "marked": "\ufeff" + "\n\n".join(names) + "\n",
        "zeros": "\0".join(names),
    }
    for text in listed.values():
        (tmp_path / "list").write_bytes(text.encode())
        code, out, err = caption("--from-file", tmp_path / "list")
        assert code == 1
        assert [line.split("\t")[0] for line in out.splitlines()] == names[:2]
        assert "nowhere.jpg: no such file" in err
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert caption("--from-file", "-")[:2] == (1, out)


def test_a_missing_photo_is_a_failed_row_and_the_others_are_captioned(
    caption: Run, photos: Path, tmp_path: Path
) -> None:
    names = [str(photos / "0.jpg"), str(tmp_path / "nothere.jpg"), str(photos / "3.jpeg")]
    code, _, err = caption(*names, "--format", "jsonl", "--output", tmp_path / "rows")
    assert (
        code == 1
        and f"{names[1]}: no such file\n" in err
        and "captioned 2, skipped 0, failed 1 " in err
    )
    assert [(row["path"], row["status"]) for row in rows(tmp_path / "rows")] == list(
        zip(names, ("ok", "error", "ok"), strict=True)
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("PHOTOS", "--from-file", "list"), "either paths or --from-file"),
        ((), "no photos given: name images, folders or globs"),
        (("--from-file", "no/such/list"), "cannot read the list 'no/such/list'"),
        (
            ("PHOTOS", "--existing", "delete"),
            "unknown --existing 'delete': use skip, overwrite, append or prepend",
        ),
        (("PHOTOS", "--runner", "spark"), "unknown --runner 'spark': use local or ray"),
        (("PHOTOS", "--engine", "spark"), "unknown --runner 'spark': use local or ray"),
        (("PHOTOS", "--runner", "ray", "--embed"), "--embed and --fail-fast need --runner local"),
        (("PHOTOS", "--in-place"), "--in-place changes the photos themselves"),
        (("PHOTOS", "--embed"), "--embed needs --output with a folder for copies, or --in-place"),
        (
            ("PHOTOS", "--embed", "--in-place", "--output", "copies"),
            "--in-place changes the photos themselves",
        ),
        (
            ("PHOTOS", "--embed", "--in-place", "--format", "csv"),
            "--embed writes into photos and cannot be combined with --format csv",
        ),
        (
            ("PHOTOS", "--format", "sidecar", "--output", "rows"),
            "sidecars are written beside their photos",
        ),
        (("PHOTOS", "--format", "parquet"), "a parquet file cannot go to standard output"),
        (("PHOTOS", "--format", "webdataset"), "tar shards go to a folder"),
        (
            ("PHOTOS", "--format", "coco", "--output", "rows", "--existing", "append"),
            "--existing append is not supported",
        ),
        (("PHOTOS", "--format", "csv", "--extension", "caption"), "are for --format sidecar"),
        (("PHOTOS", "--extension", "a/b"), "'.a/b' is not the end of a file's name"),
        (("PHOTOS", "--extension", ".JPG"), "'.JPG' is that of photos"),
        (("PHOTOS", "--format", "metadata", "--output", "rows"), "leave out --output"),
        (("PHOTOS", "--print-existing"), "has to know where captions are"),
        (("PHOTOS", "--review", "photos/0.jpg"), "exists and is no contact sheet"),
        (("PHOTOS", "--prepend", "a\tb"), "the text of --prepend has a tab or a line break"),
        (("PHOTOS", "--length-penalty", "nan"), "length-penalty must be from -100 to 100"),
        (("PHOTOS", "--output", "/proc/rows"), "(the system lets nobody make files in '/proc')"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_done(
    arguments: tuple[str, ...],
    said: str,
    caption: Run,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = caption(
        *(photos if argument == "PHOTOS" else argument for argument in arguments)
    )
    assert (code, out) == (2, "")
    assert said in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_neither_a_photo_nor_the_list_of_photos_is_written_over(
    caption: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    (photos / "empty.jpg").touch()
    (photos / "0.txt").write_bytes((photos / "0.jpg").read_bytes())
    (photos / "list").write_text("0.jpg\n", encoding="utf-8")
    before = {path: path.read_bytes() for path in photos.iterdir()}
    over = ("--existing", "overwrite")
    for arguments, said in (
        ((".", "--output", "empty.jpg"), "--output 'empty.jpg' is one of the photos"),
        (("--from-file", "list", "--output", "./list"), "'list' is the list of photos itself"),
        (("0.txt", "--format", "sidecar"), "'0.txt' would be described in '0.txt'"),
        (("0.jpg", "0.txt", "--format", "sidecar"), "'0.jpg' would be described in '0.txt'"),
    ):
        code, out, err = caption(*arguments, *over)
        assert (code, out) == (2, "") and said in err
    assert {path: path.read_bytes() for path in photos.iterdir()} == before


def test_an_output_called_minus_is_standard_output(
    caption: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert caption(photos / "0.jpg", "--output", "-") == caption(photos / "0.jpg")
    for arguments, said in (
        (("--embed",), "copies and shards go to a folder"),
        (("--format", "webdataset"), "copies and shards go to a folder"),
        (("--format", "sidecar"), "leave out --output"),
        (("--format", "parquet"), "--output"),
    ):
        code, _, err = caption(photos / "0.jpg", "--output", "-", *arguments)
        assert code == 2 and said in err
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_list_is_an_error_and_not_an_empty_result(caption: Run, tmp_path: Path) -> None:
    (tmp_path / "list").write_text("\n\n", encoding="utf-8")
    assert "names no photos" in caption("--from-file", tmp_path / "list")[2]


def test_the_first_failure_stops_a_run_that_is_told_to_fail_fast(
    caption: Run, photos: Path, tmp_path: Path
) -> None:
    (photos / "bad.jpg").rename(photos / "2.bad.jpg")
    code, _, err = caption(
        photos, "--format", "jsonl", "--output", tmp_path / "rows", "--fail-fast", "--batch-size", 1
    )
    assert code == 1
    assert [row["status"] for row in rows(tmp_path / "rows")] == ["ok", "ok", "error"]
    assert "captioned 2, skipped 0, failed 1" in err


def test_a_failure_that_stops_a_run_leaves_the_old_rows_and_names_where_the_new_ones_are(
    caption: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "bad.jpg").rename(photos / "2.bad.jpg")
    command = (photos, "--format", "jsonl", "--output", tmp_path / "rows", "--batch-size", 1)
    caption(*command)
    before = (tmp_path / "rows").read_bytes()
    code, _, err = caption(*command, "--existing", "overwrite", "--fail-fast")
    (part,) = (path for path in tmp_path.iterdir() if path.suffix == ".part")
    *_, where, summary = err.splitlines()
    assert code == 1 and "captioned 2, skipped 0, failed 1" in summary
    assert where == f"captioner: partial results are in '{part}'; run the same command to continue"
    monkeypatch.setattr(
        "captioner.jobs.job.Captioner.caption_features",
        lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
    )
    code, _, err = caption(*command, "--existing", "overwrite")
    *_, where, summary, stopped = err.splitlines()
    assert (
        code == 130
        and str(part) in where
        and "captioned 0, skipped 2, failed 1 " in summary
        and "interrupted" in stopped
    )
    assert (tmp_path / "rows").read_bytes() == before
    code, _, err = caption(*command, "--existing", "overwrite", "--beam-size", 1)
    assert (
        code == 2
        and f"'{part}' holds the partial results of a run with --existing overwrite and other"
        in err
    )


@pytest.mark.parametrize(("presses", "written"), [(1, 3), (2, 1)])
def test_an_interrupt_while_a_batch_is_written_waits_for_its_end_and_a_second_one_does_not(
    presses: int,
    written: int,
    caption: Run,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = ResumableFile.__call__

    def interrupted(self: ResumableFile, row: CaptionResult) -> None:
        write(self, row)
        if self._rows == 1:
            for _ in range(presses):
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ResumableFile, "__call__", interrupted)
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background commands ignore the signal
    code, _, err = caption(
        photos, "--format", "jsonl", "--output", tmp_path / "rows", "--batch-size", 3
    )
    summary, stopped = err.splitlines()
    assert (code, stopped) == (130, "captioner: interrupted; everything written so far is complete")
    assert len(rows(tmp_path / "rows")) == written
    done = "captioned 3, skipped 0, failed 0; " if presses == 1 else TOO_EARLY
    assert summary.startswith(f"captioner: {done}")
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    caption: Run, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "rows"
    code, out, err = caption(photos, "--output", output, "--dry-run", "--model", "nowhere")
    assert code == 0
    assert out.splitlines() == [f"caption\t{path}" for path in sorted(photos.iterdir())]
    assert "would caption 6, skip 0; nothing was done" in err and not output.exists()
    assert caption(photos, "--output", output)[0] == 1
    code, out, err = caption(photos, "--output", output, "--dry-run")
    assert [line.split("\t")[0] for line in out.splitlines()] == [*["skip"] * 5, "caption"]
    assert "would caption 1, skip 5" in err
    code, out, err = caption(
        photos / "0.jpg", photos / "no.jpg", photos / "bad.jpg", "--output", output, "--dry-run"
    )
    assert code == 1 and [line.split("\t")[0] for line in out.splitlines()] == [
        "skip",
        "fail",
        "caption",
    ]
    assert (
        "no.jpg: no such file" in err and "would caption 1, skip 1, fail 1; nothing was done" in err
    )


@pytest.mark.skipif(sys.platform == "win32", reason="no name holds a line break there")
def test_a_dry_run_names_photos_as_tsv_does_a_line_each(caption: Run, photos: Path) -> None:
    photo = (photos / "0.jpg").rename(photos / "two\nlines\tand \udcff.jpg")
    code, out, _ = caption(photo, "--dry-run")
    assert (code, out) == (0, f"caption\t{photos}/two\\nlines\\tand \\udcff.jpg\n")
    assert caption(photo)[1].split("\t")[0] == out.removesuffix("\n").split("\t")[1]


def test_sidecars_that_are_there_are_skipped_replaced_or_added_to(
    caption: Run, photos: Path
) -> None:
    (photos / "bad.jpg").unlink()
    assert caption(photos, "--format", "sidecar")[0] == 0
    written = {path: path.read_bytes() for path in photos.glob("*.txt")}
    assert len(written) == 5 and all(data.count(b"\n") == 1 for data in written.values())
    first = photos / "0.txt"
    first.write_bytes(b"my own words \xff\r\nand more")  # as an editor may leave it
    err = caption(photos, "--format", "sidecar")[2]
    assert "captioned 0, skipped 5" in err and "--existing overwrite replaces them" in err
    assert first.read_bytes() == b"my own words \xff\r\nand more"
    for _ in range(2):  # the second time it is there already
        assert caption(photos, "--format", "sidecar", "--existing", "append")[0] == 0
        assert first.read_bytes() == b"my own words \xff\nand more\n" + written[first]
    first.write_bytes(b"my own words\n")
    assert caption(photos, "--format", "sidecar", "--existing", "prepend")[0] == 0
    assert first.read_bytes() == written[first] + b"my own words\n"
    assert caption(photos, "--format", "sidecar", "--existing", "overwrite")[0] == 0
    assert {path: path.read_bytes() for path in photos.glob("*.txt")} == written
    assert not list(photos.glob(".*"))


def test_sidecars_go_to_their_own_folder_and_two_photos_of_one_sidecar_are_refused_alone(
    caption: Run, photos: Path, tmp_path: Path
) -> None:
    (photos / "bad.jpg").unlink()
    (photos / "4.gif").rename(photos / "0.gif")
    words, sheet = tmp_path / "words", tmp_path / "sheet.html"
    options = ("--extension", "caption", "--sidecar-folder", words, "--review", sheet)
    given = (photos, *options, "--prefix", "word7", "--prepend", "sks,", "--append", ", oil")
    code, out, err = caption(*given, "--dry-run")
    assert code == 1 and not words.exists() and not sheet.exists()
    assert [line.split("\t")[0] for line in out.splitlines()] == [*["fail"] * 2, *["caption"] * 3]
    assert re.search(r"for example, .*1\.PNG: '(word7 .+)' would become 'sks, \1, oil'", err)

    code, _, err = caption(*given)
    assert code == 1 and "captioned 3, skipped 0, failed 2 (2 shares its sidecar with" in err
    assert f"'{words / '0.caption'}' would be that of '{photos / '0.gif'}' too" in err
    texts = {path.name: path.read_text(encoding="utf-8") for path in words.iterdir()}
    assert sorted(texts) == ["1.caption", "2.caption", "3.caption"]
    assert all(re.fullmatch(r"sks, word7 .+, oil\n", text) for text in texts.values())
    page = sheet.read_text(encoding="utf-8")
    assert page.count("<li>") == page.count("<img ") == 5 and page.count('class="error"') == 2

    (words / "2.caption").unlink()  # as if the run had been stopped
    assert "captioned 1, skipped 2, failed 2" in caption(*given)[2]
    assert texts["2.caption"] == (words / "2.caption").read_text(encoding="utf-8")
    assert sheet.read_text(encoding="utf-8") == page
    code, out, err = caption(photos, *options[:4], "--print-existing")
    lines = [line.split("\t") for line in out.splitlines()]
    assert [text for _, text in lines] == ["", "", *(texts[name].strip() for name in sorted(texts))]
    assert code == 0 and "photos with captions: 3 of 5; captions: 3" in err


def test_a_dry_run_shows_the_captions_that_a_photo_would_keep(
    caption: Run, photos: Path, tmp_path: Path
) -> None:
    given = (photos / "0.jpg", "--output", tmp_path / "rows.jsonl")
    assert caption(*given)[0] == 0
    text = json.loads((tmp_path / "rows.jsonl").read_bytes())["caption"]
    err = caption(*given, "--existing", "append", "--prepend", "new", "--dry-run")[2]
    assert f"'{text}' would become 'new {text}', after '{text}'\n" in err
    assert caption(*given, "--existing", "append", "--prepend", "new")[0] == 0
    row = json.loads((tmp_path / "rows.jsonl").read_bytes())
    assert [old["caption"] for old in row["captions"]] == [text, f"new {text}"]


def test_a_stopped_run_is_continued_with_its_own_settings_only_and_the_defaults_are_as_ever() -> (
    None
):
    def made_by(decoding: Decoding, before: str = "") -> str:
        return settings_text(decoding, TextAround(before))

    former = (
        "Decoding(beam_size=3, num_captions=1, max_length=20, length_penalty=None, sample=False,"
        " temperature=1.0, top_p=1.0, seed=None, careful=False)"
    )
    assert made_by(Decoding()) == former
    others = [
        made_by(Decoding(prefix="a")),
        made_by(Decoding(min_length=2)),
        made_by(Decoding(length_penalty=0.5)),
        made_by(Decoding(), "sks"),
    ]
    assert len({former, *others}) == 5


def test_an_empty_sidecar_is_no_caption(photos: Path) -> None:
    names = [photos / f"{number}.jpg" for number in range(4)]
    for name, words in zip(names, ("", " \n", "words", None), strict=True):
        if words is not None:
            name.with_suffix(".txt").write_text(words, encoding="utf-8")
    assert list(Sidecars(names, "skip").photos) == [names[0], names[1], names[3]]


def test_a_sidecar_that_cannot_be_written_is_a_failure_and_the_others_are(
    caption: Run, photos: Path
) -> None:
    (photos / "bad.jpg").unlink()
    (photos / "0.txt").mkdir()
    code, _, err = caption(photos, "--format", "sidecar", "--existing", "overwrite")
    assert code == 1
    assert (
        f"{photos / '0.jpg'}: its sidecar cannot be written (Is a directory)\n" in err
        and "captioned 4, skipped 0, failed 1 " in err
    )
    assert sum(path.is_file() for path in photos.glob("*.txt")) == 4 and not list(photos.glob(".*"))


def test_a_sidecar_of_a_photo_that_can_no_longer_be_read_is_kept(
    caption: Run, photos: Path
) -> None:
    (photos / "bad.txt").write_text("what it showed", encoding="utf-8")
    assert caption(photos, "--format", "sidecar", "--existing", "overwrite")[0] == 1
    assert (photos / "bad.txt").read_text(encoding="utf-8") == "what it showed"


def test_overwriting_gives_the_rows_that_the_new_settings_give(
    caption: Run, photos: Path, tmp_path: Path
) -> None:
    caption(photos, "--format", "jsonl", "--output", tmp_path / "rows")
    caption(photos, "--format", "jsonl", "--output", tmp_path / "fresh", "--num-captions", 2)
    caption(
        photos,
        "--format",
        "jsonl",
        "--output",
        tmp_path / "rows",
        "--num-captions",
        2,
        "--existing",
        "overwrite",
    )
    assert rows(tmp_path / "rows") == rows(tmp_path / "fresh")


def test_hidden_folders_and_links_to_folders_are_not_looked_into(
    caption: Run, photos: Path
) -> None:
    (photos / ".thumbnails").mkdir()
    (photos / "0.jpg").rename(photos / ".thumbnails" / "0.jpg")
    (photos / "loop").symlink_to(photos)
    _, out, _ = caption(photos, "--recursive", "--dry-run")
    assert len(out.splitlines()) == 5


def test_a_folder_that_cannot_be_looked_into_is_a_failure_and_the_others_are_captioned(
    caption: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "bad.jpg").unlink()
    (photos / "locked").mkdir()
    scan = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr("os.scandir", scandir)
    assert caption(photos, "--recursive", "--dry-run")[0] == 1
    code, out, err = caption(photos, "--recursive")
    assert code == 1 and len(out.splitlines()) == 5
    assert f"captioner: {photos / 'locked'}: cannot read the folder (Permission denied)\n" in err
    assert "captioned 5, skipped 0, failed 1 (1 cannot read the folder)" in err
    code, out, err = caption(
        photos, "--recursive", "--fail-fast", "--format", "jsonl", "--output", tmp_path / "rows"
    )
    assert (
        code == 1
        and "captioned 0, skipped 0, failed 1 " in err
        and not (tmp_path / "rows").exists()
    )
    code, _, err = caption(photos / "locked")
    assert code == 1 and "cannot read the folder (Permission denied)" in err


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize(
    ("target", "reason"), [("link", "Too many levels of symbolic links"), ("gone", "no such file")]
)
def test_a_link_to_itself_or_to_nothing_is_one_failed_row(
    target: str, reason: str, caption: Run, photos: Path, tmp_path: Path
) -> None:
    (photos / "bad.jpg").unlink()
    for ending in (".jpg", ""):
        (photos / f"link{ending}").symlink_to(photos / f"{target}{ending}")
    code, _, err = caption(photos, "--format", "jsonl", "--output", tmp_path / "rows")
    assert code == 1
    assert (
        f"{photos / 'link.jpg'}: {reason}\n" in err and "captioned 5, skipped 0, failed 1 " in err
    )
    assert rows(tmp_path / "rows")[-1] == {
        "path": str(photos / "link.jpg"),
        "status": "error",
        "error": reason,
    }


@pytest.mark.skipif(sys.platform == "win32", reason="there is no /dev/full")
@pytest.mark.parametrize("form", ["tsv", "coco"])
def test_a_device_can_be_written_to_and_one_that_is_full_ends_it(
    form: str, caption: Run, photos: Path
) -> None:
    assert caption(photos, "--output", "/dev/null", "--format", form)[0] == 1
    code, _, err = caption(photos, "--output", "/dev/full", "--format", form)
    assert code == 1
    *_, summary, stopped = err.splitlines()
    assert stopped.startswith("captioner: the disk is full")
    assert summary == f"captioner: {TOO_EARLY}"


def test_the_script_is_the_same_command(photos: Path, untrained: Path) -> None:
    script = Path(captioner.__file__).parents[1] / "scripts" / "caption_folder.py"
    environment = {**os.environ, "PYTHONPATH": str(script.parents[1])}
    command = [
        sys.executable,
        str(script),
        str(photos / "0.jpg"),
        "--model",
        str(untrained),
        "--backend",
        "torch",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith(f"{photos / '0.jpg'}\t") and done.stderr == ""


def test_reasons_are_counted_without_what_is_the_photos_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    summary = Summary(captioned=3, skipped=2)
    for error in (
        None,
        "damaged or cut short (3 bytes)",
        "damaged or cut short (4 bytes)",
        "no such file",
    ):
        summary.count(Path("a.jpg"), error)
    assert str(summary).startswith(
        "captioned 4, skipped 2, failed 3 (2 damaged or cut short; 1 no such file); "
    )
    assert capsys.readouterr().err.splitlines()[-1] == "captioner: a.jpg: no such file"


def test_durations_are_said_as_people_say_them() -> None:
    assert [duration(seconds) for seconds in (0.04, 59.94, 59.97, 75, 359.7, 10920)] == [
        "0.0 s",
        "59.9 s",
        "1 min 0 s",
        "1 min 15 s",
        "6 min 0 s",
        "3 h 2 min",
    ]
