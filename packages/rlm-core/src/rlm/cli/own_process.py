"""What a command does to its own process: set its folder, hide its memory, kill what its commands leave behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from rlm.errors import ConfigError
from rlm.process import process_tree


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


@contextmanager
def ending_orphans() -> Iterator[None]:
    """On exit, kill all processes below this one (Linux): a process that loses its parent becomes our child.

    Only for the command, not for a library: it cannot tell the run's processes from others that its program starts. For
    the same reason nothing is killed if this process had children before (`sleep 9 & exec rlm …`).
    """
    if _has_children():
        yield
        return
    process_tree.adopt_orphans()
    try:
        yield
    finally:
        if _has_children():  # cheaper than a scan of all processes
            process_tree.kill_until_gone(partial(process_tree.below, os.getpid()), _reap)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


_PR_SET_DUMPABLE = 4  # linux/prctl.h


def harden_process(*, debug: bool) -> None:
    """Stop other processes of this user, such as a cell, from reading our environment and memory.

    Both hold the credential.

    PR_SET_DUMPABLE in prctl(2): /proc/PID belongs to root, and no debugger can attach; RLM_DEBUG=1 disables this.
    Processes that we start are not affected. Root can read everything anyway, so nothing is done for root.
    """
    if os.geteuid() == 0 or debug:
        return
    import ctypes

    with suppress(AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
