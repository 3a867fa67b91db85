"""The commands and flags that can be completed, in the order of the table of commands."""

from __future__ import annotations

from collections.abc import Iterator

from rlm.cli.command_spec import CommandSpec, Flag, command_flags
from rlm.cli.flags import COMMANDS, RUN, SPELLINGS

WHERE = ("-C", "--home")
"""Flags that say where the sessions are. The scripts pass them on to `rlm completion ids`."""


def commands() -> Iterator[tuple[str, CommandSpec]]:
    """Yield a plain run, whose name is empty, and all named commands."""
    yield "", RUN
    yield from COMMANDS.items()


def takes_value(flag: Flag) -> bool:
    """Whether the next word is always the flag's value. After a flag such as `--sandbox` the value is optional."""
    return bool(flag.metavar) and not (flag.setting and flag.setting.alone)


def with_value() -> list[str]:
    """The spellings of all flags whose next word is their value."""
    return [spelling for spelling, flag in SPELLINGS.items() if takes_value(flag)]


def spellings(flags: list[Flag], metavar: str) -> list[str]:
    """Spellings of the flags that have this metavar."""
    return list(dict.fromkeys(each for flag in flags if flag.metavar == metavar for each in flag.spellings))


def every_flag() -> list[Flag]:
    """All flags, each once."""
    return list({id(flag): flag for _, command in commands() for flag in command_flags(command)}.values())


def with_values() -> dict[tuple[str, ...], list[str]]:
    """Map each set of allowed values to the spellings of the flags that accept it."""
    found: dict[tuple[str, ...], list[str]] = {}
    for flag in every_flag():
        if flag.values:
            found.setdefault(flag.values, [])
            found[flag.values] += [each for each in flag.spellings if each not in found[flag.values]]
    return found


def shared_fields() -> dict[str, str]:
    """Fields of the bash and zsh scripts, whose patterns are alike."""
    every = every_flag()
    return {
        "where": "|".join(WHERE),
        "with_value": "|".join(with_value()),
        "files": "|".join(spellings(every, "FILE")),
        "folders": "|".join(spellings(every, "DIR")),
    }


def about(flag: Flag) -> str:
    """A short description of a flag."""
    return flag.about.partition(";")[0].partition(":")[0]
