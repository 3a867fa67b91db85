"""Processes and temporary files that a command leaves behind."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from rlm_testkit.cli import Rlm
from rlm_testkit.waiting import until

ENDS_SLOWLY = """import pathlib, time
print('be' + 'gun')
while True:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        pathlib.Path('interrupted').touch()"""
"""The code of a cell that prints `begun`, ignores interrupts, and creates the file `interrupted` at the first one."""


def is_alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def started_with(name: str, value: str) -> list[psutil.Process]:
    """The live processes that were started with this variable in their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(name) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def processes(rlm: Rlm, besides: Collection[str] = ()) -> list[psutil.Process]:
    """The live processes of this command and all of its descendants, including detached ones.

    `besides`: names of programs that do not count.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and _belongs(process, rlm) and process.name() not in besides:
                found.append(process)
    return found


def _belongs(process: psutil.Process, rlm: Rlm) -> bool:
    """Whether a process inherited the command's HOME, or has its folder in its arguments.

    Only root may read the environment of the command itself.
    """
    try:
        if process.environ().get("HOME") == rlm.env()["HOME"]:
            return True
    except psutil.AccessDenied:
        return process.ppid() == os.getpid()
    return any(str(rlm.folder) in word for word in process.cmdline())


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for TMPDIR. Its path is short, because the path of a socket must be short."""
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def nothing_left(rlm: Rlm, temporary: Path | None = None, besides: Collection[str] = ()) -> None:
    """Wait until no process except those named in `besides`, and no file, is left.

    Raises:
        TimeoutError: something is left.
    """

    def left() -> list[object]:
        files = list(temporary.iterdir()) if temporary else []
        return [*processes(rlm, besides), *files]

    until(lambda: not left(), left)
