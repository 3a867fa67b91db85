"""What a run has changed in a repository, as git tells it, without running or obeying anything of that repository.

git obeys a repository's configuration: `core.fsmonitor`, filters, diff drivers, hooks. So it is given a folder of ours
as the repository: HEAD, a copy of the index, no configuration, and the objects from where they are. Submodules are left
out, for git looks at them by a `git status` of its own in there. Sources: git(1), gitrepository-layout(5).
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

PATIENCE = 0.5
"""Seconds that git has in all. Nobody waits longer for a line that is nice to have."""
NAMED = 3
"""Files that are named."""
LARGEST_INDEX = 64 << 20
"""Bytes."""
_EARLIER = 20_000_000  # nanoseconds: file systems tell times by ticks
NO_COMMIT = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""What stands for HEAD where there is none yet: the tree without files, which git knows by itself."""
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
"""The environment of git, besides that of `helper_environment` and a repository and a home of ours."""
_REFERENCE = re.compile(r"ref: (refs/[\w./-]+)")


@dataclass(frozen=True, slots=True)
class WorkingTree:
    """As it was when a run began."""

    git: Path
    top: Path
    repository: Path
    """Where HEAD and the index are."""
    common: Path
    """Where the objects are: of a worktree, another folder."""
    commit: str
    began: int

    @classmethod
    def find(cls, cwd: Path, git: Path | None) -> WorkingTree | None:
        """That of the repository that `cwd` is in; None if there is none, or nothing can be said of it."""
        with suppress(OSError, ValueError):
            cwd = files.resolve(cwd)
            top = next((each for each in (cwd, *cwd.parents) if os.path.lexists(each / ".git")), None)
            if git is not None and top is not None:
                repository = _repository(top)
                common = _common(repository)
                return cls(git, top, repository, common, _commit(repository, common), time.time_ns())
        return None

    def changes(self, cwd: Path, state: Path | None, skip: Path) -> str:
        """`src/filesize.py +4 −0, 1 new`, seen from `cwd`; empty if nothing was changed, or git is too slow.

        `state` is a folder that no cell can write to; `skip` is left out.
        """
        if state is None:
            return ""
        with suppress(OSError, ValueError, subprocess.SubprocessError), _stand_in(self, state) as environment:
            deadline = time.monotonic() + PATIENCE
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
        """By the times that the file system keeps: what was changed before is not told."""
        place = self.top / path
        if path.endswith("/"):  # a repository in this one
            return False
        while True:  # of what was removed, the nearest folder that is there
            with suppress(FileNotFoundError, NotADirectoryError):
                return os.lstat(place).st_ctime_ns >= self.began - _EARLIER
            place = place.parent


@contextmanager
def _stand_in(tree: WorkingTree, state: Path) -> Iterator[dict[str, str]]:
    """The environment of git with a repository that has nothing to obey."""
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
    """That of a worktree is named by a file."""
    pointer = top / ".git"
    if pointer.is_dir():
        return pointer
    return Path(os.path.normpath(top / _text(pointer).removeprefix("gitdir:").strip()))


def _common(repository: Path) -> Path:
    """Where the objects and most references are."""
    with suppress(FileNotFoundError):
        return Path(os.path.normpath(repository / _text(repository / "commondir").strip()))
    return repository


def _commit(repository: Path, common: Path) -> str:
    """What HEAD is.

    Raises:
        OSError, ValueError: it cannot be known without git.
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
    return NO_COMMIT  # no commit has been made


def _counted(numbers: list[str]) -> Iterator[tuple[str, int, int]]:
    """Paths, with the lines that were added and removed. Of binary files git counts none."""
    for line in numbers:
        added, removed, path = line.split("\t", 2)
        if (added, removed) != ("0", "0"):
            yield path, int(added) if added.isdigit() else 0, int(removed) if removed.isdigit() else 0


def _said(changed: list[tuple[str, int, int]], new: int) -> str:
    changed.sort(key=lambda each: -(each[1] + each[2]))
    named = [f"{path} +{added} −{removed}" for path, added, removed in changed[:NAMED]]
    more = [f"{len(changed) - NAMED} more"] if len(changed) > NAMED else []
    return ", ".join([*named, *more, *([f"{new} new"] if new else [])])
