"""A folder with all that is in it, by the rules of `rlm.process.files`: no link is followed, whoever changes it.

Each folder is opened anew from the top, so that a deep tree does not take a descriptor for each of its levels.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from rlm.process import files


def copy_tree(source: int, target: int, wanted: Callable[[Path], bool]) -> None:
    """Copy plain files and folders from one folder to another, both descriptors. What is gone meanwhile is left out.

    `wanted` is asked for each path, which is relative. Copies are for their owner alone, as all that is made.

    Raises:
        OSError: something cannot be read or written.
    """
    folders = [Path()]
    while folders:
        here = folders.pop()
        with ExitStack() as opened:
            try:
                old = files.open_folder(here, dir_fd=source)
            except FileNotFoundError:
                continue
            opened.callback(os.close, old)
            new = files.open_folder(here, dir_fd=target, make=True)
            opened.callback(os.close, new)
            for name in os.listdir(old):  # noqa: PTH208 - by descriptor
                if wanted(here / name) and _copy(name, old, new):
                    folders.append(here / name)


def _copy(name: str, old: int, new: int) -> bool:
    """A plain file. Whether it is a folder instead; all else is left out."""
    with suppress(FileNotFoundError):
        kind = os.stat(name, dir_fd=old, follow_symlinks=False).st_mode
        if stat.S_ISREG(kind):
            with ExitStack() as opened:
                source = files.open_file(name, dir_fd=old)
                opened.callback(os.close, source)
                target = files.create(name, dir_fd=new)
                opened.callback(os.close, target)
                files.copy(source, target)
        return stat.S_ISDIR(kind)
    return False
