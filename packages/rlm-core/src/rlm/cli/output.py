"""The file that `-o` names."""

from __future__ import annotations

import os
from pathlib import Path

from rlm.errors import ConfigError, RlmError


def check_output(path: Path | None) -> None:
    """Before anything is done for it, see that it can be written.

    Raises:
        ConfigError: it cannot.
    """
    if path is not None and not _writable(path):
        raise ConfigError(f"{path} cannot be written: no such folder, or no permission.")


def _writable(path: Path) -> bool:
    try:
        return not path.is_dir() and os.access(path if path.exists() else path.absolute().parent, os.W_OK)
    except OSError:  # its name is too long, say
        return False


def write_output(path: Path, text: str) -> None:
    """
    Raises:
        RlmError: it could not be written, in spite of all.
    """
    try:
        path.write_bytes(text.encode(errors="replace"))
    except OSError as error:
        raise RlmError(f"{path} could not be written: {error.strerror}.") from None
