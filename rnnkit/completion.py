"""Scripts that complete a command in bash, zsh and fish.

They hold the commands and flags themselves. Asking the program at each press of the tab key, as
typer's own do, would import torch each time, which takes seconds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rnnkit.errors import UserError, either

SHELLS = ("bash", "zsh", "fish")


class Follows(NamedTuple):
    """What may follow a command: the names of commands inside it, and its flags."""

    names: list[str]
    flags: list[str]


Commands = dict[str, Follows]  # by the words that lead to a command: "", "train", "train tag"


def completion_script(name: str, command: Any, shell: str) -> str:
    """The script for a shell; its first lines say which file the shell reads it from.

    Args:
        name: of the program.
        command: what typer has made of the application.

    Raises: UserError for another shell.
    """
    if shell not in SHELLS:
        raise UserError(f"unknown shell '{shell}': use {either(SHELLS)}")
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](name, _commands(command))


def _commands(command: Any, place: str = "") -> Commands:
    flags = [
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--")
    ]
    inner = getattr(command, "commands", {})
    found = {place: Follows(list(inner), sorted({*flags, "--help"}))}
    for name, content in inner.items():
        found |= _commands(content, f"{place} {name}".strip())
    return found


def _bash(name: str, commands: Commands) -> str:
    cases = "".join(
        f"        '{place}') names='{' '.join(names)}' flags='{' '.join(flags)}' ;;\n"
        for place, (names, flags) in commands.items()
    )
    return f"""# Keep this as ~/.local/share/bash-completion/completions/{name}, where the package
# bash-completion finds it, or have ~/.bashrc source it.
_{name}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} names= flags= place= index next
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        next="${{place:+$place }}${{COMP_WORDS[index]}}"
        case $next in
            {_patterns(commands)}) place=$next ;;
            *) break ;;
        esac
    done
    case $place in
{cases}    esac
    if [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$word"))
    elif [[ $index -eq $COMP_CWORD ]]; then
        COMPREPLY=($(compgen -W "$names" -- "$word"))
    fi
}}
complete -o default -F _{name} {name}
"""


def _zsh(name: str, commands: Commands) -> str:
    cases = "".join(
        f"        ('{place}') names=({' '.join(names)}) flags=({' '.join(flags)}) ;;\n"
        for place, (names, flags) in commands.items()
    )
    # A file in $fpath is read as the body of the function, at the first press of the tab key.
    return f"""#compdef {name}
# Keep this as _{name} in a folder of $fpath, or have ~/.zshrc source it after compinit.
_{name}() {{
    local place= next index=2
    local -a names flags
    while (( index < CURRENT )); do
        next="${{place:+$place }}$words[index]"
        case $next in
            ({_patterns(commands)}) place=$next ;;
            (*) break ;;
        esac
        (( index += 1 ))
    done
    case $place in
{cases}    esac
    if [[ $PREFIX == -* ]]; then
        compadd -- $flags
    elif (( index == CURRENT && $#names )); then
        compadd -- $names
    else
        _default
    fi
}}
if [[ $funcstack[1] == _{name} ]]; then _{name}; else compdef _{name} {name}; fi
"""


def _patterns(commands: Commands) -> str:
    """Every way to a command, for a case of bash or zsh."""
    return "|".join(f"'{place}'" for place in commands if place) or "''"


def _fish(name: str, commands: Commands) -> str:
    lines = [
        f"# Keep this as ~/.config/fish/completions/{name}.fish.",
        f"function __{name}_at",
        "    set -l typed (commandline -opc)",
        "    set -e typed[1]",
        '    string match -q -- $argv[1] "$typed "',
        "end",
    ]
    for place, (names, flags) in commands.items():
        # Files and flags may stand between the names of the last command and what is typed.
        at = f"complete -c {name} -n \"__{name}_at '{place} {'' if names else '*'}'\""
        if not place and not names:
            at = f"complete -c {name}"
        lines += [f"{at} -f -a {each}" for each in names]
        lines += [f"{at} -l {flag[2:]}" for flag in flags]
    return "\n".join(lines) + "\n"
