"""Where a command runs."""

from __future__ import annotations

from pathlib import Path

from rlm.errors import ConfigError


def working_directory() -> Path:
    """
    Raises:
        ConfigError: it has been removed.
    """
    try:
        return Path.cwd()
    except OSError:
        raise ConfigError("The working directory is gone. Change to one that exists.") from None
