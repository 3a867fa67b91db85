"""The completion script for fish: flags and commands with a description, sessions with their task."""

from __future__ import annotations

from collections.abc import Iterator

from rlm.cli.command_spec import Flag, command_flags
from rlm.cli.completion.table import WHERE, about, commands, with_value
from rlm.cli.flags import COMMANDS

_HEAD = """\
# rlm in fish. In ~/.config/fish/config.fish: rlm completion fish | source
function __rlm_command
    set -l skip ''
    for word in (commandline -opc)[2..-1]
        if test -n "$skip"
            set skip ''
        else if contains -- $word {with_value}
            set skip $word
        else if not string match -q -- '-*' $word
            echo $word
            return
        end
    end
    echo ''
end
function __rlm_in
    set -l command (__rlm_command)
    if test -z "$argv[1]"
        not contains -- "$command" {names}
    else
        contains -- "$command" $argv
    end
end
function __rlm_begins
    test -z (__rlm_command)
end
function __rlm_ids
    set -l where
    set -l skip ''
    for word in (commandline -opc)[2..-1]
        if contains -- "$skip" {where}
            set -a where $skip $word
        end
        set skip $word
    end
    rlm completion ids $where 2>/dev/null
end
complete -c rlm -e
complete -c rlm -n 'not __rlm_begins' -f"""


def script() -> str:
    head = _HEAD.format(with_value=" ".join(with_value()), names=" ".join(COMMANDS), where=" ".join(WHERE))
    return "\n".join([head, *_commands(), *_flags(), *_words()])


def _commands() -> Iterator[str]:
    for name, command in COMMANDS.items():
        yield f"complete -c rlm -n __rlm_begins -a {name} -d {_quoted(command.about)}"


def _flags() -> Iterator[str]:
    for name, command in commands():
        for flag in command_flags(command):
            yield f"complete -c rlm -n {_condition(name)} {_names(flag)} {_value(flag)}".rstrip()


def _names(flag: Flag) -> str:
    short = f"-s {flag.short} " if flag.short else ""
    long = f"-l {flag.long.removeprefix('--')} " if flag.long else ""
    return f"{short}{long}-d {_quoted(about(flag))}"


def _value(flag: Flag) -> str:
    if flag.values:
        return f"-x -a {_quoted(' '.join(flag.values))}"
    if flag.metavar == "DIR":
        return "-x -a '(__fish_complete_directories)'"
    return "-r -F" if flag.metavar == "FILE" else "-x" if flag.metavar else ""


def _words() -> Iterator[str]:
    for name, command in COMMANDS.items():
        words = "(__rlm_ids)" if command.ids else " ".join(COMMANDS if name == "help" else command.words)
        if words:
            yield f"complete -c rlm -n {_condition(name)} -f -k -a {_quoted(words)}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _condition(name: str) -> str:
    return _quoted(f"__rlm_in {_quoted(name)}")
