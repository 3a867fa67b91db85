"""A private folder and process groups that must not outlive this process, however it ends.

A watcher process (`rlm.process.process_tree`) cleans up if we are killed. We inform it of new and ended process groups.
A process that has left its group is found by a mark in its environment, if /proc shows that.
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
"""The most bytes of the folder's path: the path of a unix socket in it has at most 103 on macOS, 107 on Linux."""


class Supervisor:
    """Owns the watcher and `folder`: mode 0700, with a short path, for sockets and data for kernels."""

    def __init__(self) -> None:
        """Create the folder and start the watcher.

        Raises:
            ConfigError: the folder cannot be created.
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
            env=helper_environment(),  # all processes of this user can read the initial environment of a process
            start_new_session=True,  # a Ctrl-C must reach only us
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        files.remove_tree(self.folder)
        if not self.folder.exists():  # if it still exists, the watcher tries to remove it
            self.notify(process_tree.ENDED)
        assert self._watcher.stdin is not None
        with suppress(BrokenPipeError):
            self._watcher.stdin.close()
        self._watcher.wait()

    def new_mark(self) -> str:
        """Return a mark for the environment of some processes, as `process_tree.MARK`."""
        return f"{self._mark}-{next(self._numbers)}."  # no mark is a prefix of another

    def notify(self, line: str) -> None:
        assert self._watcher.stdin is not None
        with suppress(BrokenPipeError, ValueError):  # the watcher was killed, or stdin is closed
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
        """Return the variables for a process that is about to start. From now on its mark is searched for."""
        self._used = True
        return {process_tree.MARK: self._mark}

    def adopt(self, group: int) -> None:
        """Add a process group. `group` is the id of its leader."""
        self._running.add(group)
        self._supervisor.notify(f"+ {group}")

    def settle(self, group: int) -> None:
        """Forget a group whose leader has ended, unless other processes are left in it."""
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
        """Kill all remaining processes."""
        # no process gets the number of a living group: if a process has it, that group is gone
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
    """Reap the rest of a group whose leader has ended. We may have adopted it, see `rlm.cli.own_process`."""
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
        pass  # of another user
    return True


def _new_folder() -> Path:
    try:
        folder = Path(tempfile.mkdtemp(prefix="rlm-")).resolve()  # a sandbox may not have the link that leads to it  # noqa: TID251 - a new folder
    except OSError as error:
        raise ConfigError(
            f"No temporary folder can be created: {error.strerror}. Set TMPDIR to a folder that you can write to."
        ) from None
    if len(os.fsencode(folder)) <= LONGEST:
        return folder
    folder.rmdir()  # by path: only an empty folder
    try:
        return Path(tempfile.mkdtemp(prefix="rlm-", dir="/tmp")).resolve()  # noqa: TID251 - a new folder
    except OSError as error:
        raise ConfigError(
            f"No temporary folder can be created: {folder.parent} is too long for sockets, which may have {LONGEST} "
            f"bytes, and /tmp: {error.strerror}. Set TMPDIR to a shorter one."
        ) from None
