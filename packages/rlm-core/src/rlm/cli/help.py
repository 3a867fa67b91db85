"""`rlm --help` and the help of each command: argparse lays out the tables of `flags`."""

from __future__ import annotations

import argparse

from rlm.cli.arguments import CommandLine
from rlm.cli.command_spec import Flag, command_flags
from rlm.cli.flags import COMMANDS, RUN
from rlm.cli.streams import put
from rlm.config.settings import variable
from rlm.core import exit_codes
from rlm.errors import ConfigError

_EPILOG = """\
examples:
  rlm "The test in tests/test_dates.py fails on leap days. Find out why and fix it."
  git diff | rlm "Review this."
  rlm resume 7f3a "And now the docs."

Everything after `--` is the task: rlm -- ls

exit codes: 0 an answer; 1 failed; 2 usage or configuration; 3 a limit stopped it; 4 missing or refused credentials;
75 the provider failed temporarily; 130 interrupted; 143 terminated; 129 hung up;
141 nobody reads its --json"""


def run(line: CommandLine) -> int:
    """`rlm help [COMMAND]`.

    Raises:
        ConfigError: there is no such command.
    """
    name = line.words[0] if line.words else ""
    if name and name not in COMMANDS:
        raise ConfigError(f"There is no command {name}. The commands are: {', '.join(COMMANDS)}.")
    return show_help(name)


def show_help(name: str) -> int:
    """Print the help of a command; an empty name means a run."""
    command = COMMANDS.get(name, RUN)
    about = f"{command.about[:1].upper()}{command.about[1:]}."
    if not name:
        about += "\n\ncommands:\n" + "\n".join(f"  rlm {each:<10} {other.about}" for each, other in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog=f"rlm {name}".rstrip(),
        usage=f"rlm {name} {command.usage}".replace("  ", " ").rstrip(),
        description=about,
        epilog=None if name else _EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    settings = parser.add_argument_group("settings (flag, variable, default)")
    for each in command_flags(command):
        target = settings if each.setting else parser
        if each.metavar:
            target.add_argument(*each.spellings, metavar=each.metavar, help=_about(each))
        else:
            target.add_argument(*each.spellings, action="store_true", help=_about(each))
    put(parser.format_help().rstrip("\n"))
    return exit_codes.DONE


def _about(each: Flag) -> str:
    text = each.about
    if each.choices:
        text += f": {', '.join(each.choices)}"
    if each.setting:
        text += f" ({variable(each.name)}; default {each.setting.shown})"
    return text.replace("%", "%%")
