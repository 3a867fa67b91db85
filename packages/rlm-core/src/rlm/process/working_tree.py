"""The changes of a run in a repository, as git reports them, without running or obeying anything of that repository.

git obeys a repository's configuration: `core.fsmonitor`, filters, diff drivers, hooks. So git gets a folder of ours as
the repository: with HEAD, a copy of the index, no configuration, and the objects of the original. Submodules are
skipped, because git would run its own `git status` inside them. Sources: git(1), gitrepository-layout(5).
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from rlm.process import files
from rlm.process.programs import helper_environment

TIMEOUT = 0.5
"""Seconds for all calls of git. The line is not important enough for a longer wait."""
NAMED = 3
"""The number of files with names in the line."""
LARGEST_INDEX = 64 << 20
"""Bytes."""
_EARLIER = 20_000_000  # nanoseconds: file systems have coarse times
NO_COMMIT = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""Replaces HEAD if there is no commit yet: the empty tree, which git knows without objects."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
OBEYS_NOTHING = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
"""Variables for git, in addition to `helper_environment` and to a repository and a home of ours."""
_REFERENCE = re.compile(r"ref: (refs/[\w./-]+)")


@dataclass(frozen=True, slots=True)
class WorkingTree:
    """A working tree at the start of a run."""

    git: Path
    top: Path
    repository: Path
    """The folder of HEAD and the index."""
    common: Path
    """The folder of the objects. For a worktree it is another folder."""
    commit: str
    began: int

    @classmethod
    def find(cls, cwd: Path, git: Path | None) -> WorkingTree | None:
        """Return the working tree of the repository of `cwd`; None if there is none, or it cannot be read."""
        with suppress(OSError, ValueError):
            cwd = files.resolve(cwd)
            top = next((each for each in (cwd, *cwd.parents) if os.path.lexists(each / ".git")), None)
            if git is not None and top is not None:
                repository = _repository(top)
                common = _common(repository)
                return cls(git, top, repository, common, _commit(repository, common), time.time_ns())
        return None

    def changes(self, cwd: Path, state: Path | None, skip: Path) -> str:
        """Return `src/filesize.py +4 −0, 1 new`, relative to `cwd`; empty without changes, or if git is too slow.

        `state` is a folder that no cell can write to; `skip` is left out.
        """
        if state is None:
            return ""
        with suppress(OSError, ValueError, subprocess.SubprocessError), _stand_in(self, state) as environment:
            deadline = time.monotonic() + TIMEOUT
            diff = ("diff-index", "--numstat", "-z", "--no-ext-diff", "--no-textconv", "--no-renames")
            changed = self._ask(environment, deadline, *diff, "--ignore-submodules=all", self.commit)
            new = self._ask(environment, deadline, "ls-files", "-z", "--others", "--exclude-standard")
            lines = [line for line in _counted(changed) if self._is_of_this_run(line[0])]
            return _said(
                [(os.path.relpath(self.top / path, cwd), added, removed) for path, added, removed in lines],
                sum(self._is_of_this_run(path) and not (self.top / path).is_relative_to(skip) for path in new),
            )
        return ""

    def _ask(self, environment: dict[str, str], deadline: float, *words: str) -> list[str]:
        left = deadline - time.monotonic()
        command = [str(self.git), *words]
        done = subprocess.run(
            command, env=environment, cwd=self.top, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, timeout=max(0.01, left), check=True,
        )  # fmt: skip
        return os.fsdecode(done.stdout).rstrip("\0").split("\0") if done.stdout else []

    def _is_of_this_run(self, path: str) -> bool:
        """Whether a file was changed since the run began, by its times. Earlier changes are not listed."""
        place = self.top / path
        if path.endswith("/"):  # a repository in this one
            return False
        while True:  # for a removed file, use the nearest existing folder
            with suppress(FileNotFoundError, NotADirectoryError):
                return os.lstat(place).st_ctime_ns >= self.began - _EARLIER
            place = place.parent


@contextmanager
def _stand_in(tree: WorkingTree, state: Path) -> Iterator[dict[str, str]]:
    """Return the environment of git with a repository without configuration."""
    folder = state / "rlm" / f"git-{token_hex(8)}"
    os.close(files.open_folder(folder, make=True))
    try:
        for inner in ("objects", "refs", "info"):
            files.make_folder(folder / inner)
        files.write_new(folder / "HEAD", f"{tree.commit}\n".encode())
        for source, name in ((tree.repository, "index"), (tree.common, "info/exclude")):
            with suppress(FileNotFoundError):
                files.write_new(folder / name, files.read(source / name, limit=LARGEST_INDEX))
        yield helper_environment(
            GIT_DIR=str(folder),
            GIT_WORK_TREE=str(tree.top),
            GIT_OBJECT_DIRECTORY=str(tree.common / "objects"),
            HOME=str(folder),
            **OBEYS_NOTHING,
        )
    finally:
        files.remove_tree(folder)


def _text(path: Path) -> str:
    return files.read(path, limit=LARGEST_INDEX).decode()


def _repository(top: Path) -> Path:
    """Return the repository folder. For a worktree, `.git` is a file with its path."""
    pointer = top / ".git"
    if pointer.is_dir():
        return pointer
    return Path(os.path.normpath(top / _text(pointer).removeprefix("gitdir:").strip()))


def _common(repository: Path) -> Path:
    """Return the folder of the objects and most references."""
    with suppress(FileNotFoundError):
        return Path(os.path.normpath(repository / _text(repository / "commondir").strip()))
    return repository


def _commit(repository: Path, common: Path) -> str:
    """Return the commit of HEAD.

    Raises:
        OSError, ValueError: it cannot be found without git.
    """
    head = _text(repository / "HEAD").strip()
    if _COMMIT.fullmatch(head):
        return head
    named = _REFERENCE.fullmatch(head)
    if named is None:
        raise ValueError(head)
    for folder in (repository, common):
        with suppress(OSError):
            found = _text(folder / named[1]).strip()
            if _COMMIT.fullmatch(found):
                return found
    with suppress(OSError):
        for line in _text(common / "packed-refs").splitlines():
            if line.endswith(f" {named[1]}") and _COMMIT.match(line):
                return line[:40]
    return NO_COMMIT  # there is no commit yet


def _counted(numbers: list[str]) -> Iterator[tuple[str, int, int]]:
    """Yield paths with the numbers of added and removed lines. For binary files git has no numbers."""
    for line in numbers:
        added, removed, path = line.split("\t", 2)
        if (added, removed) != ("0", "0"):
            yield path, int(added) if added.isdigit() else 0, int(removed) if removed.isdigit() else 0


def _said(changed: list[tuple[str, int, int]], new: int) -> str:
    changed.sort(key=lambda each: -(each[1] + each[2]))
    named = [f"{path} +{added} −{removed}" for path, added, removed in changed[:NAMED]]
    more = [f"{len(changed) - NAMED} more"] if len(changed) > NAMED else []
    return ", ".join([*named, *more, *([f"{new} new"] if new else [])])
