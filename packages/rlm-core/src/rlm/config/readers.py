"""Kinds of values: how the text of a setting is parsed, and which values are allowed.

A kind is called with the text of a flag or variable; `check` takes the value of a program.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from rlm.config import mcp_servers
from rlm.process.files import resolve

TOOLS = ("ipython", "summarize", "bash", "edit")
RECORDED = "replay:"
"""The prefix of a model name that is the path of a recording."""


class SandboxMode(StrEnum):
    """The confinement of cells and commands."""

    OFF = "off"
    BWRAP = "bwrap"


class ApiChoice(StrEnum):
    """The API for requests to the endpoint. `auto`: rlm chooses by the endpoint's host."""

    AUTO = "auto"
    CHAT = "chat"
    RESPONSES = "responses"


class Streaming(StrEnum):
    """Whether replies are streamed. `auto`: if somebody watches."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class PictureChoice(StrEnum):
    """Whether pictures of cells are displayed on a terminal. `auto`: if the terminal is known to support it."""

    AUTO = "auto"
    OFF = "off"


class ColorChoice(StrEnum):
    """Whether output has colours. `auto`: if it goes to a terminal."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"

    def colors(self, *, terminal: bool) -> bool:
        """Whether a stream gets colours. `terminal`: it is a terminal."""
        return self is ColorChoice.ALWAYS or (self is ColorChoice.AUTO and terminal)


_SWITCH = {"1": True, "on": True, "true": True, "yes": True, "0": False, "off": False, "false": False, "no": False}


@dataclass(frozen=True, slots=True)
class ValueKind:
    """One kind of value: `says` describes the allowed values, `parse` parses a text, `check` refuses invalid values.

    Both raise ValueError; `says` is the reason unless they give their own. `no_limit` is the text for None, if there is
    one.
    """

    says: str
    parse: Callable[[str], Any]
    check: Callable[[Any], Any]
    no_limit: str | None = None
    names: tuple[str, ...] = ()
    """All allowed values, if they are few."""

    def __call__(self, text: str) -> Any:
        """Return the value of a text.

        Raises:
            ValueError: the message says what is allowed.
        """
        return self.value(self._or_says(self.parse, text))

    def value(self, value: object) -> Any:
        """Return the value of the setting for a value that a program gives.

        Raises:
            ValueError: the message says what is allowed.
        """
        return self._or_says(self.check, value)

    def text(self, value: Any) -> str | None:
        """Return a text that is read as this value; None if there is none, because nothing is set."""
        match value:
            case None:
                return self.no_limit
            case bool():
                return "on" if value else "off"
            case tuple():
                return ",".join(value)
            case dict():
                return json.dumps(value)
            case float():
                return f"{value:g}" if float(f"{value:g}") == value else repr(value)
            case _:
                return str(value)

    def _or_says(self, step: Callable[[Any], Any], value: object) -> Any:
        try:
            return step(value)
        except (Refused, mcp_servers.McpConfigError):
            raise
        except (TypeError, ValueError):
            raise ValueError(self.says) from None


class Refused(ValueError):
    """A value is not allowed. The message has its own reason."""


def _only(kind: type | tuple[type, ...], allows: Callable[[Any], bool] = lambda _: True) -> Callable[[Any], Any]:
    """Return a check for values of a type; a bool is no number."""

    def check(value: Any) -> Any:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool) or not allows(value):
            raise ValueError
        return value

    return check


def at_least(least: int) -> ValueKind:
    return ValueKind(f"a whole number, at least {least}", int, _only(int, lambda n: n >= least))


def unlimited_or(least: int) -> ValueKind:
    """Return a kind with -1, in a text or from a program, for None: no limit."""
    check = _only(int, lambda n: n == -1 or n >= least)
    says = f"-1 or a whole number above {least - 1}"
    return ValueKind(says, int, lambda n: None if check(n) == -1 else n, no_limit="-1")


def member_of(kind: type[StrEnum]) -> ValueKind:
    return ValueKind(f"one of: {', '.join(kind)}", str, lambda name: kind(_only(str)(name)), names=tuple(kind))


any_text = ValueKind("a text", str, _only(str))
stripped_text = ValueKind("a text", str.strip, _only(str))

# Files and clipboards add blanks and newlines at the ends; no key has other characters than printable ASCII.
api_key = ValueKind(
    "printable ASCII characters alone; copy the key again, without quotes and line breaks",
    str.strip,
    _only(str, lambda key: key.isascii() and key.isprintable()),
)

seconds = ValueKind(
    "a number of seconds above 0", float, lambda value: float(_only((int, float), lambda n: 0 < n < math.inf)(value))
)

dollars = ValueKind(
    "a number of US dollars above 0", float, lambda value: float(_only((int, float), lambda n: 0 < n < math.inf)(value))
)

switch = ValueKind("on or off", lambda text: _SWITCH.get(text.lower()), _only(bool), names=("on", "off"))


def _tool_names(names: Sequence[str]) -> tuple[str, ...]:
    names = names.split(",") if isinstance(names, str) else names
    found = dict.fromkeys(word for name in names if (word := _only(str)(name).strip()))
    if unknown := [name for name in found if name not in TOOLS]:
        raise Refused(f"a comma-separated subset of {', '.join(TOOLS)}; {unknown[0]!r} is none of them")
    return tuple(found)


tool_names = ValueKind(f"a comma-separated subset of {', '.join(TOOLS)}", str, _tool_names)

json_object = ValueKind(
    'a JSON object, such as {"temperature": 0}', json.loads, lambda value: dict(_only(Mapping)(value))
)


mcp = ValueKind(mcp_servers.SAYS, mcp_servers.read_text, mcp_servers.check_value)


def _path(value: str | os.PathLike[str]) -> Path:
    return Path(_only((str, os.PathLike))(value)).expanduser()


def _existing_file(value: str | os.PathLike[str]) -> Path:
    path = _path(value)
    if not path.is_file():
        raise ValueError
    return resolve(path)  # resolve links once, here


def _existing_folder(value: str | os.PathLike[str]) -> Path:
    path = Path(_only((str, os.PathLike))(value))
    try:
        found = path.is_dir()
    except OSError:  # its name is too long, or we may not read it
        found = False
    if not found:
        raise ValueError
    return path


folder = ValueKind("a path", str, _path)
existing_file = ValueKind("a plain file that exists", str, _existing_file)
existing_folder = ValueKind("a folder that exists", str, _existing_folder)
