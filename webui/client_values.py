"""Values as a client sent them, which may be anything, turned into what a setting needs."""

from __future__ import annotations

from typing import Any

from rnnkit.errors import UserError


def whole_number(value: Any, name: str, low: int | None = None, high: int | None = None) -> int:
    """A whole number, within a range if one is given.

    Args:
        name: what the setting is called in a sentence, such as "the seed".

    Raises: UserError naming the setting.
    """
    wanted = "a whole number" if low is None else f"a whole number from {low:,} to {high:,}"
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{name} must be {wanted}") from None
    if isinstance(value, float) and value != number:
        raise UserError(f"{name} must be {wanted}, not {value:g}")
    if (low is not None and number < low) or (high is not None and number > high):
        raise UserError(f"{name} must be {wanted}, not {number:,}")
    return number


def real_number(value: Any, name: str) -> float:
    """A number. Raises: UserError naming the setting."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{name} must be a number") from None
