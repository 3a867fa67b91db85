"""Programs that the host starts: found once, before the first cell, and started without credentials.

The user chooses the folders of PATH, but some may belong to a project (`.venv/bin`, `node_modules/.bin`), and a cell
can write there. So rlm uses a program only if nobody else can have put it there:

1. The folder on PATH is absolute. Both it and the program are outside of the folders to `avoid` (the working directory,
   the folder of the sessions), also after links are followed.
2. It, the program, and every folder above belong to the system or to this user, and others cannot write to them.

The result is an absolute path. Its last name may be a link, because programs such as busybox depend on that name.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

SHELL = "/bin/sh"
"""The shell of every POSIX system."""


def find_program(name: str, path: str, avoid: Iterable[Path]) -> Path | None:
    """Return the first safe program of this name in the folders of `path`; None if there is none.

    A name with a slash is a path, which must be absolute. Call it before any cell runs.
    """
    avoided = _resolved(avoid)
    above, _, last = name.rpartition("/")
    folders = [above] if above else path.split(os.pathsep)
    candidates = (Path(os.path.realpath(folder), last) for folder in folders if folder.startswith("/"))
    return next((found for found in candidates if _may_start(found, avoided)), None)


def safe_path(path: str, avoid: Iterable[Path]) -> str:
    """Return the folders of `path` with safe programs, for libraries that search PATH themselves."""
    avoided = _resolved(avoid)
    folders = dict.fromkeys(os.path.realpath(each) for each in path.split(os.pathsep) if each.startswith("/"))
    return os.pathsep.join(each for each in folders if _may_hold(Path(each), avoided)) or os.defpath


def know_processor() -> None:
    """Set the processor of `platform`, so that SDKs that ask for it do not start `uname -p` from PATH.

    The value is stored where functools.cached_property stores the one of `platform`.
    """
    import platform

    vars(platform.uname())["processor"] = ""


def helper_environment(**more: str) -> dict[str, str]:
    """Return the environment of the host's helper programs: nothing of ours, which has credentials."""
    return {"PATH": os.defpath} | more


def _may_start(program: Path, avoided: list[Path]) -> bool:
    with suppress(OSError, ValueError):
        real = Path(os.path.realpath(program))
        return (
            stat.S_ISREG(real.stat().st_mode)
            and os.access(real, os.X_OK)
            and _is_ours_alone(real)
            and _may_hold(real.parent, avoided)
            and _may_hold(program.parent, avoided)
        )
    return False


def _may_hold(folder: Path, avoided: list[Path]) -> bool:
    """Whether the content of a folder (a path without links) comes from the system or this user, not from a cell."""
    with suppress(OSError, ValueError):
        outside = not any(folder.is_relative_to(each) for each in avoided)
        return outside and all(map(_is_ours_alone, (folder, *folder.parents)))
    return False


def _resolved(folders: Iterable[Path]) -> list[Path]:
    """Resolve the folders. `/` is ignored: with it no program could be started, and it allows no sandbox either."""
    return [real for folder in folders if (real := Path(os.path.realpath(folder))) != Path("/")]


def _is_ours_alone(path: Path) -> bool:
    """Whether only the system and this user can change it. In a sticky folder users can change only their own files."""
    about = path.stat()
    others = about.st_mode & stat.S_IWOTH or (about.st_mode & stat.S_IWGRP and not _is_private(about.st_gid))
    sticky = stat.S_ISDIR(about.st_mode) and about.st_mode & stat.S_ISVTX
    return about.st_uid in _trusted() and (not others or bool(sticky))


@lru_cache(maxsize=1)
def _trusted() -> frozenset[int]:
    """Return the trusted user ids. In a container with mapped ids, the system's files may not belong to 0."""
    return frozenset((0, os.geteuid(), Path("/").stat().st_uid))


@lru_cache
def _is_private(group: int) -> bool:
    """Whether it is root's group, or the private group that many systems give to each user."""
    with suppress(KeyError):
        user, about = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
        own = group == user.pw_gid and about.gr_name == user.pw_name
        return set(about.gr_mem) <= {user.pw_name, "root"} and (group == 0 or own)
    return group == 0
