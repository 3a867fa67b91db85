"""Opens a file that a command has written with the user's default program."""

from __future__ import annotations

import subprocess
from pathlib import Path

from rlm.config.child_env import opener
from rlm.errors import RlmError

PATIENCE = 10
"""Seconds; an opener passes the file on and exits."""


def open_for_user(file: Path) -> None:
    """
    Raises:
        RlmError: no program here can open the file.
    """
    path = file.absolute()
    try:
        program, environment = opener()
        process = subprocess.Popen(
            [program, path],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise RlmError(
            f"{path} is written, but no program can be started to open it: {error}. Open it yourself."
        ) from None
    try:
        code = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        return  # a browser that the opener itself started keeps running
    if code:
        raise RlmError(f"{path} is written, but {program.name} did not open it (exit code {code}). Open it yourself.")
