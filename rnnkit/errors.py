"""Errors for people: one sentence that names the value and says what to do, and how a command
prints it.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress

ALL_DONE, SOME_FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
BROKEN_PIPE = 141  # 128 + SIGPIPE, a signal that Windows does not know

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file may not grow further",
}


class UserError(Exception):
    """Something the user can mend. The message is one sentence: what was wrong, with which value,
    what to do.
    """


def run_command(name: str, command: Callable[[], object]) -> None:
    """Run a command line and turn whatever goes wrong into one line on stderr and an exit code;
    never a traceback.

    Args:
        name: the command's name, printed in front of the message.
        command: a call without arguments, for example a typer application; an exit of its own
            passes through.

    Set SHOW_AND_SPELL_DEBUG=1 to see the traceback of an unexpected error.
    """
    if os.environ.get("SHOW_AND_SPELL_DEBUG"):
        command()
        return
    for closed in [name for name in ("stdout", "stderr") if getattr(sys, name) is None]:
        # By `>&-`. What goes there is dropped, as print does; but it would print what is for stderr
        # among the rows.
        setattr(sys, closed, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - open as long as the process
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # what stands for it may be no text file
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # the terminal may not know every character
    try:
        command()
    except SystemExit as exit:
        # typer makes exits of these two before they come here: one without a word, the other with
        # the code of failed inputs.
        if isinstance(exit.__context__, BrokenPipeError):
            _leave_quietly()
        if exit.__context__ is not None and isinstance(
            exit.__context__.__cause__, KeyboardInterrupt
        ):
            _leave_interrupted(name)
        raise
    except UserError as error:
        _leave(name, str(error), WRONG_USAGE)
    except KeyboardInterrupt:
        _leave_interrupted(name)
    except BrokenPipeError:
        _leave_quietly()
    except OSError as error:
        if error.errno in _FULL:
            _drop_stdout()
            what = f"{_FULL[error.errno]} ({error.filename or 'while writing'})"
            _leave(name, f"{what}; what was written before is whole", SOME_FAILED)
        _leave(
            name,
            f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}",
            WRONG_USAGE,
        )
    except Exception as error:
        kind = type(error).__name__
        _leave(
            name,
            f"unexpected {kind}: {error} (set SHOW_AND_SPELL_DEBUG=1 for the traceback)",
            SOME_FAILED,
        )


def _leave_interrupted(name: str) -> None:
    _leave(name, "interrupted; what was written so far is whole", INTERRUPTED)


def _leave_quietly() -> None:
    # The reader (head, less) went away.
    _drop_stdout()
    sys.exit(BROKEN_PIPE)


def _drop_stdout() -> None:
    """What could not be written stays in a buffer, and Python's own flush at exit must not complain
    of it again.
    """
    with suppress(OSError):  # what stands for stdout may be no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leave(name: str, message: str, code: int) -> None:
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
