"""A private folder for sockets, which is gone when we are, whatever ends us."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlm.errors import ConfigError
from rlm.process import files
from rlm.process.programs import SHELL, helper_environment

_WATCH = Path(__file__).with_suffix(".sh")

LONGEST = 50
"""Bytes of its path: that of a unix socket in it may not be longer than 103 on macOS, 107 on Linux."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder (0700) with a short path. A tiny process beside us removes it when we leave, or are killed.

    Raises:
        ConfigError: there is no place for it.
    """
    folder = _new_folder()
    watch = subprocess.Popen(
        [SHELL, str(_WATCH), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=helper_environment(),  # everybody of this user can read the environment that a process began with
        start_new_session=True,  # a Ctrl-C is for us
    )
    with watch:
        try:
            yield folder
        finally:
            files.remove_tree(folder)
            if not folder.exists():  # else it is the watcher's to try
                watch.communicate(b"removed\n")


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
