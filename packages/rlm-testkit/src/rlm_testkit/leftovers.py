"""What a command leaves behind: processes, and files in its temporary folder."""

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


def processes(rlm: Rlm, besides: Collection[str] = ()) -> list[psutil.Process]:
    """This command, and those alive that it started, however deep below it and however detached.

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
    """They inherit its home, or get its folder. The command itself lets nobody but root read its environment."""
    try:
        if process.environ().get("HOME") == rlm.env()["HOME"]:
            return True
    except psutil.AccessDenied:
        return process.ppid() == os.getpid()
    return any(str(rlm.folder) in word for word in process.cmdline())


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for TMPDIR. Its path is short, for a socket's path must be."""
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def nothing_left(rlm: Rlm, temporary: Path | None = None, besides: Collection[str] = ()) -> None:
    """Wait until no process is left but those of the names `besides`, and no file.

    Raises:
        TimeoutError: something is.
    """

    def left() -> list[object]:
        files = list(temporary.iterdir()) if temporary else []
        return [*processes(rlm, besides), *files]

    until(lambda: not left(), left)
