"""Find the repositories in a folder, and the files in them that could run programs when the user calls git there.

A cell can create a repository, or change one below the working directory. The next `git status` then uses its
configuration. So the host searches before the first cell and after the last one (`rlm.sandbox.inspection`).

The search follows no link. It opens each folder from the descriptor of the folder above, and stops after a fixed number
of entries.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from rlm.process import files
from rlm.sandbox.git_config import read_settings, risks

REJECTED = ".rejected"
"""The suffix of a file that was moved aside."""
_MOST_ENTRIES = 300_000
_MOST_FILES = 1_000  # maximum entries that are checked in a folder of a repository; normally it has few
_DEEPEST = 100  # maximum levels of folders
_LARGEST = 1_000_000  # maximum bytes of a file that is read


@dataclass(frozen=True, slots=True)
class Risk:
    """A file in a repository, and its effect on git. `state` changes if the file is replaced."""

    repository: str
    file: str
    effect: str
    state: str = ""


@dataclass(slots=True)
class Survey:
    """The result of a search below some folders. Paths are absolute."""

    risks: set[Risk] = field(default_factory=set)
    configs: dict[str, bytes] = field(default_factory=dict)
    """The content of each configuration file."""
    unsearched: set[str] = field(default_factory=set)
    """Folders that could not be read. If there were too many entries, it contains the first folder."""


def survey(folders: Iterable[Path], skip: Iterable[Path] = (), hooks: Iterable[str] = ()) -> Survey:
    """Inspect all repositories below the folders, except in `skip`. git also looks for hooks in `hooks`."""
    search = _Search(tuple(folders), frozenset(skip), tuple(hooks))
    for folder in search.folders:
        with suppress(OSError):
            search.visit(files.open_folder(folder), folder, 0)
    search.check_pointers()
    return search.found


class _Search:
    def __init__(self, folders: tuple[Path, ...], skip: frozenset[Path], hooks: tuple[str, ...]) -> None:
        self.folders = folders
        self.found = Survey()
        self._skip = skip
        self._hooks = hooks
        self._left = _MOST_ENTRIES
        self._repositories: set[Path] = set()
        self._pointers: list[tuple[Path, str]] = []

    def visit(self, folder: int, path: Path, depth: int) -> None:
        """Inspect one folder and everything below it. Close the descriptor."""
        try:
            names = {
                entry.name: entry.is_dir(follow_symlinks=False) for entry in islice(os.scandir(folder), self._left)
            }
            self._left -= len(names)
            self._inspect(folder, path, names)
            for name, is_folder in names.items():
                if is_folder and not (name == "objects" and _is_repository(path, names)):
                    self._enter(folder, path / name, depth + 1)
        except OSError:
            self.found.unsearched.add(str(path))
        finally:
            os.close(folder)

    def check_pointers(self) -> None:
        """Add `.git` files that name a repository as risks, unless that repository has been inspected."""
        for path, target in self._pointers:
            if Path(os.path.normpath(path.parent / target)) not in self._repositories:
                self._add(path, f"the repository {target}")

    def _enter(self, folder: int, path: Path, depth: int) -> None:
        if path in self._skip:
            return
        if self._left <= 0:
            self.found.unsearched.add(str(self.folders[0]))
            return
        try:
            if depth > _DEEPEST:
                raise OSError
            inner = files.enter(path.name, folder)
        except OSError:
            self.found.unsearched.add(str(path))
        else:
            self.visit(inner, path, depth)

    def _inspect(self, folder: int, path: Path, names: dict[str, bool]) -> None:
        if _is_repository(path, names):
            self._repositories.add(path)
            self.found.risks.update(_Repository(folder, path, self._is_inside, self.found.configs).risks())
        if names.get(".git") is False:
            self._read_pointer(folder, path / ".git")
        if ".git" in names:
            for hooks in self._hooks:
                self.found.risks.update(_hooks(folder, path, hooks))
        for name in _OTHER_SYSTEMS.keys() & names.keys():
            self.found.risks.update(_other_system(folder, path / name))

    def _read_pointer(self, folder: int, path: Path) -> None:
        try:
            text = files.read(".git", dir_fd=folder, limit=_LARGEST).decode(errors="surrogateescape")
        except OSError as error:
            target = _target(folder, ".git")
            self._add(path, f"{error.strerror}: {target}" if target else str(error.strerror))
            return
        self._pointers.append((path, text.removeprefix("gitdir:").strip()))

    def _add(self, file: Path, effect: str) -> None:
        self.found.risks.add(Risk(str(file.parent), str(file), effect))

    def _is_inside(self, path: Path) -> bool:
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(folder) for folder in self.folders)


def _is_repository(path: Path, names: Iterable[str]) -> bool:
    """Return whether git takes a folder for a repository, see gitrepository-layout(5).

    A folder named `.git` counts too, since `git init` completes it.
    """
    there = set(names)
    return path.name == ".git" or ("HEAD" in there and ("commondir" in there or {"objects", "refs"} <= there))


# ---- one repository

_SAMPLE = ".sample"  # git does not run these; githooks(5)
_REMOTES = ("remotes", "branches")
_TODO = ("rebase-merge/git-rebase-todo", "sequencer/todo")
_EXECUTES = re.compile(r"^\s*(?:exec|x)\b.*", re.MULTILINE)
_STRATEGY = re.compile(r"\s*[a-z-]*\s*")  # git runs `git merge-NAME`, even if the name contains a slash
_QUOTED = re.compile(r"(?:\s*'[^']*')*\s*")  # older versions of git pass it to a shell
_WRITTEN = ("", "logs", "refs", "info", "rebase-merge", "rebase-apply", "sequencer", "rr-cache", "objects", "hooks")
"""Folders in which git writes files."""


@dataclass(frozen=True, slots=True)
class _Repository:
    folder: int
    path: Path
    is_inside: Callable[[Path], bool]
    configs: dict[str, bytes]

    def risks(self) -> Iterator[Risk]:
        yield from self._config("config")
        yield from self._config("config.worktree")
        yield from self._common_folder()
        yield from _hooks(self.folder, self.path, "hooks")
        yield from self._unfinished_operations()
        for folder in _REMOTES:  # the older form of a remote; git-fetch(1), "REMOTES"
            for name, about in _entries(self.folder, folder):
                if not name.endswith(REJECTED):
                    yield self._risk(f"{folder}/{name}", f"the address in {folder}/{name}", _state(about))
        for folder in _WRITTEN:
            yield from self._links(folder)

    def _risk(self, file: str, effect: str, state: str = "") -> Risk:
        return Risk(str(self.path), str(self.path / file), effect, state)

    def _read(self, file: str) -> bytes:
        return files.read(file, dir_fd=self.folder, limit=_LARGEST)

    def _text(self, file: str) -> str:
        with suppress(OSError):
            return self._read(file).decode(errors="surrogateescape")
        return ""

    def _config(self, file: str) -> Iterator[Risk]:
        try:
            data = self._read(file)
        except FileNotFoundError:
            return
        except OSError as error:
            yield self._risk(file, f"{file} {error.strerror}")
            return
        self.configs[str(self.path / file)] = data
        for setting in risks(data, lambda value: self.is_inside(self.path / value)):
            yield self._risk(file, str(setting))

    def _common_folder(self) -> Iterator[Risk]:
        """Check `commondir`. `.` has no effect. The repository of a worktree is two levels above; git-worktree(1)."""
        allowed = (".", "../..") if self.path.parent.name == "worktrees" else (".",)
        try:
            text = self._read("commondir").decode(errors="surrogateescape").strip()
        except FileNotFoundError:
            return
        except OSError as error:
            text = str(error.strerror)
        if text not in allowed:
            yield self._risk("commondir", f"the configuration of {text}")

    def _unfinished_operations(self) -> Iterator[Risk]:
        """Check the files that `git rebase --continue` and similar commands use."""
        for file in _TODO:
            if found := _EXECUTES.search(self._text(file)):
                yield self._risk(file, f"an unfinished rebase with {found[0].strip()!r}")
        if not _STRATEGY.fullmatch(strategy := self._text("rebase-merge/strategy")):
            yield self._risk("rebase-merge/strategy", f"git merge-{strategy.strip()}")
        for option in read_settings(self._text("sequencer/opts").encode(errors="surrogateescape")):
            if option.name in ("", "options.strategy") and not _STRATEGY.fullmatch(option.value):
                yield self._risk("sequencer/opts", f"git merge-{option.value}")
        if not _QUOTED.fullmatch(self._text("BISECT_NAMES")):
            yield self._risk("BISECT_NAMES", "the paths of an unfinished bisect")

    def _links(self, folder: str) -> Iterator[Risk]:
        """Find links that lead out of the repository. git would write through them."""
        for name, about in _entries(self.folder, folder):
            if stat.S_ISLNK(about.st_mode):
                path = f"{folder}/{name}".lstrip("/")
                target = _target(self.folder, path)
                # in older versions HEAD is a link to refs/heads/NAME
                stays = bool(target) and not {"", ".."} & set(target.split("/"))
                if not stays or path in ("hooks", "objects", "refs"):
                    yield self._risk(path, f"the link {path} to {target}")
            elif folder.partition("/")[0] in ("logs", "refs") and stat.S_ISDIR(about.st_mode):
                yield from self._links(f"{folder}/{name}")


def _hooks(repository: int, path: Path, folder: str) -> Iterator[Risk]:
    for name, about in _entries(repository, folder):
        if not name.endswith(_SAMPLE) and (stat.S_ISLNK(about.st_mode) or about.st_mode & 0o111):
            yield Risk(str(path), str(path / folder / name), f"the hook {name}", _state(about))


def _entries(repository: int, name: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the entries of a folder of the repository; none if it is not a folder."""
    try:
        folder = files.open_folder(name or ".", dir_fd=repository)
    except OSError:
        return
    try:
        for entry in islice(os.scandir(folder), _MOST_FILES):
            with suppress(OSError):
                yield entry.name, entry.stat(follow_symlinks=False)
    finally:
        os.close(folder)


def _target(folder: int, name: str) -> str:
    """Return the target of a link; empty if it is not a link."""
    with suppress(OSError):
        return files.link_text(folder, name) or ""
    return ""


def _state(about: os.stat_result) -> str:
    """Return a text that changes with each replacement: no cell can set the inode number and this time."""
    return f"{about.st_ino} {about.st_ctime_ns}"


# ---- other systems for version control

_OTHER_SYSTEMS = {
    ".hg": ("hgrc", "hgrc-not-shared", "sharedpath"),
    ".jj": ("repo/config.toml", "workspace-config.toml", "repo"),
}
_HARMLESS_HGRC = re.compile(rb"(?:[ \t]*(?:[#;][^\n]*)?\n|\[paths\][ \t]*\n|\w+ *= *[^\s-][^\n]*\n)*")  # of `hg clone`


def _other_system(folder: int, path: Path) -> Iterator[Risk]:
    """Find configuration files of other systems. Their contents are not checked; every change is a risk."""
    for name in _OTHER_SYSTEMS[path.name]:
        try:
            about = os.stat(f"{path.name}/{name}", dir_fd=folder, follow_symlinks=False)
            data = (
                files.read(f"{path.name}/{name}", dir_fd=folder, limit=_LARGEST)
                if stat.S_ISREG(about.st_mode)
                else b"?"
            )
        except OSError:
            continue
        if not stat.S_ISDIR(about.st_mode) and data and not (name == "hgrc" and _HARMLESS_HGRC.fullmatch(data)):
            yield Risk(str(path), str(path / name), f"the configuration in {path.name}/{name}", _state(about))
