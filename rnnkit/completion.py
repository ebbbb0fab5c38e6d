"""Scripts that complete a command in bash, zsh and fish.

They hold the commands and flags themselves. Asking the program at each press of the tab key, as
typer's own do, would import torch each time, which takes seconds.
"""

from __future__ import annotations

from typing import Any

import typer

from rnnkit.errors import UserError

SHELLS = ("bash", "zsh", "fish")


def completion_script(name: str, app: typer.Typer, shell: str) -> str:
    """The script for a shell; its first lines say which file the shell reads it from.

    Args:
        name: of the program.
        app: a typer application with commands.

    Raises: UserError for another shell.
    """
    if shell not in SHELLS:
        raise UserError(f"unknown shell '{shell}': use {', '.join(SHELLS)}")
    whole: Any = typer.main.get_command(app)
    commands = {command: _flags(content) for command, content in whole.commands.items()}
    write = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    return write(name, _flags(whole), commands)


def _flags(command: Any) -> list[str]:
    """The long flags of a command."""
    names = [
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--")
    ]
    return sorted({*names, "--help"})


def _bash(name: str, flags: list[str], commands: dict[str, list[str]]) -> str:
    cases = "".join(
        f'        {command}) words="{" ".join(its_flags)}" ;;\n'
        for command, its_flags in commands.items()
    )
    return f"""# Keep this as ~/.local/share/bash-completion/completions/{name}, where the package
# bash-completion finds it, or have ~/.bashrc source it.
_{name}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words=
    COMPREPLY=()
    case ${{COMP_WORDS[1]}} in
{cases}    esac
    if [[ $COMP_CWORD -eq 1 ]]; then
        words="{" ".join([*commands, *flags])}"
    elif [[ $word != -* ]]; then
        return
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _{name} {name}
"""


def _zsh(name: str, flags: list[str], commands: dict[str, list[str]]) -> str:
    cases = "".join(
        f"            {command}) compadd -- {' '.join(its_flags)} ;;\n"
        for command, its_flags in commands.items()
    )
    # A file in $fpath is read as the body of the function, at the first press of the tab key.
    return f"""#compdef {name}
# Keep this as _{name} in a folder of $fpath, or have ~/.zshrc source it after compinit.
_{name}() {{
    if (( CURRENT == 2 )); then
        compadd -- {" ".join([*commands, *flags])}
    elif [[ $PREFIX != -* ]]; then
        _default
    else
        case $words[2] in
{cases}        esac
    fi
}}
if [[ $funcstack[1] == _{name} ]]; then _{name}; else compdef _{name} {name}; fi
"""


def _fish(name: str, flags: list[str], commands: dict[str, list[str]]) -> str:
    lines = [f"# Keep this as ~/.config/fish/completions/{name}.fish."]
    lines += [f"complete -c {name} -n __fish_use_subcommand -l {flag[2:]}" for flag in flags]
    for command, its_flags in commands.items():
        lines.append(f"complete -c {name} -n __fish_use_subcommand -f -a {command}")
        lines += [
            f"complete -c {name} -n '__fish_seen_subcommand_from {command}' -l {flag[2:]}"
            for flag in its_flags
        ]
    return "\n".join(lines) + "\n"
