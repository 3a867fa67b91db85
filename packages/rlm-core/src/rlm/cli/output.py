"""The file that `-o` names."""

from __future__ import annotations

import os
from pathlib import Path

from rlm.errors import ConfigError


def check_output(path: Path | None) -> None:
    """Before anything is done for it, see that it can be written.

    Raises:
        ConfigError: it cannot.
    """
    if path is None:
        return
    folder = path.absolute().parent
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise ConfigError(f"{path} cannot be written: no such folder, or no permission.")
