"""Runs a command: whatever goes wrong becomes one line on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from rnnkit.errors import BROKEN_PIPE, INTERRUPTED, SOME_FAILED, WRONG_USAGE, UserError

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file has reached its size limit",
}


def run_app(name: str, app: Callable[..., Any], arguments: Sequence[str] | None = None) -> None:
    """`run_command` for a typer application, or for a function that is to become one."""
    import typer

    if not isinstance(app, typer.Typer):
        function = app
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command()(function)

    def command() -> None:
        # Not standalone: errors then arrive as themselves, and an exit as its code.
        code = app(arguments, prog_name=name, standalone_mode=False)
        if code == INTERRUPTED:  # what typer makes of a Ctrl-C
            raise KeyboardInterrupt
        if code:
            sys.exit(code)

    run_command(name, command)


def run_command(name: str, command: Callable[[], object]) -> None:
    """Run a command and turn whatever goes wrong into one line on stderr and an exit code.

    Args:
        name: the command's name, printed in front of the message.
        command: a call without arguments.

    Set SHOW_AND_SPELL_DEBUG=1 to see the traceback of an unexpected error.
    """
    if os.environ.get("SHOW_AND_SPELL_DEBUG"):
        command()
        return
    _open_closed_streams()
    try:
        command()
    except UserError as error:
        _leave(name, str(error), WRONG_USAGE)
    except KeyboardInterrupt:
        _leave_interrupted(name)
    except BrokenPipeError:
        _leave_quietly()
    except SystemExit as exit:
        if isinstance(exit.__context__, BrokenPipeError):  # typer makes an exit of this one
            _leave_quietly()
        raise
    except OSError as error:
        if error.errno in _FULL:
            _drop_stdout()
            what = f"{_FULL[error.errno]} ({error.filename or 'while writing'})"
            _leave(name, f"{what}; everything written before that is complete", SOME_FAILED)
        if error.errno == errno.EROFS:
            where = error.filename or "the output"
            _leave(name, f"cannot write to '{where}' (the disk is read-only)", WRONG_USAGE)
        _leave(name, _about_file(error), WRONG_USAGE)
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            # One of click's usage errors, of which typer carries copies that have no public name.
            error.show()
            sys.exit(error.exit_code)
        kind = type(error).__name__
        hint = "set SHOW_AND_SPELL_DEBUG=1 for the traceback"
        _leave(name, f"unexpected {kind}: {error} ({hint})", SOME_FAILED)


def _about_file(error: OSError) -> str:
    path = error.filename
    if path is None:
        return error.strerror or str(error)
    match error:
        case FileNotFoundError() if not Path(path).parent.exists():
            return f"there is no folder '{Path(path).parent}'"
        case FileNotFoundError():
            return f"there is nothing at '{path}'"
        case IsADirectoryError():
            return f"'{path}' is a folder: give a file"
        case FileExistsError():  # what making a folder says
            return f"'{path}' is a file: give a folder"
        case _:
            return f"'{path}': {error.strerror}"


def _open_closed_streams() -> None:
    """Replace streams that the shell has closed (`>&-`), and write any character to the others."""
    for closed in [name for name in ("stdout", "stderr") if getattr(sys, name) is None]:
        # Otherwise error messages could end up among the rows.
        null = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for the process
        setattr(sys, closed, null)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # a stand-in may not be a text file
            # The terminal may not know every character.
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _leave_interrupted(name: str) -> NoReturn:
    _leave(name, "interrupted; everything written so far is complete", INTERRUPTED)


def _leave_quietly() -> NoReturn:
    """The reader of our output (head, less) has gone."""
    _drop_stdout()
    sys.exit(BROKEN_PIPE)


def _drop_stdout() -> None:
    """Keep Python's own flush at exit from failing again over what could not be written."""
    with suppress(OSError):  # a stand-in for stdout may not be a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leave(name: str, message: str, code: int) -> NoReturn:
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
