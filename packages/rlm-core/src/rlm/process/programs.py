"""Programs that the host starts: found once, before the first cell, and started without credentials.

The folders of PATH are the user's choice, but one of a project can be among them (`.venv/bin`, `node_modules/.bin`),
and a cell can write there. So a program is taken only from where nobody else can put one:

1. the folder on PATH is absolute, and it and the program lie outside of the folders to `avoid` (the working directory,
   the folder of the sessions), also after links are followed;
2. it, the program, and every folder above belong to the system or to this user, and others cannot write to them.

What is found is an absolute path. Its last name may be a link, since busybox and the like go by the name.
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
"""What POSIX systems have there."""


def find_program(name: str, path: str, avoid: Iterable[Path]) -> Path | None:
    """The first program of this name in the folders of `path` that may be started; None if there is none.

    A name with a slash in it is a path, which must be absolute. No cell may have run.
    """
    barred = _barred(avoid)
    above, _, last = name.rpartition("/")
    folders = [above] if above else path.split(os.pathsep)
    candidates = (Path(os.path.realpath(folder), last) for folder in folders if folder.startswith("/"))
    return next((found for found in candidates if _may_start(found, barred)), None)


def safe_path(path: str, avoid: Iterable[Path]) -> str:
    """The folders of `path` that programs may be started from. Libraries look for programs themselves, by PATH."""
    barred = _barred(avoid)
    folders = dict.fromkeys(os.path.realpath(each) for each in path.split(os.pathsep) if each.startswith("/"))
    return os.pathsep.join(each for each in folders if _may_hold(Path(each), barred)) or os.defpath


def know_processor() -> None:
    """Answer in its place what `platform` asks of `uname -p`, found by PATH, and the SDKs ask of `platform`.

    The answer is kept where `platform` keeps its own, as functools.cached_property does it.
    """
    import platform

    vars(platform.uname())["processor"] = ""


def helper_environment(**more: str) -> dict[str, str]:
    """The environment of programs that help the host: nothing of ours, since it holds credentials."""
    return {"PATH": os.defpath} | more


def _may_start(program: Path, barred: list[Path]) -> bool:
    with suppress(OSError, ValueError):
        real = Path(os.path.realpath(program))
        return (
            stat.S_ISREG(real.stat().st_mode)
            and os.access(real, os.X_OK)
            and _is_ours_alone(real)
            and _may_hold(real.parent, barred)
            and _may_hold(program.parent, barred)
        )
    return False


def _may_hold(folder: Path, barred: list[Path]) -> bool:
    """Whether what is in a folder, whose path has no links, is from the system or from this user, and no cell's."""
    with suppress(OSError, ValueError):
        outside = not any(folder.is_relative_to(each) for each in barred)
        return outside and all(map(_is_ours_alone, (folder, *folder.parents)))
    return False


def _barred(folders: Iterable[Path]) -> list[Path]:
    """Nothing could be started from `/`; no sandbox is there either."""
    return [real for folder in folders if (real := Path(os.path.realpath(folder))) != Path("/")]


def _is_ours_alone(path: Path) -> bool:
    """Whether only the system and this user can change it. In a sticky folder each can change only what is theirs."""
    about = path.stat()
    others = about.st_mode & stat.S_IWOTH or (about.st_mode & stat.S_IWGRP and not _is_private(about.st_gid))
    sticky = stat.S_ISDIR(about.st_mode) and about.st_mode & stat.S_ISVTX
    return about.st_uid in _trusted() and (not others or bool(sticky))


@lru_cache(maxsize=1)
def _trusted() -> frozenset[int]:
    """Where user ids are mapped, in a container, the system's files may belong to another number than 0."""
    return frozenset((0, os.geteuid(), Path("/").stat().st_uid))


@lru_cache
def _is_private(group: int) -> bool:
    """Root's group, and the group of its own that many systems give to a user."""
    with suppress(KeyError):
        user, about = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
        own = group == user.pw_gid and about.gr_name == user.pw_name
        return set(about.gr_mem) <= {user.pw_name, "root"} and (group == 0 or own)
    return group == 0
