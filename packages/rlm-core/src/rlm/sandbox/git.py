"""Compute which files of a git repository a cell may change, once, before the first cell.

A cell may change what a commit changes: objects, refs, the index. It may not change files that make git run programs,
or that make git use another repository. Sources: gitrepository-layout(5), git-config(1), githooks(5), git-worktree(1).

| file or folder | in the sandbox |
|---|---|
| `config`, `hooks` | read-only |
| `config.worktree`, `commondir` | read-only. If one is missing, a file that changes nothing takes its place |
| `modules`, `worktrees` | read-only, except for the repositories of submodules and worktrees inside the project |
| files that the configuration includes, `core.hooksPath`, scripts that it names | read-only |
| `remotes`, `branches`, links, an unfinished rebase | inspected at the end of the run; see `rlm.sandbox.repositories` |
| `info/attributes`, `info/grafts`, `objects/info/alternates`, `shallow` | writable: they run nothing |

In a worktree or a submodule, `.git` is a file that names a repository elsewhere. A cell may change that repository by
the same rules, but only if the repository also names this folder. Otherwise a project could contain a `.git` file that
names any folder of the user.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rlm.process import files
from rlm.process.programs import find_program, helper_environment
from rlm.sandbox.git_config import read_settings

_HARMLESS = {"commondir": b".\n", "config.worktree": b"", "config": b""}
"""Contents that have no effect. git does not accept an empty `commondir`."""
_LEFT_BY_RUNS = ("commondir", "config.worktree")
"""A run that was killed leaves these. No other program writes such files."""
_FOLDERS = ("hooks", "modules", "worktrees")
_OF_MAIN_WORKTREE = ("HEAD", "index", "rebase-merge", "rebase-apply", "sequencer")
_READ = ("HEAD", "config", "objects", "refs", "packed-refs", "logs", "info", "shallow", "hooks")
_MOST = 8  # maximum submodules and worktrees: each needs mounts, which cost each agent some milliseconds
_LARGEST = 1_000_000
_TIMEOUT = 5.0  # timeout in seconds for git to list its configuration


@dataclass(frozen=True, slots=True)
class GitAccess:
    """The paths that git may change, and those that it may not. Paths are absolute.

    Args:
        writable: folders outside the working directory, or below a `guarded` one.
        readable: paths outside the working directory, which may be in a hidden folder.
        guarded: existing paths that are read-only.
        barred: missing folders that cannot be created.
        fixed: missing files. During the run they exist, read-only, with this content.
        hooks: folders where git looks for hooks in each repository, relative to it. The user has configured them.
        note: one sentence about what git cannot do here, for the user and the model.
    """

    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    guarded: tuple[Path, ...] = ()
    barred: tuple[Path, ...] = ()
    fixed: tuple[tuple[Path, bytes], ...] = ()
    hooks: tuple[str, ...] = ()
    note: str = ""

    def __add__(self, other: GitAccess) -> GitAccess:
        return GitAccess(
            self.writable + other.writable,
            self.readable + other.readable,
            self.guarded + other.guarded,
            self.barred + other.barred,
            self.fixed + other.fixed,
            self.hooks + other.hooks,
            self.note or other.note,
        )


def git_access(cwd: Path, hidden: Iterable[Path], environment: Mapping[str, str]) -> GitAccess:
    """Return what git may change in `cwd`, a path without links. Folders that contain one of `hidden` stay closed."""
    pointer = cwd / ".git"
    access = _files_of_config(cwd, environment)
    if pointer.is_dir():
        return access + _protect_repository(pointer) + _repositories_inside(pointer, cwd)
    if pointer.is_file():
        return access + GitAccess(guarded=(pointer,)) + _repository_outside(cwd, tuple(hidden))
    if _is_repository(cwd):
        return access + _protect_repository(cwd) + _repositories_inside(cwd, cwd)
    return access


def _protect_repository(
    repository: Path, folders: Iterable[str] = _FOLDERS, names: Iterable[str] = _HARMLESS
) -> GitAccess:
    """Protect the files that make git run a program or use another repository: they cannot be changed or created."""
    folders, names = list(folders), list(names)
    fixed = [name for name in names if name in _HARMLESS and _is_harmless(repository / name)]
    guarded = [name for name in (*folders, *names) if name not in fixed and os.path.lexists(repository / name)]
    return GitAccess(
        guarded=tuple(repository / name for name in guarded),
        barred=tuple(repository / name for name in folders if name not in guarded),
        fixed=tuple((repository / name, _HARMLESS[name]) for name in fixed),
    )


def _is_harmless(path: Path) -> bool:
    """Return whether the file is missing, or was left by a run that was killed."""
    if not os.path.lexists(path):
        return True
    with suppress(OSError):
        return path.name in _LEFT_BY_RUNS and files.read(path, limit=_LARGEST) == _HARMLESS[path.name]
    return False


# ---- submodules and worktrees in the project


def _repositories_inside(repository: Path, cwd: Path) -> GitAccess:
    """Open the repositories of submodules and worktrees. They are in read-only folders of the project's repository."""
    modules = [path for path in _repositories(repository / "modules") if _worktree_of(path) and _is_within(path, cwd)]
    worktrees = [path for path in _folders(repository / "worktrees") if _is_within(path, cwd)]
    access = GitAccess()
    for path in modules[:_MOST]:
        access += GitAccess(writable=(path,)) + _protect_repository(path)
    for path in worktrees[:_MOST]:
        access += _open_worktree(path)
    if left := max(0, len(modules) - _MOST) + max(0, len(worktrees) - _MOST):
        access += GitAccess(note=f"git cannot commit in {left} of the submodules and worktrees of this project.")
    return access


def _open_worktree(path: Path) -> GitAccess:
    return GitAccess(writable=(path,)) + _protect_repository(
        path, _existing(path, ("modules",)), ("gitdir", "commondir", "config.worktree")
    )


def _existing(repository: Path, names: Iterable[str]) -> list[str]:
    return [name for name in names if os.path.lexists(repository / name)]


def _is_within(repository: Path, cwd: Path) -> bool:
    """Return whether the repository belongs to a folder in the project, and that folder names the repository."""
    tree = _worktree_of(repository)
    return tree is not None and tree != cwd and tree.is_relative_to(cwd) and _target(tree / ".git") == repository


def _repositories(folder: Path) -> Iterator[Path]:
    """Yield all repositories in a folder, at any depth: the name of a submodule may contain slashes."""
    for path in _folders(folder):
        if _is_repository(path):
            yield path
            yield from _repositories(path / "modules")
        else:
            yield from _repositories(path)


def _folders(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    return []


# ---- a repository outside of the working directory


def _repository_outside(cwd: Path, hidden: tuple[Path, ...]) -> GitAccess:
    repository = _target(cwd / ".git")
    common = _common(repository) if repository else None
    if repository is None or common is None:
        return GitAccess(note="git does not work here: .git does not name a repository.")
    linked = repository != common
    if wrong := _why_not_opened(repository, common, cwd):
        return GitAccess(note=f"git cannot work in the sandbox here: .git names {repository}, {wrong}.")
    own = _open_worktree(repository) if linked else GitAccess()
    if common.is_relative_to(cwd):
        return _protect_repository(common) + _repositories_inside(common, cwd) + own
    if any(place.is_relative_to(common) for place in hidden):
        return GitAccess(note=f"git cannot work in the sandbox here: its repository {common} is hidden.")
    if cwd.is_relative_to(common):  # the folder contains more than the repository, such as other worktrees or a home
        parts = [*(common / name for name in _existing(common, _READ)), *([repository] if linked else [])]
        note = f"git can read but not commit in the sandbox here: its repository {common} contains other folders too."
        return GitAccess(readable=tuple(dict.fromkeys(parts)), note=note)
    main = GitAccess(guarded=tuple(common / name for name in _existing(common, _OF_MAIN_WORKTREE if linked else ())))
    return GitAccess(writable=(common,)) + _protect_repository(common) + main + own + _repositories_inside(common, cwd)


def _why_not_opened(repository: Path, common: Path, cwd: Path) -> str:
    """Return why this repository must not be opened for `cwd`; empty if it may be opened."""
    if not _is_repository(common):
        return "which is not a repository"
    if repository == common and repository.is_relative_to(cwd):
        return ""  # nothing is opened
    if {repository.stat().st_uid, common.stat().st_uid} != {os.geteuid()}:
        return "which belongs to another user"
    if repository != common and repository.parent != common / "worktrees":
        return f"which names the repository {common}, but is not one of its worktrees"
    if _worktree_of(repository) != cwd:
        return "which does not name this folder"
    return ""


def _target(pointer: Path) -> Path | None:
    """Return the repository that a `.git` file names; None if it names none."""
    text = _read_text(pointer)
    return _real_path(pointer.parent / text.removeprefix("gitdir:").strip()) if text.startswith("gitdir:") else None


def _common(repository: Path) -> Path | None:
    if not os.path.lexists(repository / "commondir"):
        return repository
    text = _read_text(repository / "commondir").strip()
    return _real_path(repository / text) if text else None


def _worktree_of(repository: Path) -> Path | None:
    """Return the folder that a repository names as its own: a worktree in `gitdir`, a submodule in `core.worktree`."""
    if os.path.lexists(repository / "commondir") and (text := _read_text(repository / "gitdir").strip()):
        pointer = repository / text
        return _real_path(pointer.parent) if pointer.name == ".git" else None
    settings = read_settings(_read_text(repository / "config").encode(errors="surrogateescape"))
    named = [setting.value for setting in settings if setting.name == "core.worktree"]
    return _real_path(repository / named[-1]) if named else None


def _is_repository(path: Path) -> bool:
    """Return whether it is a repository without links. A cell could change the targets of links."""
    kinds = {"HEAD": stat.S_ISREG, "objects": stat.S_ISDIR, "refs": stat.S_ISDIR}
    with suppress(OSError):
        return all(is_kind((path / name).lstat().st_mode) for name, is_kind in kinds.items())
    return False


def _real_path(path: Path) -> Path | None:
    with suppress(OSError):
        return Path(os.path.realpath(path, strict=True))
    return None


def _read_text(path: Path) -> str:
    with suppress(OSError):
        return files.read(path, limit=_LARGEST).decode(errors="surrogateescape")
    return ""


# ---- files that the configuration names

_RUN_BY_ITSELF = ("core.fsmonitor", "diff.external", "core.sshcommand", "gpg.program", "core.alternaterefscommand")
_RUN_FOR_A_DRIVER = {
    "filter": ("clean", "smudge", "process"),
    "diff": ("command", "textconv"),
    "merge": ("driver",),
    "hook": ("command",),
    "credential": ("helper",),
}


def _files_of_config(cwd: Path, environment: Mapping[str, str]) -> GitAccess:
    """Protect files of the project that git reads as configuration, or runs because of its configuration."""
    access = GitAccess()
    for origin, name, value in _settings(cwd, environment):
        section, _, rest = name.partition(".")
        last = rest.rpartition(".")[2]
        if origin.is_file():
            access += _protect_path(origin, cwd)
        if section in ("include", "includeif") and last == "path":
            access += _protect_path(origin.parent / value, cwd)
        elif name == "core.hookspath":
            access += _protect_path(cwd / value, cwd, is_folder=True)
            access += GitAccess(hooks=() if origin.is_relative_to(cwd) or Path(value).is_absolute() else (value,))
        elif name in _RUN_BY_ITSELF or last in _RUN_FOR_A_DRIVER.get(section, ()):
            access = sum((_protect_path(path, cwd) for path in _programs(cwd, value)), access)
    return access


def _programs(cwd: Path, command: str) -> Iterator[Path]:
    """Yield plain files that a command may run, also missing ones. Placeholders such as %f are left out."""
    with suppress(ValueError):
        for word in shlex.split(command.removeprefix("!")):
            path = cwd / word
            if not path.is_symlink() and (path.is_file() or ("/" in word and not path.exists() and "%" not in word)):
                yield path


def _protect_path(path: Path, cwd: Path, *, is_folder: bool = False) -> GitAccess:
    """Protect a path of the project: it cannot be changed; if it is missing, it cannot be created."""
    path = Path(os.path.normpath(path))
    if path == cwd or not path.is_relative_to(cwd):
        return GitAccess()
    if os.path.lexists(path):
        return GitAccess(guarded=(path,))
    if not is_folder and path.parent.is_dir():
        return GitAccess(fixed=((path, b""),))
    return GitAccess(barred=(next(above for above in reversed((path, *path.parents)) if not os.path.lexists(above)),))


def _settings(cwd: Path, environment: Mapping[str, str]) -> Iterator[tuple[Path, str, str]]:
    """Yield file, name and value of each setting, also of the user's configuration. Only git itself is run for this."""
    git = find_program("git", environment.get("PATH", os.defpath), [cwd])
    if git is None:
        return
    home = {name: environment[name] for name in ("HOME", "XDG_CONFIG_HOME") if name in environment}
    command = [str(git), "config", "--list", "-z", "--includes", "--show-origin"]
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            command, cwd=cwd, env=helper_environment(**home), stdin=subprocess.DEVNULL, capture_output=True,
            timeout=_TIMEOUT, check=False,
        )  # fmt: skip
        words = done.stdout.decode(errors="surrogateescape").split("\0")
        for origin, setting in zip(words[::2], words[1::2], strict=False):
            name, _, value = setting.partition("\n")
            yield cwd / origin.removeprefix("file:"), name.lower(), value
