"""A task: the arguments of a caller and the result, the same for the SDK and for a cell."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlm.core.budget import Stop
from rlm.core.messages import Usage
from rlm.errors import ConfigError

NOT_GIVEN: Any = object()
"""Marks an argument that was not passed, where None is a value."""

NO_NEW_TASK = "Go on with the task."
"""The task of a resumed session if the user gives none."""


def check_task(task: object) -> str:
    """Return the task if it is a valid one.

    Raises:
        ConfigError: it is no text, or an empty one.
    """
    if not isinstance(task, str):
        raise ConfigError(f"The task is a {type(task).__name__}. It must be a text.")
    if not task.strip():
        raise ConfigError("The task is empty.")
    return task


@dataclass(frozen=True, slots=True)
class RunResult:
    """How an agent ended. `answer` is partial unless `ok`; `usage` (tokens) is that of its whole subtree.

    `value` is the value that a cell gave to `rlm.answer`, or with `schema` the answer as that type; None in other
    cases.
    """

    answer: str
    stop: Stop
    usage: Usage = field(default_factory=Usage)
    turns: int = 0
    session_dir: Path = Path()
    error: str = ""
    """The provider's message, if that was the reason to stop."""
    value: Any = None
    replayed: bool = False
    """The result was recorded by an earlier run: the session was resumed, and the same call came again."""
    patch: str = ""
    """The changes in its worktree, for `git apply`. Bytes that are no UTF-8 are as in `os.fsdecode`."""

    @property
    def ok(self) -> bool:
        return self.stop is Stop.DONE

    def __str__(self) -> str:
        return self.answer
