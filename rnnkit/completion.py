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
    """The script for a shell, which is to be kept in a file that the shell reads.

    Args:
        name: of the program.
        app: a typer application with commands.

    Raises: UserError for another shell.
    """
    if shell not in SHELLS:
        raise UserError(f"unknown shell '{shell}': use {', '.join(SHELLS)}")
    whole: Any = typer.main.get_command(app)
    commands: dict[str, Any] = whole.commands
    if shell == "fish":
        return _fish(name, whole, commands)
    cases = "".join(
        f'        {command}) words="{" ".join(_flags(commands[command]))}" ;;\n'
        for command in commands
    )
    script = f"""_{name}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words=
    COMPREPLY=()
    case ${{COMP_WORDS[1]}} in
{cases}    esac
    if [[ $COMP_CWORD -eq 1 ]]; then
        words="{" ".join([*commands, *_flags(whole)])}"
    elif [[ $word != -* ]]; then
        return
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _{name} {name}
"""
    if shell == "bash":
        return script
    return f"#compdef {name}\nautoload -U +X bashcompinit && bashcompinit\n{script}"


def _flags(command: Any) -> list[str]:
    """The long flags of a command."""
    names = [
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--")
    ]
    return sorted({*names, "--help"})


def _fish(name: str, whole: Any, commands: dict[str, Any]) -> str:
    lines = [f"complete -c {name} -n __fish_use_subcommand -l {flag[2:]}" for flag in _flags(whole)]
    for command, content in commands.items():
        lines.append(f"complete -c {name} -n __fish_use_subcommand -f -a {command}")
        lines += [
            f"complete -c {name} -n '__fish_seen_subcommand_from {command}' -l {flag[2:]}"
            for flag in _flags(content)
        ]
    return "\n".join(lines) + "\n"
