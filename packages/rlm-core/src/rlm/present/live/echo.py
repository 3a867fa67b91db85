"""What is typed while the frame is on the screen is not echoed, for it would tear the rows. The next reader gets it.

A run that is killed cannot switch the echo on again. bash, zsh and fish do so themselves after a program that a signal
has ended or stopped.
"""

from __future__ import annotations

import os
import termios
from contextlib import suppress

_FLAGS = 3  # where the local modes are in what termios gives


class Echo:
    """Of the terminal behind a descriptor, if it controls this process, which is in its foreground."""

    def __init__(self, terminal: int | None) -> None:
        self._terminal = terminal
        self._held = False

    def hold(self) -> None:
        """Switch it off, also where somebody has switched it on again: a shell does when the run is stopped."""
        self._held = self._set(on=False) or self._held

    def release(self) -> None:
        if self._held:
            self._set(on=True)
            self._held = False

    def _set(self, *, on: bool) -> bool:
        """Whether that changed it."""
        with suppress(OSError, termios.error):
            if self._terminal is None or os.tcgetpgrp(self._terminal) != os.getpgrp():
                return False
            modes = termios.tcgetattr(self._terminal)
            if bool(modes[_FLAGS] & termios.ECHO) == on:
                return False
            modes[_FLAGS] ^= termios.ECHO
            termios.tcsetattr(self._terminal, termios.TCSANOW, modes)
            return True
        return False
