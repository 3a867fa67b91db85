"""Reads the command line once, into one value: `CommandLine`."""

from __future__ import annotations

import difflib
import re
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rlm.cli.command_spec import Flag, command_flags
from rlm.cli.flags import COMMANDS, RUN, SPELLINGS
from rlm.config.environment import is_on
from rlm.errors import ConfigError

_NEAR = 0.78  # difflib ratio: `lst` is near to `ls`, `slow` is not near to `show`
_NUMBER = re.compile(r"-(\d+|\d*\.\d+)")


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The parsed command line.

    `problem` says what is wrong with it. `check` reports it later, when the flags are known.
    """

    command: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    """The text of each flag that is a setting, by the setting's name."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The text of each of the command's own flags, by name."""
    words: tuple[str, ...] = ()
    rest: tuple[str, ...] | None = None
    """The words after `--`, unchanged; None if there is no `--`."""
    problem: str = ""

    @property
    def id(self) -> str | None:
        """The first word, for a command that takes only one; None if there is none."""
        return next(iter(self.all_words), None)

    @property
    def all_words(self) -> list[str]:
        """All words. For a command that takes no task, `--` means only that no flags follow."""
        return [*self.words, *(self.rest or ())]

    def wants(self, switch: str) -> bool:
        """Whether a flag or a variable turns the switch on. Never fails, because error handling calls it."""
        return is_on(switch, self.settings)

    def check(self) -> None:
        """
        Raises:
            ConfigError: the command line has a problem.
        """
        if self.problem:
            raise ConfigError(self.problem)

    @property
    def text(self) -> str | None:
        """The words after `--` as one text."""
        return " ".join(self.rest) if self.rest else None


def whole_number(name: str, text: str) -> int:
    """The value of a flag that takes a whole number, at least 1.

    Raises:
        ConfigError: the text is none.
    """
    if not (text.strip().isascii() and text.strip().isdecimal() and int(text) > 0):
        raise ConfigError(f"--{name}={text!r} is not allowed: it takes a whole number, at least 1.")
    return int(text)


@dataclass(frozen=True, slots=True)
class _Token:
    """A word, or a flag with its text. `spelling` is the flag as the user wrote it."""

    text: str
    spelling: str = ""
    problem: str = ""


def read_arguments(argv: Sequence[str]) -> CommandLine:
    """Parse the arguments. The first word that is no flag names the command; after `--`, all words are plain text."""
    end = argv.index("--") if "--" in argv else len(argv)
    tokens = list(_tokens(argv[:end]))
    words = [token.text for token in tokens if not token.spelling]
    name = words.pop(0) if words and words[0] in COMMANDS else ""
    own = {spelling: each for each in command_flags(COMMANDS.get(name, RUN)) for spelling in each.spellings}
    flags = [(own[token.spelling], token.text) for token in tokens if token.spelling in own and not token.problem]
    line = CommandLine(
        name,
        {each.name: text for each, text in flags if each.setting},
        _options(flags),
        tuple(words),
        tuple(argv[end + 1 :]) if end < len(argv) else None,
    )
    return replace(line, problem=_problem(line, tokens, own))


def _options(flags: Sequence[tuple[Flag, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each, text in flags:
        if not each.setting:
            found[each.name] = f"{found[each.name]},{text}" if each.many and each.name in found else text
    return found


def _tokens(words: Sequence[str]) -> Iterator[_Token]:
    rest = deque(words)
    while rest:
        word = rest.popleft()
        if _is_flag(word):
            yield from _read_flag(word, rest)
        else:
            yield _Token(word)


def _is_flag(word: str) -> bool:
    """Whether a word is a flag.

    A text with blanks that begins with a dash is a task or a value; so is a negative number.
    """
    if len(word) < 2 or word[0] != "-":
        return False
    return word.partition("=")[0] in SPELLINGS or not (_NUMBER.fullmatch(word) or any(map(str.isspace, word)))


def _read_flag(word: str, rest: deque[str]) -> Iterator[_Token]:
    """`--flag`, `--flag=value`, `-q`, `-ovalue`, `-qo`; the value may be the next word."""
    name, assigned, value = word.partition("=")
    if not name.startswith("--") and len(name) > 2:
        name, assigned, value = word[:2], "=", word[2:]
        if name in SPELLINGS and not SPELLINGS[name].metavar:
            yield _Token("on", name)
            yield from _read_flag(f"-{value}", rest)
            return
    each = SPELLINGS.get(name)
    if each is None:
        near = difflib.get_close_matches(name, SPELLINGS, 1)
        yield _Token("", name, f"There is no flag {name}." + (f" Did you mean {near[0]}?" if near else ""))
    elif not each.metavar:
        yield _Token("on", name, f"{name} accepts no value." if assigned else "")
    elif assigned:
        yield _Token(value, name, _not_chosen(each, name, value))
    elif each.setting and each.setting.alone:
        yield _Token(rest.popleft() if rest and each.reads(rest[0]) else each.setting.alone, name)
    elif rest and not _is_flag(rest[0]):
        value = rest.popleft()
        yield _Token(value, name, _not_chosen(each, name, value))
    else:
        yield _Token("", name, f"{name} needs a value: {name} {each.metavar}.")


def _not_chosen(each: Flag, name: str, value: str) -> str:
    if not each.choices or value in each.choices:
        return ""
    return f"{name} takes one of {', '.join(each.choices)}, not {value}."


def _problem(line: CommandLine, tokens: Sequence[_Token], own: Collection[str]) -> str:
    """The problem of a command line; empty if there is none."""
    called = f"rlm {line.command}".rstrip()
    meant = f"`{called}`" if line.command else "a task"
    for token in tokens:
        if token.problem or (token.spelling and token.spelling not in own):
            return f"{token.problem or f'{token.spelling} is not a flag of {meant}.'} Try: {called} --help"
    if not line.command:
        return _no_task(line)
    command = COMMANDS[line.command]
    text = line.command == "resume" and line.text is not None
    words = [*line.words, line.text or ""] if text else line.all_words
    if len(words) > command.most:
        return f"{called} accepts {command.usage or 'no words'}, not: {' '.join(words)}. Try: {called} --help"
    return ""


def _no_task(line: CommandLine) -> str:
    """The problem when the words do not name a command."""
    words = line.words
    one = words and line.rest is None and not any(map(str.isspace, words[0]))
    if one and (near := _near_command(words[0])):
        meant, task = " ".join((near, *words[1:])), " ".join(words)
        return f"`{words[0]}` is not a command: did you mean `rlm {meant}`? As a task: `rlm -- {task}`"
    if len(words) + bool(line.rest) > 1:
        return f'There must be one task, in quotes: rlm "{" ".join(line.all_words)}"'
    return ""


def _near_command(word: str) -> str:
    """The command that the user probably meant."""
    word = word.lower()
    swapped = [name for name in COMMANDS if sorted(name) == sorted(word)]
    return next(iter([*swapped, *difflib.get_close_matches(word, COMMANDS, 1, _NEAR)]), "")
