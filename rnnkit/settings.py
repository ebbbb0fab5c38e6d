"""One dataclass of settings, three ways to fill it: defaults, a JSON file, command-line flags (the
later wins).
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from rnnkit.errors import UserError

Settings = TypeVar("Settings")


def setting(default: Any, help: str) -> Any:
    """A dataclass field with its explanation, which becomes the flag's help."""
    return dataclasses.field(default=default, metadata={"help": help})


def settings_from(kind: type[Settings], config: Path | None, flags: dict[str, Any]) -> Settings:
    """Defaults, then the JSON file, then the flags that were given (None means not given).

    Raises: UserError naming an unknown field or a value of the wrong type.
    """
    values: dict[str, Any] = {}
    if config is not None:
        try:
            values = json.loads(config.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"--config '{config}' cannot be read as JSON ({error})") from None
        if not isinstance(values, dict):
            raise UserError(
                f"--config '{config}' must hold one JSON object, names of settings and their values"
            )
    values |= {name: value for name, value in flags.items() if value is not None}
    hints = get_type_hints(kind)
    for name, value in values.items():
        if name not in hints:
            raise UserError(f"unknown setting '{name}'; there are: {', '.join(hints)}")
        if hints[name] is float and type(value) is int:
            values[name] = float(value)
        elif type(value) is not hints[name]:
            raise UserError(f"setting '{name}' must be {hints[name].__name__}, not {value!r}")
    return kind(**values)


def with_flags(kind: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a typer command, which takes **flags, one option for each field of a settings dataclass."""
    hints = get_type_hints(kind)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = [
            p
            for p in inspect.signature(command, eval_str=True).parameters.values()
            if p.kind is not p.VAR_KEYWORD
        ]
        for field in dataclasses.fields(kind):
            # In brackets rich would take it for markup and leave it out.
            help = (
                f"{field.metadata['help']} (default:"
                f" {'none' if field.default == '' else field.default})"
            )
            kind_or_none: Any = hints[field.name] | None
            option = Annotated[
                kind_or_none,
                typer.Option(help=help, show_default=False, rich_help_panel="Settings"),
            ]
            own.append(
                inspect.Parameter(
                    field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option
                )
            )
        command.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in own}
        return command

    return decorate
