"""Record the exit status of commands that a cell runs from Python: `subprocess.run(["pytest"])` fails without an error.

For `!` and `%%bash` the cell's output shows the status (`rlm.inside.shell`). The status of other commands is shown to
users only: the model reads what its code prints, and the code may have checked the status.

Commands count if a cell starts them, or a function that a cell has defined. Commands of a library do not count: it
handles their failure itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Collection
from functools import wraps
from types import FrameType
from typing import Any
from weakref import ref

_Process = subprocess.Popen[Any]

EVENTS = frozenset({"subprocess.Popen", "os.kill", "os.killpg"})

_BETWEEN = {"subprocess", "os", "asyncio", "concurrent", "threading", "ipykernel"}
"""Modules that start a process, or a thread that does, for their caller. ipykernel 7.0 wraps the threads."""


class ChildStatuses:
    """The exit statuses of one kernel. Several threads may start processes, so shared state changes only atomically."""

    def __init__(self) -> None:
        self._failed = 0
        self._started: deque[_Process] = deque()
        self._earlier: list[ref[_Process]] = []
        """Processes that outlived their cell. A later cell may wait for them."""
        self._signalled: set[int] = set()

    def install(self) -> None:
        """Wrap the functions that return a status, which no audit event has. This cannot be undone."""
        os.system = self._noting(os.system, lambda status: status, _BETWEEN)
        for name in ("wait", "waitpid"):  # os.spawnv uses them; subprocess and asyncio use them for other callers
            setattr(os, name, self._noting(getattr(os, name), lambda result: result[1], {"os", "pty"}))

    def take(self) -> int:
        """Return the status of the last command that failed since the last call; 0 if none failed."""
        self._settle()
        living = [process for each in self._earlier if (process := each())]
        for process in living:
            self._note(process)
        left = {id(process): process for process in (*living, *self._started) if process.returncode is None}
        self._earlier = list(map(ref, left.values()))
        self._started.clear()
        self._signalled &= {process.pid for process in left.values()}
        failed, self._failed = self._failed, 0
        return failed

    def on_audit_event(self, event: str, arguments: tuple[Any, ...], frame: FrameType) -> None:
        """Handle one of `EVENTS`, an audit event that the code of `frame` raises."""
        if event == "subprocess.Popen":
            process = frame.f_locals.get("self")  # the event itself does not contain the Popen object
            if isinstance(process, subprocess.Popen) and _is_of_a_cell(frame, _BETWEEN):
                self._settle()
                self._started.append(process)
        elif arguments[1]:
            self._signalled.add(abs(arguments[0]))  # the cell ends it itself, so its status is no failure

    def _settle(self) -> None:
        """Drop references to processes that have ended: they may hold large outputs."""
        for _ in range(len(self._started)):
            process = self._started.popleft()
            if process.returncode is None:
                self._started.append(process)
            else:
                self._note(process)

    def _note(self, process: _Process) -> None:
        if process.returncode and process.pid not in self._signalled:
            self._failed = process.returncode

    def _noting(
        self, function: Callable[..., Any], status_of: Callable[[Any], int], between: Collection[str]
    ) -> Callable[..., Any]:
        """Wrap `function`, whose result contains the status of a child."""

        @wraps(function)
        def noting(*arguments: Any, **options: Any) -> Any:
            result = function(*arguments, **options)
            status = status_of(result)
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                code = os.waitstatus_to_exitcode(status)
                if code and _is_of_a_cell(sys._getframe(1), between):
                    self._failed = code
            return result

        return noting


def _is_of_a_cell(frame: FrameType | None, between: Collection[str]) -> bool:
    """Return whether code of a cell makes the call, directly or through modules in `between`."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module.partition(".")[0] not in between:
            return module == "__main__"
        frame = frame.f_back
    return True  # a thread with no other code, such as one of `asyncio.to_thread(subprocess.run, …)`
