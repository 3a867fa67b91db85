"""Text to value: how each kind of setting is read. Each raises ValueError with what is allowed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlm.process.files import resolve

TOOLS = ("ipython", "summarize", "bash", "edit")


SANDBOXES = ("off", "bwrap")


Reader = Callable[[str], Any]

"""Turns the text of a setting into its value. Raises ValueError with what is allowed."""


def whole_number(allowed: Callable[[int], bool], says: str) -> Reader:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(says) from None
        if not allowed(value):
            raise ValueError(says)
        return value

    return read


def at_least(least: int) -> Reader:
    return whole_number(lambda n: n >= least, f"a whole number, at least {least}")


def one_of(*names: str) -> Reader:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"one of: {', '.join(names)}")
        return text

    return read


def api_key(text: str) -> str:
    """Blanks and newlines at its ends come from files and clipboards; what else is no printable ASCII is in no key."""
    key = text.strip()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("printable ASCII characters alone; copy the key again, without quotes and line breaks")
    return key


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise ValueError("a number of seconds above 0")
    return value


def switch(text: str) -> bool:
    values = {"1": True, "on": True, "true": True, "yes": True, "0": False, "off": False, "false": False, "no": False}
    if text.lower() not in values:
        raise ValueError("on or off")
    return values[text.lower()]


def tool_names(text: str) -> tuple[str, ...]:
    names = dict.fromkeys(name.strip() for name in text.split(",") if name.strip())
    if unknown := [name for name in names if name not in TOOLS]:
        raise ValueError(f"a comma-separated subset of {', '.join(TOOLS)}; {unknown[0]!r} is none of them")
    return tuple(names)


def json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError('a JSON object, such as {"temperature": 0}')
    return value


def existing_file(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise ValueError("a file that exists")
    return resolve(path)  # once: where it leads is not asked again


def folder(text: str) -> Path:
    return Path(text).expanduser()


def existing_folder(text: str) -> Path:
    try:
        found = Path(text).is_dir()
    except OSError:  # its name is too long, or it is not ours to look at
        found = False
    if not found:
        raise ValueError("a folder that exists")
    return Path(text)
