"""Commands as processes of their own that start at once: they are forked from one that has imported
what takes seconds to import.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

IMPORTED = ["captioner.cli", "captioner.outputs.parquet", "rnnkit.torchvision_import", "timm"]
IMPORTED += ["accelerate", "charlm.cli", "charlm.training.trainer", "captioner.training.trainer"]


def fork_server() -> ForkServerContext:
    """What makes the processes; Python has one for each process of the tests."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def start_forked(
    program: str,
    *arguments: object,
    err: Path,
    environment: Mapping[str, str] | None = None,
    before: Callable[[], object] | None = None,
) -> ForkServerProcess:
    """Start a command.

    Args:
        program: captioner or charlm.
        err: the file that stderr goes to.
        environment: variables besides those of this process.
        before: a function of a module that the new process calls first.
    """
    variables = {**os.environ, **(environment or {})}
    process = fork_server().Process(
        target=_run, args=(program, list(map(str, arguments)), err, variables, before)
    )
    process.start()
    return process


def _run(
    program: str,
    arguments: list[str],
    err: Path,
    environment: Mapping[str, str],
    before: Callable[[], object] | None,
) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ.update(environment)
    with err.open("wb") as file:
        os.dup2(file.fileno(), 2)
    sys.argv = [program, *arguments]
    if before is not None:
        before()
    import_module(f"{program}.cli").main()
