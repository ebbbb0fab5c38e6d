"""The console commands' entry points: importing torch takes seconds, and Ctrl-C is answered in words in those too."""

from __future__ import annotations

from importlib import import_module

from rnnkit.errors import run_command


def captioner() -> None:
    """`captioner`"""
    _start("captioner")


def charlm() -> None:
    """`charlm`"""
    _start("charlm")


def webui() -> None:
    """`webui`"""
    _start("webui")


def _start(name: str) -> None:
    run_command(name, lambda: import_module(f"{name}.cli"))
    import_module(f"{name}.cli").main()
