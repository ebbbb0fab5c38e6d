"""A file is replaced as a whole or left alone."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from rnnkit.files import replace_file, write_file


def test_a_file_is_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_file(tmp_path / "new.txt", b"first")
    write_file(tmp_path / "new.txt", b"second")
    assert (tmp_path / "new.txt").read_bytes() == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["new.txt"]


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), replace_file(path) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_reported_with_the_files_own_name(tmp_path: Path) -> None:
    path = tmp_path / "big.txt"
    with pytest.raises(OSError) as failed, replace_file(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert failed.value.errno == errno.ENOSPC and failed.value.filename == str(path)


def test_an_existing_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "private.txt"
    path.write_bytes(b"old")
    path.chmod(0o600)
    write_file(path, b"new")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_takes_the_permissions_of_the_one_it_is_made_from(tmp_path: Path) -> None:
    model = tmp_path / "model.txt"
    model.touch()
    model.chmod(0o640)
    with replace_file(tmp_path / "copy.txt", like=model, sync=False) as temporary:
        temporary.write_bytes(b"new")
    assert (tmp_path / "copy.txt").stat().st_mode & 0o777 == 0o640


def test_the_only_writer_clears_away_what_a_killed_one_left(tmp_path: Path) -> None:
    with replace_file(tmp_path / "rows.txt", only_writer=True) as temporary:
        temporary.write_bytes(b"half")
        left = temporary
    left.write_bytes(b"half of a longer row")
    with replace_file(tmp_path / "rows.txt", only_writer=True) as temporary:
        assert temporary == left and not temporary.exists()
        temporary.write_bytes(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.txt"]
