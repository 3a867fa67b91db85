"""The completion script for zsh: flags and commands with a description, sessions with their task."""

from __future__ import annotations

from collections.abc import Iterable

from rlm.cli.command_spec import command_flags
from rlm.cli.completion.table import about, commands, shared_fields, with_values
from rlm.cli.flags import COMMANDS

_SCRIPT = """\
#compdef rlm
# rlm in zsh. In ~/.zshrc, behind compinit: eval "$(rlm completion zsh)"
_rlm() {{
    local command= skip= word previous=$words[CURRENT-1] kind=
    local -a flags items where
    integer i
    for ((i = 2; i < CURRENT; i++)); do
        word=$words[i]
        if [[ -n $skip ]]; then
            [[ $skip == ({where}) ]] && where+=($skip ${{(Q)word}})
            skip=
            continue
        fi
        case $word in
            (--) return ;;
            (--home=*) where+=(${{(Q)word}}) ;;
            ({with_value}) skip=$word ;;
            (-*) ;;
            (*) [[ -n $command ]] || command=$word ;;
        esac
    done
    if [[ $PREFIX == --*=* ]]; then
        previous=${{PREFIX%%=*}}
        compset -P '*='
    fi
    case $previous in
{values}
        ({files}) _files; return ;;
        ({folders}) _files -/; return ;;
        ({with_value}) _message value; return ;;
    esac
    case $command in
        ('') kind=command items=({names}) flags=({run}) ;;
{commands}
        (*) flags=({run}) ;;
    esac
    if [[ $PREFIX == -* ]]; then
        _describe -o flag flags
    elif [[ $kind == session ]]; then
        items=(${{(f)"$(rlm completion ids $where 2>/dev/null)"}})
        items=(${{${{items//:/\\\\:}}/$'\\t'/:}})
        _describe -V session items || _files
    elif (( $#items )); then
        _describe $kind items
    else
        _files
    fi
}}
if [[ $funcstack[1] == _rlm ]]; then
    _rlm "$@"
else
    (( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}
    compdef _rlm rlm
fi"""


def script() -> str:
    return _SCRIPT.format(
        **shared_fields(),
        values="\n".join(
            f"        ({'|'.join(flags)}) compadd -- {' '.join(values)}; return ;;"
            for values, flags in with_values().items()
        ),
        names=_items((name, command.about) for name, command in COMMANDS.items()),
        commands="\n".join(_command(name) for name in COMMANDS),
        run=_flags(""),
    )


def _command(name: str) -> str:
    command = COMMANDS[name]
    kind = "kind=session" if command.ids else "kind=word"
    words = COMMANDS if name == "help" else command.words
    return f"        ({name}) {kind} items=({' '.join(words)}) flags=({_flags(name)}) ;;"


def _flags(name: str) -> str:
    command = dict(commands())[name]
    return _items((spelling, about(flag)) for flag in command_flags(command) for spelling in flag.spellings)


def _items(pairs: Iterable[tuple[str, str]]) -> str:
    return " ".join("'" + f"{name}:{text}".replace("'", "'\\''") + "'" for name, text in pairs)
