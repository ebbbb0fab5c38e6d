"""Reads a text file, or says in words why it cannot be read."""

from __future__ import annotations

from pathlib import Path

from rnnkit.errors import UserError


def read_text(path: Path, content: str) -> str:
    """The text of a UTF-8 file, with or without a byte-order mark.

    Args:
        content: what the file should hold, such as "annotations", for the message.

    Raises: UserError if there is no such file, or it cannot be read as text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"no {content} at '{path}'") from None
    except UnicodeDecodeError as error:
        raise UserError(f"'{path}' is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror})") from None
