"""One dataclass of settings: its fields say type, default, range and help, and are checked once.

It is filled from defaults, a JSON file and command-line flags (the later wins), or from the run
that is to be resumed.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer

from rnnkit.errors import UserError, either

Settings = TypeVar("Settings")
Values = dict[str, Any]  # by the field's name
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] = (),
    formerly: str = "",
    former_values: Mapping[str, str] | None = None,
    may_change: bool = False,
    may_grow: bool = False,
    from_init: bool = False,
) -> Any:
    """A field of a settings dataclass.

    Args:
        help: what it is; also the flag's help.
        low, high: the smallest and largest value that is allowed.
        above, below: bounds that are themselves not allowed.
        choices: the values that are allowed.
        formerly: an earlier name, which flags, files and runs may still use.
        former_values: earlier values and what they are called now.
        may_change: may differ when a run is resumed, because it does not change what is learned.
        may_grow: may be larger when a run is resumed, which then goes on for longer.
        from_init: comes from the checkpoint that the setting `init` names, if it names one.
    """
    metadata = {
        "help": help,
        "low": low,
        "high": high,
        "above": above,
        "below": below,
        "choices": choices,
        "formerly": formerly,
        "former_values": dict(former_values or {}),
        "may_change": may_change,
        "may_grow": may_grow,
        "from_init": from_init,
    }
    return dataclasses.field(default=default, metadata=metadata)


def check_ranges(settings: Any) -> None:
    """Check every field against its range; call it from `__post_init__`. None is always allowed.

    Raises: UserError naming the first field that is out of its range, with its value.
    """
    for field in dataclasses.fields(settings):
        value, allowed = getattr(settings, field.name), field.metadata
        if value is None or not allowed:
            continue
        if not _fits(value, allowed):
            raise UserError(f"{_flag(field.name)} must be {_range(allowed)}, not {value!r}")


def _fits(value: Any, allowed: Mapping[str, Any]) -> bool:
    try:
        return (
            (allowed["low"] is None or value >= allowed["low"])
            and (allowed["high"] is None or value <= allowed["high"])
            and (allowed["above"] is None or value > allowed["above"])
            and (allowed["below"] is None or value < allowed["below"])
            and (not allowed["choices"] or value in allowed["choices"])
        )
    except TypeError:  # text in place of a number
        return False


def _range(allowed: Mapping[str, Any]) -> str:
    """A field's range in words, such as "from 1 to 100" or "at least 0 and below 1"."""
    if allowed["choices"]:
        return either(allowed["choices"])
    low, high = allowed["low"], allowed["high"]
    if low is not None and high is not None:
        return f"from {low:,} to {high:,}"
    bounds = {
        "at least": low,
        "above": allowed["above"],
        "at most": high,
        "below": allowed["below"],
    }
    return " and ".join(f"{word} {bound:,}" for word, bound in bounds.items() if bound is not None)


def settings_from(kind: type[Settings], config: Path | None, flags: Values) -> Settings:
    """Settings for a new run: defaults, then the JSON file, then the flags that were given.

    Args:
        flags: by the field's name; None means not given.

    Raises: UserError naming an unknown field, a value of the wrong type or one out of its range, or
        a flag for what the checkpoint of `init` decides.
    """
    given = _given(kind, config, flags)
    if given.get("init"):
        for field in dataclasses.fields(kind):  # type: ignore[arg-type]
            if field.metadata.get("from_init") and flags.get(field.name) is not None:
                raise UserError(
                    f"--{_flag(field.name)} comes from the checkpoint of --init '{given['init']}'",
                    hint="leave one of the two out",
                )
    return kind(**given)


def check_initial(settings: Any, stored: Mapping[str, Any], source: object) -> None:
    """Compare settings with the checkpoint that they start from.

    Args:
        stored: what the checkpoint has, by the field's name.

    Raises: UserError naming a setting that is neither its default nor what the checkpoint has.
    """
    for field in dataclasses.fields(settings):
        if field.metadata.get("from_init") and field.name in stored:
            value = getattr(settings, field.name)
            if value not in (field.default, stored[field.name]):
                raise UserError(
                    f"the setting {_flag(field.name)}, {_shown(value)}, comes from the checkpoint"
                    f" of --init '{source}'",
                    hint="leave one of the two out",
                )


def resumed_settings(
    kind: type[Settings], stored: Mapping[str, Any], config: Path | None, flags: Values, run: Path
) -> Settings:
    """The settings that a run was started with.

    Settings that the run does not know, because newer code has added them, take their defaults.

    Args:
        stored: the settings in the run's state.
        config, flags: as for `settings_from`; they may repeat what the run was started with, and
            change fields that are marked `may_change`, and raise those marked `may_grow`.
        run: the run folder, for messages.

    Raises: UserError naming a setting that differs from the run's, or as `settings_from` does.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    known = {name: value for name, value in _renamed(kind, stored).items() if name in fields}
    settings = kind(**known)
    given = _given(kind, config, flags)
    for name, value in given.items():
        before, allowed = getattr(settings, name), fields[name].metadata
        grows = allowed["may_grow"] and value > before
        if value != before and not grows and not allowed["may_change"]:
            only_more = "; a resumed run can only have more" if allowed["may_grow"] else ""
            raise UserError(
                f"'{run}' was started with {_flag(name)} {_shown(before)}, not {_shown(value)}"
                f"{only_more}",
                hint="leave it out to resume with the run's own settings, or start a new run",
            )
    return dataclasses.replace(settings, **given)  # type: ignore[type-var]


def _given(kind: type, config: Path | None, flags: Values) -> Values:
    """What file and flags say, checked for names and types."""
    values = {} if config is None else _renamed(kind, _read(config))
    values |= _renamed(kind, {name: value for name, value in flags.items() if value is not None})
    hints = get_type_hints(kind)
    for name, value in values.items():
        if name not in hints:
            raise UserError(f"unknown setting '{name}'; there are: {', '.join(hints)}")
        kinds = get_args(hints[name]) or (hints[name],)  # more than one if it may be None
        if float in kinds and type(value) is int:
            values[name] = float(value)
        elif type(value) not in kinds:
            raise UserError(f"setting '{name}' must be {_KINDS[kinds[0]]}, not {value!r}")
    return values


def _read(config: Path) -> Values:
    try:
        values = json.loads(config.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"--config '{config}' cannot be read as JSON ({error})") from None
    if not isinstance(values, dict):
        raise UserError(
            f"--config '{config}' must hold one JSON object, names of settings and their values"
        )
    return values


def _renamed(kind: type, values: Mapping[str, Any]) -> Values:
    """The same settings under today's names and values."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    names = {
        field.metadata["formerly"]: name
        for name, field in fields.items()
        if field.metadata.get("formerly")
    }
    renamed = {names.get(name, name): value for name, value in values.items()}
    for name, value in renamed.items():
        former = fields[name].metadata.get("former_values", {}) if name in fields else {}
        renamed[name] = former.get(value, value) if isinstance(value, str) else value
    return renamed


def with_flags(
    kind: type, *, only: Collection[str] = (), panel: str = "Settings"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a typer command one flag for each field of a settings dataclass.

    Args:
        only: the names of the fields that get flags; all of them if not given.
        panel: the heading of the flags in the command's help.

    The command takes them as `**flags`, None where a flag was not given:

        @app.command()
        @with_flags(TrainingConfig)
        def train(output: Path, **flags: Any) -> None:
            config = settings_from(TrainingConfig, None, flags)
    """
    hints = get_type_hints(kind)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        parameters = inspect.signature(command, eval_str=True).parameters.values()
        own = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
        for field in dataclasses.fields(kind):
            if only and field.name not in only:
                continue
            kind_or_none: Any = hints[field.name] | None
            own.append(
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=None,
                    annotation=Annotated[kind_or_none, _option(field, panel)],
                )
            )
        command.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in own}
        return command

    return decorate


def _option(field: dataclasses.Field[Any], panel: str) -> Any:
    """The flag of a field; its former name is a second name of it."""
    former = field.metadata["formerly"]
    names = [f"--{_flag(field.name)}", f"--{_flag(former)}"] if former else []
    # The default is in parentheses because rich takes brackets for markup and leaves them out.
    help = field.metadata["help"]
    if field.default is not None:
        help = f"{help} (default: {_shown(field.default)})"
    return typer.Option(*names, help=help, show_default=False, rich_help_panel=panel)


def _flag(name: str) -> str:
    return name.replace("_", "-")


def _shown(value: Any) -> str:
    return "none" if value == "" else str(value).lower() if isinstance(value, bool) else str(value)
