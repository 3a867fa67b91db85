"""The working directory of a command."""

from __future__ import annotations

import os
from pathlib import Path

from rlm.errors import ConfigError


def working_directory() -> Path:
    """
    Raises:
        ConfigError: the directory has been removed.
    """
    try:
        return Path.cwd()
    except OSError:
        raise ConfigError("The working directory no longer exists. Change to one that exists.") from None


def change_directory(path: str | None) -> None:
    """Change to the directory that `-C` names, if there is one.

    Raises:
        ConfigError: the directory cannot be used.
    """
    if path is None:
        return
    try:
        os.chdir(path)
    except (OSError, ValueError) as error:  # a ValueError for a null byte
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"-C {path}: {reason}. Name a folder that exists.") from None
