"""Settings from defaults, a file and flags; the later wins and every mistake is named."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from rnnkit.errors import UserError
from rnnkit.settings import (
    check_initial,
    check_ranges,
    resumed_settings,
    setting,
    settings_from,
    with_flags,
)


@dataclass(frozen=True)
class Recipe:
    cups: int = setting(2, "cups of flour")
    heat: float = setting(180.0, "degrees")
    name: str = setting("bread", "what it is")
    salt: bool = setting(True, "a pinch of salt")


def from_file(tmp_path: Path, content: Any, **flags: Any) -> Recipe:
    path = tmp_path / "recipe.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return settings_from(Recipe, path, flags)


def test_without_file_and_flags_the_defaults_hold() -> None:
    assert settings_from(Recipe, None, {"cups": None, "heat": None}) == Recipe()


def test_a_file_wins_over_defaults_and_a_flag_over_the_file(tmp_path: Path) -> None:
    assert from_file(tmp_path, {"cups": 3, "name": "cake"}, cups=4, heat=None) == Recipe(
        cups=4, name="cake"
    )


def test_a_flag_that_is_false_or_zero_was_given(tmp_path: Path) -> None:
    assert from_file(tmp_path, {"cups": 3, "salt": True}, cups=0, salt=False) == Recipe(
        cups=0, salt=False
    )


def test_a_whole_number_serves_as_a_fraction(tmp_path: Path) -> None:
    heat = from_file(tmp_path, {"heat": 200}).heat
    assert heat == 200 and isinstance(heat, float)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"sugar": 1}, "unknown setting 'sugar'; there are: cups, heat, name, salt"),
        ({"": 7}, "unknown setting ''"),
        ({"cups": 1.5}, "setting 'cups' must be a whole number, not 1.5"),
        ({"cups": True}, "setting 'cups' must be a whole number, not True"),
        ({"cups": "3"}, "setting 'cups' must be a whole number, not '3'"),
        ({"heat": "hot"}, "setting 'heat' must be a number, not 'hot'"),
        ({"salt": 1}, "setting 'salt' must be true or false, not 1"),
        ({"name": None}, "setting 'name' must be text, not None"),
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[1]", "must hold one JSON object"),
        ("null", "must hold one JSON object"),
    ],
)
def test_a_mistake_in_the_file_is_named(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        from_file(tmp_path, content)
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--config '.*missing.json' cannot be read"):
        settings_from(Recipe, tmp_path / "missing.json", {})


made: list[tuple[str, dict[str, Any]]] = []
app = typer.Typer()


@app.command()
@with_flags(Recipe)
def bake(*, oven: str = "gas", **flags: Any) -> None:
    made.append((oven, flags))


def test_every_field_is_a_flag_beside_the_commands_own() -> None:
    made.clear()
    result = CliRunner().invoke(
        app, ["--oven", "wood", "--cups", "5", "--heat", "99.5", "--no-salt"]
    )
    assert result.exit_code == 0, result.output
    assert made == [("wood", {"cups": 5, "heat": 99.5, "name": None, "salt": False})]


def test_a_flag_shows_its_help_and_default() -> None:
    text = " ".join(
        CliRunner()
        .invoke(app, ["--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
        .output.split()
    )
    assert "cups of flour" in text and "(default: 180.0)" in text and "--no-salt" in text


def test_a_flag_of_the_wrong_type_is_wrong_usage() -> None:
    assert CliRunner().invoke(app, ["--cups", "many"]).exit_code == 2


# --- ranges ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Oven:
    cups: int = setting(2, "cups of flour", low=1, high=1_000)
    share: float = setting(0.5, "share of water", low=0, below=1)
    heat: float = setting(180.0, "degrees", above=0, formerly="degrees")
    kind: str = setting(
        "gas", "gas or wood", choices=("gas", "wood"), former_values={"log": "wood"}
    )
    label: str = setting("", "what the log calls it", may_change=True)
    minutes: int | None = setting(None, "time in the oven", low=1)
    loaves: int = setting(1, "how many to bake", may_grow=True)

    def __post_init__(self) -> None:
        check_ranges(self)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cups": 0}, "cups must be from 1 to 1,000, not 0"),
        ({"cups": 1001}, "cups must be from 1 to 1,000, not 1001"),
        ({"cups": "many"}, "cups must be from 1 to 1,000, not 'many'"),
        ({"share": 1.0}, "share must be at least 0 and below 1, not 1.0"),
        ({"share": float("nan")}, "share must be at least 0 and below 1, not nan"),
        ({"heat": 0.0}, "heat must be above 0, not 0.0"),
        ({"kind": "coal"}, "kind must be gas or wood, not 'coal'"),
    ],
)
def test_a_value_out_of_its_range_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Oven(**values)
    assert str(caught.value) == message


def test_the_ends_of_a_range_are_allowed() -> None:
    Oven(cups=1, share=0.0), Oven(cups=1000, share=0.999)


# --- resuming -------------------------------------------------------------------------------------

RUN = Path("runs/bread")


def test_a_resumed_run_keeps_the_settings_that_it_was_started_with() -> None:
    assert resumed_settings(Oven, {"cups": 7, "kind": "wood"}, None, {}, RUN) == Oven(
        7, kind="wood"
    )


def test_a_setting_that_differs_from_the_runs_is_refused() -> None:
    with pytest.raises(UserError, match=r"'runs/bread' was started with cups 7, not 8: leave it"):
        resumed_settings(Oven, {"cups": 7}, None, {"cups": 8}, RUN)


def test_a_setting_may_be_repeated_and_one_that_teaches_nothing_may_change() -> None:
    found = resumed_settings(Oven, {"cups": 7}, None, {"cups": 7, "label": "crust"}, RUN)
    assert found == Oven(7, label="crust")


def test_a_setting_that_makes_a_run_longer_may_grow_but_not_shrink() -> None:
    assert resumed_settings(Oven, {"loaves": 2}, None, {"loaves": 3}, RUN).loaves == 3
    with pytest.raises(UserError, match="with loaves 2, not 1; a resumed run can only have more"):
        resumed_settings(Oven, {"loaves": 2}, None, {"loaves": 1}, RUN)


def test_a_run_of_other_code_is_resumed_whatever_settings_were_added_removed_or_renamed() -> None:
    stored = {"cups": 7, "yeast": 1, "degrees": 200.0, "kind": "log"}
    assert resumed_settings(Oven, stored, None, {}, RUN) == Oven(7, heat=200.0, kind="wood")


def test_a_flag_is_also_known_by_its_former_name() -> None:
    seen: list[dict[str, Any]] = []
    other = typer.Typer()

    @other.command()
    @with_flags(Oven)
    def light(**flags: Any) -> None:
        seen.append(flags)

    assert CliRunner().invoke(other, ["--degrees", "210"]).exit_code == 0
    assert settings_from(Oven, None, seen[0]).heat == 210


@dataclass(frozen=True)
class Restart:
    size: int = setting(5, "how large it is", from_init=True)
    init: str = setting("", "what to start from")


def test_a_flag_for_what_a_checkpoint_decides_is_refused_beside_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--size comes from the checkpoint of --init 'old': leave"):
        settings_from(Restart, None, {"size": 5, "init": "old"})
    (tmp_path / "x.json").write_text('{"init": "old", "size": 4}', encoding="utf-8")
    with pytest.raises(UserError, match="--size comes from the checkpoint of --init 'old': leave"):
        settings_from(Restart, tmp_path / "x.json", {"size": 5})
    assert settings_from(Restart, None, {"size": 7, "init": None}) == Restart(7)
    assert settings_from(Restart, tmp_path / "x.json", {"size": None}) == Restart(4, "old")


@pytest.mark.parametrize(("size", "stored", "fits"), [(5, 9, True), (9, 9, True), (7, 9, False)])
def test_a_setting_that_contradicts_the_checkpoint_is_refused_unless_it_is_the_default(
    size: int, stored: int, fits: bool
) -> None:
    with nullcontext() if fits else pytest.raises(UserError, match="size, 7, comes from the check"):
        check_initial(Restart(size, "old"), {"size": stored}, "old")
    check_initial(Restart(size, "old"), {"other": 1}, "old")
