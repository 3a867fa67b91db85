"""What must not outlive this process, however it ends: a private folder, and processes.

A watcher process (`rlm.process.process_tree`) cleans up if we are killed. We send it the process groups as they come
and go. A process that has left its group is found by a mark in its environment, where there is a /proc that shows it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Self

from rlm.errors import ConfigError
from rlm.process import files, process_tree
from rlm.process.programs import helper_environment

LONGEST = 50
"""Bytes of the folder's path: that of a unix socket in it may not be longer than 103 on macOS, 107 on Linux."""


class Supervisor:
    """Owns the watcher, and `folder`: 0700, with a short path, for sockets and what goes to kernels."""

    def __init__(self) -> None:
        """
        Raises:
            ConfigError: there is no place for the folder.
        """
        self._mark = token_hex(8)
        self._numbers = count(1)
        self.folder = _new_folder()
        self._watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", process_tree.__file__, self._mark, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=helper_environment(),  # everybody of this user can read the environment that a process began with
            start_new_session=True,  # a Ctrl-C is for us
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        files.remove_tree(self.folder)
        if not self.folder.exists():  # else it is the watcher's to try
            self.notify(process_tree.ENDED)
        assert self._watcher.stdin is not None
        with suppress(BrokenPipeError):
            self._watcher.stdin.close()
        self._watcher.wait()

    def new_mark(self) -> str:
        """For the environment of some processes, as `process_tree.MARK`."""
        return f"{self._mark}-{next(self._numbers)}."  # none begins as another one

    def notify(self, line: str) -> None:
        assert self._watcher.stdin is not None
        with suppress(BrokenPipeError, ValueError):  # it was killed; it has been closed
            self._watcher.stdin.write(f"{line}\n".encode())
            self._watcher.stdin.flush()


class ProcessGroups:
    """Owns process groups, such as those of one tool."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._mark = supervisor.new_mark()
        self._running: set[int] = set()
        self._left: set[int] = set()
        self._used = False

    def environment(self) -> dict[str, str]:
        """For what is about to be started. From now on it is watched for."""
        self._used = True
        return {process_tree.MARK: self._mark}

    def adopt(self, group: int) -> None:
        """`group` is the id of the process that leads it."""
        self._running.add(group)
        self._supervisor.notify(f"+ {group}")

    def settle(self, group: int) -> None:
        """Its leader has ended: forget the group, unless something was left behind in it."""
        self._running.discard(group)
        for left in (group, *self._left):
            _reap(left)
        if _exists(os.killpg, group):
            self._left.add(group)
        else:
            self._supervisor.notify(f"- {group}")

    def kill(self, group: int, signal_: signal.Signals = signal.SIGKILL) -> None:
        process_tree.kill_group(group, signal_)

    def close(self) -> None:
        """Kill all that is left."""
        # no process is given the number of a group that lives: if there is one, that group is gone
        left = [group for group in self._left if not _exists(os.kill, group)]
        for group in (*self._running, *left):
            self.kill(group)
        for group in (*self._running, *self._left):
            self._supervisor.notify(f"- {group}")
        self._running.clear()
        self._left.clear()
        if self._used:
            process_tree.kill_until_gone(partial(process_tree.marked, self._mark))


def _reap(group: int) -> None:
    """Of a group whose leader has been waited for. We may have adopted the rest of it, see `rlm.cli.own_process`."""
    with suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass


def _exists(kill: Callable[[int, int], None], number: int) -> bool:
    """Whether a process, or a group, has this number."""
    try:
        kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True


def _new_folder() -> Path:
    try:
        folder = Path(tempfile.mkdtemp(prefix="rlm-")).resolve()  # a sandbox may not have the link that leads to it  # noqa: TID251 - a new folder
    except OSError as error:
        raise ConfigError(
            f"No temporary folder can be made: {error.strerror}. Set TMPDIR to a folder that you can write to."
        ) from None
    if len(os.fsencode(folder)) <= LONGEST:
        return folder
    folder.rmdir()  # by path: none but an empty one
    try:
        return Path(tempfile.mkdtemp(prefix="rlm-", dir="/tmp")).resolve()  # noqa: TID251 - a new folder
    except OSError as error:
        raise ConfigError(
            f"No temporary folder can be made: {folder.parent} is too long for sockets, which may have {LONGEST} "
            f"bytes, and /tmp: {error.strerror}. Set TMPDIR to a shorter one."
        ) from None
