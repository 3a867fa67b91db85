"""The command line, generated from the table of settings."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import NoReturn

from rlm.config.settings import Config, Setting, flag, variable
from rlm.errors import ConfigError

COMMANDS = {
    "ls": "list the sessions",
    "show": "read a session as a tree: [ID]",
    "export": "a session as html, ipynb, chat or atif: [ID…]",
    "resume": 'go on with a session: [ID] ["more"]',
    "skills": "list the skills; `new NAME` makes one, `check DIR` validates one",
    "doctor": "what is wrong with this set-up, and how to fix it",
    "demo": "a recorded model fixes a real small repository: no key, no network",
}
"""What the first word may be, exactly; anything else is a task."""

LATER = ("batch",)
"""Words that are kept for commands to come."""

_EPILOG = """\
exit codes: 0 an answer; 1 failed; 2 usage or configuration; 3 a limit stopped it; 4 no or refused credentials;
75 the provider failed for now; 130 interrupted; 143 terminated; 129 hung up;
141 nobody reads its --json"""


class Parser(argparse.ArgumentParser):
    """Reports a usage error as every other error is reported."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message[:1].upper()}{message[1:]}.{self._nearest(message)} Try: {self.prog} --help")

    def _nearest(self, message: str) -> str:
        """The flag that was probably meant by one that does not exist."""
        _, unknown, words = message.partition("unrecognized arguments: ")
        near = (
            difflib.get_close_matches(words.split("=")[0].split(" ")[0], self._option_string_actions, 1)
            if unknown
            else []
        )
        return f" Did you mean {near[0]}?" if near else ""


def parser(prog: str, description: str, **how: str) -> Parser:
    return Parser(
        prog=prog,
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **how,  # type: ignore[arg-type]  # argparse takes many kinds, we pass texts
    )


def run_parser() -> Parser:
    """`rlm [flags] "task"`."""
    commands = "\n".join(f"  rlm {name:<10} {text}" for name, text in COMMANDS.items())
    description = f"A coding agent with one main tool: a persistent IPython kernel.\n\ncommands:\n{commands}"
    made = parser("rlm", description, usage='rlm [flags] "task"', epilog=_EPILOG)
    made.add_argument("--version", action="store_true", help="print the version")
    add_settings(made)
    made.add_argument("task", nargs="*", help="what to do; `-` or nothing: read it from stdin")
    return made


def add_settings(made: Parser, *only: str) -> None:
    """A flag for each setting but the secret ones, or for those that are named."""
    group = made.add_argument_group("settings (flag, variable, default)")
    for name, how in Config.settings().items():
        if how.secret or (only and name not in only):
            continue
        names = [f"-{how.short}", flag(name)] if how.short else [flag(name)]
        about = f"{how.meaning} ({variable(name)}; default {how.shown})".replace("%", "%%")
        if how.bare:
            group.add_argument(*names, action="store_const", const="on", dest=name, help=about)
        else:
            group.add_argument(*names, dest=name, metavar=_metavar(name), help=about)


def spelt_out(argv: Sequence[str]) -> list[str]:
    """With the values of flags that mean something alone: argparse would take the task for one."""
    meant = {flag(name): how for name, how in Config.settings().items() if how.alone}
    words = list(argv)
    end = words.index("--") if "--" in words else len(words)
    for index, word in enumerate(words[:end]):
        if word in meant and not _reads(meant[word], words[index + 1 : end]):
            words[index] = f"{word}={meant[word].alone}"
    return words


def _reads(how: Setting, rest: Sequence[str]) -> bool:
    """Whether the next word is a value of the setting."""
    try:
        how.read(rest[0] if rest else "")
    except ValueError:
        return False
    return True


def settings_given(parsed: argparse.Namespace) -> dict[str, str]:
    """The texts of the settings that were given as flags."""
    return {name: text for name in Config.settings() if (text := getattr(parsed, name, None)) is not None}


def parse_run(argv: Sequence[str]) -> argparse.Namespace:
    """Flags may stand before or after the task; after `--` there are none, and all is the task.

    Raises:
        ConfigError: the arguments make no sense.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    parsed = run_parser().parse_intermixed_args(argv[:end])
    if task := " ".join(argv[end + 1 :]):
        parsed.task.append(task)
    if len(parsed.task) > 1:
        raise ConfigError(f'There must be one task, in quotes: rlm "{" ".join(parsed.task)}"')
    return parsed


def _metavar(name: str) -> str:
    shown = {
        "model": "NAME",
        "base_url": "URL",
        "exec_timeout": "SECONDS",
        "timeout": "SECONDS",
        "system_prompt_path": "FILE",
        "append_to_system_prompt": "TEXT",
        "tools": "LIST",
        "home": "DIR",
        "model_params": "JSON",
        "sandbox": "off|bwrap",
        "context": "FILE",
        "output": "FILE",
        "color": "WHEN",
    }
    return shown.get(name, "N")
