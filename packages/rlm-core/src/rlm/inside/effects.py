"""Note for the host which files the cells of a kernel change, and whether they start programs (`host/effects.py`).

The source is Python's audit events (https://docs.python.org/3/library/audit_events.html), which come before the
operation. Files that a C library writes by itself have no audit event. Each file is noted once.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from rlm.inside.child_statuses import EVENTS, ChildStatuses
from rlm.process import files

NAME = "effects"
COMMAND = "!"
_MOST = 200  # maximum notes
_LONGEST = 1_000  # maximum characters of a path
_OURS = str(Path(files.__file__).parent)  # writes by rlm's own code are not effects of a cell
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


_Paths = Callable[[Any], Iterator[tuple[Any, int]]]


def _opened(arguments: Any) -> Iterator[tuple[Any, int]]:
    path, mode, flags = arguments
    if set("wax+") & set(mode) if isinstance(mode, str) else flags & _WRITING:
        yield path, -1


def _of(*places: tuple[int, int | None]) -> _Paths:
    """Return a function that takes from an event's arguments each path and the descriptor of its folder.

    `places` has the positions of both.
    """
    return lambda arguments: ((arguments[path], -1 if folder is None else arguments[folder]) for path, folder in places)


_CHANGED: dict[str, _Paths] = {
    "open": _opened,
    "os.remove": _of((0, 1)),
    "os.rename": _of((0, 2), (1, 3)),
    "os.mkdir": _of((0, 2)),
    "os.rmdir": _of((0, 1)),
    "os.link": _of((1, 3)),
    "os.symlink": _of((1, 2)),
    "os.truncate": _of((0, None)),
    "sqlite3.connect": _of((0, None)),
}
"""For each audit event, a function that takes the changed paths from its arguments."""
_STARTED = {"subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.spawn", "pty.spawn"}


class EffectNotes:
    """Append notes to the file `NAME` in the kernel's runtime folder, if the host has created one."""

    def __init__(self, folder: Path, statuses: ChildStatuses) -> None:
        self._statuses = statuses
        self._folder = str(folder)
        self._cwd = os.getcwd()  # noqa: PTH109 - the agent's, even if cells change theirs later
        self._temporary = tempfile.gettempdir()
        self._noted: set[str] = set()

    def install(self) -> None:
        """Install the audit hook, for the rest of the process: Python cannot remove it."""
        sys.addaudithook(self._on_audit_event)

    def _on_audit_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Handle an audit event. There is only this one hook: each hook takes microseconds of every event."""
        if event in EVENTS:
            self._statuses.on_audit_event(event, arguments, sys._getframe(1))
        if event in _STARTED:
            self._note(COMMAND)
        elif event in _CHANGED and not sys._getframe(1).f_code.co_filename.startswith(_OURS):
            with suppress(Exception):  # it would be raised in the code that opens the file
                for path, folder in _CHANGED[event](arguments):
                    self._changed(path, folder)

    def _changed(self, path: Any, folder: int) -> None:
        if isinstance(path, int):
            return
        base = os.getcwd() if folder == -1 else os.readlink(f"/proc/self/fd/{folder}")  # noqa: PTH109, PTH115 - quick
        place = os.path.normpath(os.path.join(base, os.fsdecode(path)))  # noqa: PTH118
        if self._matters(place):
            self._note(place)

    def _matters(self, place: str) -> bool:
        """Return whether a path counts as an effect: caches and temporary files do not."""
        if place.startswith((self._folder, "/dev/", "/proc/")) or "__pycache__" in place or "\n" in place:
            return False
        inside = place.startswith(f"{self._cwd}/")
        if inside:
            return "/.rlm/" not in place[len(self._cwd) :]
        return not place.startswith(self._temporary) and "/." not in place

    def _note(self, line: str) -> None:
        if line in self._noted or len(self._noted) >= _MOST or len(line) > _LONGEST:
            return
        self._noted.add(line)
        with suppress(OSError):
            file = os.open(os.path.join(self._folder, NAME), os.O_WRONLY | os.O_APPEND)  # noqa: PTH118
            try:
                os.write(file, os.fsencode(line) + b"\n")
            finally:
                os.close(file)
