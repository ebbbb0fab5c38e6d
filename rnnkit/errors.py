"""Errors for people, and the exit codes of every command."""

from __future__ import annotations

import json
from collections.abc import Iterable

ALL_DONE, SOME_FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
BROKEN_PIPE = 141  # 128 + SIGPIPE, a signal that Windows does not have


class UserError(Exception):
    """Something the user can fix.

    Args:
        message: one sentence: what was wrong, with which file or value.
        hint: what to do about it on the command line. Commands print it after the message; the
            page, which has no flags, leaves it out.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message}: {hint}" if hint else message)
        self.message, self.hint = message, hint


def problem(error: Exception) -> str:
    """What an error of a reader says about its file, without Python's own words."""
    match error:
        case KeyError():
            return f"{error} is missing"
        case json.JSONDecodeError():
            return "it is not JSON" + (f" from line {error.lineno} on" if error.lineno > 1 else "")
        case RecursionError():
            return "nested too deeply"
        case UnicodeDecodeError():
            return "it is not UTF-8 text"
        case AttributeError() | TypeError():
            return "an entry has the wrong form"
        case OverflowError():
            return "a number is too large"
        case _:
            return str(error)


def either(choices: Iterable[object]) -> str:
    """Choices as a sentence names them: "tsv, jsonl or csv"."""
    *others, last = map(str, choices)
    return f"{', '.join(others)} or {last}" if others else last
