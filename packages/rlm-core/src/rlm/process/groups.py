"""Process groups that must not outlive the run, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex

_WATCH = Path(__file__).with_name("watch.sh")
_MARK = "RLM_COMMAND"


class Groups:
    """Owns process groups. A tiny process beside us kills what is left of them if we are killed ourselves.

    What is started with `environment()` cannot get away by leaving its group, where there is a /proc that tells.
    """

    def __init__(self) -> None:
        self._token = token_hex(8)
        self._running: set[int] = set()
        self._left: set[int] = set()
        self._watch: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        """For what is about to be started. From now on it is watched for."""
        if self._watch is None:
            self._start()
        return {_MARK: self._token}

    def adopt(self, group: int) -> None:
        """`group` is the id of the process that leads it."""
        self._running.add(group)
        self._tell(f"+ {group}")

    def settle(self, group: int) -> None:
        """Its leader has ended: forget the group, unless something was left behind in it."""
        self._running.discard(group)
        for left in (group, *self._left):
            _reap(left)
        if _there(os.killpg, group):
            self._left.add(group)
        else:
            self._tell(f"- {group}")

    def kill(self, group: int, how: signal.Signals = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, how)

    def close(self) -> None:
        """Kill all that is left."""
        # no process is given the number of a group that lives: if there is one, that group is gone
        left = [group for group in self._left if not _there(os.kill, group)]
        for group in (*self._running, *left):
            self.kill(group)
        for group in (*self._running, *self._left):
            self._tell(f"- {group}")
        self._running.clear()
        self._left.clear()
        if self._watch is not None:
            self._tell(".")
            watch, self._watch = self._watch, None
            watch.communicate()

    def _tell(self, line: str) -> None:
        """Once it is closed nobody watches: what settles after that was killed."""
        if self._watch is None:
            return
        assert self._watch.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._watch.stdin.write(f"{line}\n".encode())
            self._watch.stdin.flush()

    def _start(self) -> subprocess.Popen[bytes]:
        self._watch = subprocess.Popen(
            ["/bin/sh", str(_WATCH), f"{_MARK}={self._token}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PATH": os.defpath},  # our own holds the credential
            start_new_session=True,
        )
        return self._watch


def _reap(group: int) -> None:
    """Of a group whose leader has been waited for. We may have adopted the rest of it, see `rlm.cli.orphans`."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass


def _there(kill: Callable[[int, int], None], number: int) -> bool:
    """Whether a process, or a group, has this number."""
    try:
        kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True
