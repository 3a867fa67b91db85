"""What a text at the prompt means. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Task:
    """For the agent."""

    text: str


@dataclass(frozen=True, slots=True)
class Cell:
    """Run in the shared kernel, as the person. `told`: the model hears of it with the next message."""

    code: str
    told: bool = True


@dataclass(frozen=True, slots=True)
class Command:
    """`/name argument`."""

    name: str
    argument: str = ""


Input = Task | Cell | Command

_COMMAND = re.compile(r"/([a-z]+)(?:\s+(.*))?", re.DOTALL)
_NAME = r"[^\W\d]\w*(?:\.[^\W\d]\w*|\[[^][]+\])*"
_HELP_AFTER = re.compile(rf"%{{0,2}}({_NAME})\?\??")
_HELP_BEFORE = re.compile(rf"\?\??%{{0,2}}{_NAME}")


def read_input(text: str, *, python: bool = False, names: Collection[str] = ()) -> Input | None:
    """
    Args:
        python: the prompt is a Python prompt: what is not a command is a cell.
        names: those that the kernel knows. `why?` is a question, `df?` is help if there is a `df`.

    Returns:
        None for a text that holds nothing.
    """
    text = text.rstrip()
    if not text.strip():
        return None
    command = _COMMAND.fullmatch(text.lstrip())
    if command:
        return Command(command[1], (command[2] or "").strip())
    if python:
        return Cell(text)
    return _cell(text.lstrip(), names) or Task(text)


def _cell(text: str, names: Collection[str]) -> Cell | None:
    """What the prefix says, `None` for a message."""
    for prefix, shell, told in (("!!", "!", False), ("!", "!", True), (">>", "", False), (">", "", True)):
        if text.startswith(prefix):
            code = text.removeprefix(prefix).strip()
            return Cell(shell + code, told) if code else None
    if re.match(r"%%?[a-z]", text) or _HELP_BEFORE.fullmatch(text):
        return Cell(text)
    asked = _HELP_AFTER.fullmatch(text)
    if asked and (text.startswith("%") or re.split(r"[.\[]", asked[1])[0] in names):
        return Cell(text)
    return None
