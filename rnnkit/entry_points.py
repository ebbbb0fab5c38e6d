"""The console commands' entry points.

Importing torch takes seconds; Ctrl-C is answered properly during those, too. The garbage collector
stays out of them: what libraries make while they are imported lives as long as the process, and to
look through it for garbage, now and again when the process ends, finds nothing and costs a quarter
of a short command's time (scripts/benchmarks/reading.py).
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from importlib import import_module

from rnnkit.command_line import run_command
from rnnkit.errors import INTERRUPTED


def captioner() -> None:
    """Entry point of the `captioner` command."""
    _start("captioner")


def charlm() -> None:
    """Entry point of the `charlm` command."""
    _start("charlm")


def sequences() -> None:
    """Entry point of the `sequences` command."""
    _start("sequences")


def webui() -> None:
    """Entry point of the `webui` command."""
    _start("webui")


def _start(name: str) -> None:
    def leave(*_: object) -> None:
        # At once, because a half-imported library may turn the exception into another one. Nothing
        # has been started yet.
        print(f"{name}: interrupted", file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, leave)
    gc.disable()
    run_command(name, lambda: import_module(f"{name}.cli"))
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGINT, before)
    import_module(f"{name}.cli").main()
