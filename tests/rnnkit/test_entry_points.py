"""The console commands' entry points."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import time
import tomllib
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

import rnnkit
from rnnkit import entry_points


@pytest.mark.parametrize("name", ["captioner", "charlm"])
def test_ctrl_c_while_torch_is_imported_is_answered_in_words(name: str) -> None:
    code = f"from rnnkit.entry_points import {name}; print('begun', flush=True); {name}()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130 and error == f"{name}: interrupted\n"


def test_garbage_is_not_looked_for_while_libraries_are_imported_nor_among_them_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states = []

    def note() -> None:
        states.append((gc.isenabled(), gc.get_freeze_count() > 0))

    def import_stand_in(_: str) -> SimpleNamespace:
        note()
        return SimpleNamespace(main=note)

    monkeypatch.setattr(entry_points, "import_module", import_stand_in)
    gc.unfreeze()
    entry_points.sequences()
    gc.unfreeze()
    assert states[0] == (False, False) and states[-1] == (True, True)


def test_the_installed_commands_are_these() -> None:
    project = tomllib.loads(
        (Path(rnnkit.__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    )["project"]
    assert set(project["scripts"]) == {"captioner", "charlm", "sequences", "webui"}
    for name, place in project["scripts"].items():
        module, _, function = place.partition(":")
        assert function == name and callable(getattr(import_module(module), function))
