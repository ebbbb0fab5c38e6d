"""The flags by which every program says what it is: --version and --completion."""

from __future__ import annotations

from typing import Annotated

import typer

from rnnkit.completion import completion_script
from rnnkit.version import VERSION


def _print_version(context: typer.Context, asked: bool) -> None:
    if asked:
        print(f"{context.find_root().info_name} {VERSION}")
        raise typer.Exit


def _print_completion(context: typer.Context, shell: str | None) -> None:
    if shell is not None:
        root = context.find_root()
        print(completion_script(root.info_name or "", root.command, shell), end="")
        raise typer.Exit


VersionFlag = Annotated[
    bool,
    typer.Option(
        "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
]
CompletionFlag = Annotated[
    str | None,
    typer.Option(
        "--completion",
        metavar="SHELL",
        callback=_print_completion,
        is_eager=True,
        help="Print a script that completes this command in bash, zsh or fish; it says where to"
        " keep it.",
    ),
]
