"""The completion script for bash. It works with bash 3.2, the version that macOS has."""

from __future__ import annotations

from rlm.cli.command_spec import command_flags
from rlm.cli.completion.table import commands, shared_fields, with_values
from rlm.cli.flags import COMMANDS

_SCRIPT = """\
# rlm in bash. In ~/.bashrc: eval "$(rlm completion bash)"
_rlm() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    local command= skip= word flags words= i
    local -a where=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        [[ $word == = ]] && continue
        if [[ $skip ]]; then
            case $skip in {where}) where+=("$skip" "$word") ;; esac
            skip=
            continue
        fi
        case $word in
            --) return ;;
            {with_value}) skip=$word ;;
            -*) ;;
            *) [[ $command ]] || command=$word ;;
        esac
    done
    COMPREPLY=()
    if [[ $current == = ]]; then
        current=
    elif [[ $previous == = ]]; then
        previous=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    case $previous in
{values}
        {files}) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$current")); return ;;
        {folders}) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$current")); return ;;
        {with_value}) return ;;
    esac
    case $command in
{commands}
        *) flags="{run}" ;;
    esac
    [[ $command ]] || words="{names}"
    if [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$current"))
    elif [[ $words == ids ]]; then
        COMPREPLY=($(compgen -W "$(rlm completion ids "${{where[@]}}" 2>/dev/null | cut -f1)" -- "$current"))
    else
        COMPREPLY=($(compgen -W "$words" -- "$current"))
    fi
}}
complete -o default -F _rlm rlm"""


def script() -> str:
    return _SCRIPT.format(
        **shared_fields(),
        values="\n".join(
            f'        {"|".join(flags)}) COMPREPLY=($(compgen -W "{" ".join(values)}" -- "$current")); return ;;'
            for values, flags in with_values().items()
        ),
        commands="\n".join(_command(name) for name, _ in commands() if name),
        run=_flags(""),
        names=" ".join(COMMANDS),
    )


def _command(name: str) -> str:
    command = COMMANDS[name]
    words = "ids" if command.ids else " ".join(COMMANDS if name == "help" else command.words)
    return f'        {name}) flags="{_flags(name)}" words="{words}" ;;'


def _flags(name: str) -> str:
    command = dict(commands())[name]
    return " ".join(spelling for flag in command_flags(command) for spelling in flag.spellings)
