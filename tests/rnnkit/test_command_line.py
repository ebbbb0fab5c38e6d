"""What a command says and returns when something goes wrong: one line and an exit code."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

import rnnkit
from rnnkit.command_line import run_app, run_command
from rnnkit.errors import ALL_DONE, INTERRUPTED, SOME_FAILED, WRONG_USAGE, UserError


def outcome(command: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as left:
        run_command("parrot", command)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "Traceback" not in captured.err
    assert isinstance(left.value.code, int)
    return left.value.code, captured.err


def raising(error: BaseException) -> Callable[[], object]:
    def command() -> object:
        raise error

    return command


def test_the_codes_are_those_that_are_promised() -> None:
    assert (ALL_DONE, SOME_FAILED, WRONG_USAGE) == (0, 1, 2)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("no such\n  photo"), WRONG_USAGE, "parrot: no such photo\n"),
        (
            KeyboardInterrupt(),
            INTERRUPTED,
            "parrot: interrupted; everything written so far is complete\n",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "rows.tsv"),
            SOME_FAILED,
            "the disk is full (rows.tsv)",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "rows.tsv"),
            WRONG_USAGE,
            "parrot: cannot write to 'rows.tsv' (the disk is read-only)\n",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/locked"),
            WRONG_USAGE,
            "parrot: '/locked': Permission denied\n",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "nosuch.txt"),
            WRONG_USAGE,
            "parrot: there is nothing at 'nosuch.txt'\n",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "nosuch/figure.png"),
            WRONG_USAGE,
            "parrot: there is no folder 'nosuch'\n",
        ),
        (
            IsADirectoryError(errno.EISDIR, "Is a directory", "photos"),
            WRONG_USAGE,
            "parrot: 'photos' is a folder: give a file\n",
        ),
        (
            FileExistsError(errno.EEXIST, "File exists", "a.txt"),
            WRONG_USAGE,
            "parrot: 'a.txt' is a file: give a folder\n",
        ),
        (
            ZeroDivisionError("division by zero"),
            SOME_FAILED,
            "parrot: unexpected ZeroDivisionError: division by zero",
        ),
    ],
)
def test_an_error_is_one_line_and_a_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, line = outcome(raising(error), capsys)
    assert found == code and said in line


def test_a_command_that_leaves_by_itself_is_not_stopped() -> None:
    with pytest.raises(SystemExit) as left:
        run_command("parrot", raising(SystemExit(1)))
    assert left.value.code == 1


def test_a_command_that_succeeds_just_returns() -> None:
    run_command("parrot", lambda: None)


def test_a_traceback_is_shown_to_who_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOW_AND_SPELL_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run_command("parrot", raising(ZeroDivisionError()))


def test_an_interrupted_typer_application_says_so_too(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()
    app.command()(raising(KeyboardInterrupt()))
    with pytest.raises(SystemExit) as left:
        run_app("parrot", app, [])
    code, line = left.value.code, capsys.readouterr().err
    assert (code, line) == (
        INTERRUPTED,
        "parrot: interrupted; everything written so far is complete\n",
    )


def test_a_typer_application_keeps_its_own_exit_code() -> None:
    app = typer.Typer()
    app.command()(raising(typer.Exit(SOME_FAILED)))
    with pytest.raises(SystemExit) as left:
        run_app("parrot", app, [])
    assert left.value.code == SOME_FAILED


def test_a_flag_that_is_not_known_is_named_and_is_wrong_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = typer.Typer()
    app.command()(lambda: None)
    with pytest.raises(SystemExit) as left:
        run_app("parrot", app, ["--loud"])
    assert left.value.code == WRONG_USAGE and "--loud" in capsys.readouterr().err


def test_the_page_can_leave_out_what_a_command_advises() -> None:
    error = UserError("'a.csv' is not a table", hint="use --format tsv")
    assert str(error) == "'a.csv' is not a table: use --format tsv"
    assert (error.message, error.hint) == ("'a.csv' is not a table", "use --format tsv")


def test_a_character_that_the_terminal_does_not_know_is_written_as_its_code() -> None:
    code = (
        "from rnnkit.command_line import run_command; run_command('parrot', lambda: print('fig' +"
        " chr(252)))"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(rnnkit.__file__).parents[1]),
        "PYTHONIOENCODING": "ascii",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"fig\\xfc\n")


@pytest.mark.skipif(sys.platform == "win32", reason="its shell closes nothing")
def test_what_is_for_a_closed_stream_is_dropped_and_not_written_to_the_other() -> None:
    code = "import sys; from rnnkit.command_line import run_command\n"
    code += "run_command('p', lambda: print('log', file=sys.stderr) or sys.stdout.write('row'))"
    environment = {**os.environ, "PYTHONPATH": str(Path(rnnkit.__file__).parents[1])}
    for closed, left in ((">&-", (b"", b"log\n")), ("2>&-", (b"row", b""))):
        command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code]
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, *left)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break otherwise there")
@pytest.mark.parametrize("call", ["command", "lambda: app([])"])
def test_a_reader_that_goes_away_is_not_an_error(call: str) -> None:
    code = (
        "import typer\n"
        "from rnnkit.command_line import run_command\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "def command():\n"
        "    for number in range(100000): print(number, flush=True)\n"
        f"run_command('parrot', {call})\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(rnnkit.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 141
