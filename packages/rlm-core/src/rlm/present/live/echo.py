"""Disables the echo of typed keys while the frame is shown, because echoed text would break its rows.

The next reader gets the typed keys. A killed run cannot restore the echo; bash, zsh and fish restore it after a signal
has ended or stopped a program.
"""

from __future__ import annotations

import os
import termios
from contextlib import suppress

_FLAGS = 3  # index of the local modes in the result of tcgetattr


class Echo:
    """The echo of the terminal behind a descriptor, if that terminal controls this process.

    The process must be in the terminal's foreground.
    """

    def __init__(self, terminal: int | None) -> None:
        self._terminal = terminal
        self._held = False

    def hold(self) -> None:
        """Disable the echo, also after another program has enabled it: a shell does so when the run is stopped."""
        self._held = self._set(on=False) or self._held

    def release(self) -> None:
        if self._held:
            self._set(on=True)
            self._held = False

    def _set(self, *, on: bool) -> bool:
        """Set the echo; return whether this changed it."""
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
