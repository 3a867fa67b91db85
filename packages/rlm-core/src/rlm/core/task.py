"""What a caller passes: a task, and an argument that may be any object."""

from __future__ import annotations

from typing import Any

from rlm.errors import ConfigError

NOT_GIVEN: Any = object()
"""Stands for an argument that was not passed, where None is a value."""


def check_task(task: object) -> str:
    """
    Raises:
        ConfigError: it is no text, or an empty one.
    """
    if not isinstance(task, str):
        raise ConfigError(f"The task is a {type(task).__name__}. It must be a text.")
    if not task.strip():
        raise ConfigError("The task is empty.")
    return task
