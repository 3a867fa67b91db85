"""What a command leaves behind: processes, and files in its temporary folder."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from cli import Rlm

PATIENCE = 60.0
"""Seconds after which what is waited for is taken to never come."""


def until(condition: Callable[[], object], says: str = "") -> None:
    """Wait until `condition()` holds.

    Raises:
        TimeoutError: it does not.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(says)
        time.sleep(0.02)


def processes(rlm: Rlm) -> list[psutil.Process]:
    """Those alive that this command started, however deep below it and however detached: they inherit its home."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("HOME") == rlm.env()["HOME"] and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for TMPDIR. Its path is short, for a socket's path must be."""
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def nothing_left(rlm: Rlm, temporary: Path | None = None) -> None:
    """Wait until no process is left, and no file.

    Raises:
        TimeoutError: something is.
    """
    until(lambda: not processes(rlm), str(processes(rlm)))
    if temporary is not None:
        until(lambda: not list(temporary.iterdir()), str(list(temporary.iterdir())))
