"""--version and --completion, which all programs have."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import captioner.cli
import charlm.cli
import sequences.cli
import webui.cli
from rnnkit.command_line import run_app
from rnnkit.version import VERSION

PROGRAMS = {
    "captioner": captioner.cli.app,
    "charlm": charlm.cli.app,
    "sequences": sequences.cli.app,
    "webui": webui.cli.app,
}
# What a shell does at the tab key, in each of which a program's script has been read.
ASK = {
    "bash": "COMP_WORDS=({typed}); COMP_CWORD={index}; _{name}; echo ${{COMPREPLY[*]}}",
    # Its own parts of completion answer to a terminal only; a prefix is what they would keep.
    "zsh": "words=({typed}); CURRENT={index}+1; PREFIX=$words[-1]; _{name}",
    "fish": "complete -C '{typed}'",
}
ZSH = """compdef() {}; _default() { print file }
compadd() { shift; for word; do [[ $word == $PREFIX* ]] && print -- $word; done }
"""


def printed(capsys: pytest.CaptureFixture[str], name: str, *arguments: str) -> str:
    run_app(name, PROGRAMS[name], arguments)
    return capsys.readouterr().out


def test_every_program_prints_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    for name in PROGRAMS:
        assert printed(capsys, name, "--version") == f"{name} {VERSION}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_flags_and_files(
    shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "file").touch()
    file = "" if shell == "bash" else "file"  # bash's own default
    asked = (
        ("captioner ed", "edit"),
        ("captioner --comp", "--completion"),
        ("captioner caption photos/ --sidecar", "--sidecar-folder"),
        ("captioner caption fi", file),
        ("charlm sa", "sample"),
        ("sequences train cl", "classify"),
        ("sequences train classify examples.tsv --evi", "--evidence"),
        ("sequences train --ver", ""),  # which is the program's own
        ("webui --port 80 --allow", "--allow-host"),
    )
    script = ZSH if shell == "zsh" else ""
    script += "".join(printed(capsys, name, "--completion", shell) for name in PROGRAMS)
    for typed, _ in asked:
        words = typed.split()
        script += ASK[shell].format(typed=typed, index=len(words) - 1, name=words[0])
        script += "\necho .\n"
    done = subprocess.run(
        [shell, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    assert done.stderr == ""
    answers = [" ".join(answer.split()) for answer in done.stdout.split(".\n")]
    assert dict(zip((typed for typed, _ in asked), answers, strict=False)) == dict(asked)


def test_a_shell_that_is_not_known_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        printed(capsys, "charlm", "--completion", "cmd")
    assert left.value.code == 2
    assert "unknown shell 'cmd': use bash, zsh or fish" in capsys.readouterr().err
