"""Decides what a text at the prompt means. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Task:
    """A task for the agent."""

    text: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell that the user runs in the shared kernel. `told`: the next message to the model reports it."""

    code: str
    told: bool = True


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the form `/name argument`."""

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
        python: the prompt is a Python prompt: every input that is no command is a cell.
        names: the names in the kernel. `why?` is a question; `df?` asks for help if `df` exists.

    Returns:
        The input; None for an empty text.
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
    """The cell that the prefix marks; None for a message."""
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
