"""One run at a time: a second one is refused, and a killed one blocks nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import captioner
from rnnkit.errors import UserError
from rnnkit.run_lock import RunLock

HOLD = """
import sys, time
from pathlib import Path
from rnnkit.run_lock import RunLock
with RunLock(Path(sys.argv[1]), inside=sys.argv[2] == "True"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("inside", [False, True])
def test_a_second_run_is_refused_while_the_first_holds_the_lock_and_not_after_it_was_killed(
    inside: bool, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    if inside:
        output.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(output), str(inside)],
        env={"PYTHONPATH": str(Path(captioner.__file__).parents[1])},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with (
            pytest.raises(UserError, match=r"another run is writing '.*out': wait for it to end"),
            RunLock(output, inside=inside),
        ):
            pass
        process.kill()
        process.wait()
    assert len(list(tmp_path.rglob("*.lock"))) == 1  # what the killed one left
    with RunLock(output, inside=inside):
        pass
    assert not list(tmp_path.rglob("*.lock"))


def test_a_file_that_changed_since_it_was_read_is_noticed(tmp_path: Path) -> None:
    output, part = tmp_path / "rows", tmp_path / "rows.part"
    output.write_bytes(b"a")
    for file in (output, part):
        lock = RunLock(output, part)
        file.write_bytes(b"changed")
        with (
            pytest.raises(UserError, match=r"another run has changed '.*rows' in the meantime"),
            lock,
        ):
            pass
    assert not list(tmp_path.glob(".*"))


def test_a_run_goes_ahead_where_no_lock_can_be_made(tmp_path: Path) -> None:
    with RunLock(tmp_path / "no such folder" / "rows"):
        pass
