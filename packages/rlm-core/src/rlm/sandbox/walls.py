"""What a box is made of: which parts of the file system are in it, and how. As arguments of bwrap; see bwrap(1).

The world is read-only, but for the working directory and the agent's runtime folder. Places that hold others' secrets
and sockets are empty: a socket with a path stays reachable through a read-only mount, so /run and /tmp are hidden and
not only protected. What in the project could act on its user later (hooks, settings of an editor) cannot be changed.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rlm.errors import ConfigError
from rlm.sandbox.git import GitAccess, git_access, held

_PLACES = ("/tmp", "/run", "/var/tmp", "/home", "/root")  # noqa: S108 - hidden, not used
_SECRETS = ("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/ssl/private")
# Root may write to them by owning them, without any capability; bwrap covers those that it knows of.
_CONTROLS = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus")
_GUARDED = (".vscode", ".envrc")
"""Where they are missing, empty folders stand in their place, which git does not see. See also `rlm.sandbox.git`."""
# In a home: programs that the user has installed there, and nothing that is the user's own.
_TOOLCHAINS = (
    *(".pyenv", ".rbenv", ".nodenv", ".asdf", ".nvm", ".volta", ".bun", ".deno", ".rustup", ".sdkman", ".ghcup"),
    *("miniconda3", "miniforge3", "anaconda3", "go/bin", ".local/pipx", ".local/lib"),
    *(f".local/share/{name}" for name in ("uv/python", "uv/tools", "mise", "pipx", "pnpm", "fnm", "rtx")),
)

_NAMESPACES = ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts")
_RESOLVER = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class Walls:
    """The box of all agents of a run.

    Args:
        cwd: the folder that can be written, with all that is in it but what is `guarded`.
        git: what git needs, and what it must not get.
        guarded: read-only, where it is there.
        barred: in `cwd`, not there, and not to be made.
        hidden: folders that are empty in the box, except for what is in `shown`, read-only.
        secrets: files and folders that are empty in the box.
        net: it has the host's network.
        memory: bytes that a process may have, and a temporary folder may hold.
        file_size: bytes that may be written to one file.
    """

    cwd: Path
    git: GitAccess
    guarded: tuple[Path, ...]
    barred: tuple[Path, ...]
    hidden: tuple[Path, ...]
    shown: tuple[Path, ...]
    secrets: tuple[Path, ...]
    net: bool
    memory: int
    file_size: int

    def arguments(self, run_dir: Path, shown: Iterable[Path] = ()) -> tuple[str, ...]:
        """For bwrap. `run_dir` is the agent's own runtime folder; `shown` is readable for this agent too."""
        return (
            *_NAMESPACES,
            *(() if self.net else ("--unshare-net",)),
            *("--cap-drop", "ALL", "--new-session", "--die-with-parent"),
            *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
            *_each("--ro-bind", map(Path, _CONTROLS)),
            *self._nothing_in(self.hidden),
            *_empty(path for path in self.secrets if path.is_dir()),
            *_nothing_to_read(path for path in self.secrets if path.is_file()),
            *_each("--ro-bind", (*self.shown, *self.git.readable, *shown)),
            *_each("--bind", (self.cwd, run_dir)),
            *self._in_project(),
        )

    def _in_project(self) -> Iterator[str]:
        """What lies deeper comes later: something writable may be in something guarded, and the other way round."""
        mounts = [
            *((path, 0, "--bind") for path in (*self._above(), *self.git.writable)),
            *((path, 1, "--ro-bind") for path in (*self.guarded, *(path for path, _ in self.git.fixed))),
            *((path, 2, "") for path in self.barred),
        ]
        for path, _, option in sorted(mounts, key=lambda mount: (len(mount[0].parts), mount[1], mount[0])):
            yield from _each(option, [path]) if option else _empty([path])

    def _above(self) -> set[Path]:
        """Folders that hold something guarded are mounts of their own: else they could be moved away with it."""
        kept = (*self.guarded, *self.barred, *(path for path, _ in self.git.fixed))
        above = {above for path in kept for above in path.parents if _inside(above, self.cwd)}
        return {path for path in above if not any(path.is_relative_to(guarded) for guarded in self.guarded)}

    def _nothing_in(self, folders: Iterable[Path]) -> Iterator[str]:
        for folder in folders:
            yield from ("--size", str(self.memory), "--tmpfs", str(folder))


@contextmanager
def tidied(walls: Walls) -> Iterator[None]:
    """bwrap makes what it must cover, empty, in the project itself. What was not there before is not there after."""
    try:
        with held(walls.git):
            yield
    finally:
        for path in walls.barred:
            with suppress(OSError):  # it is not there, or not empty and so not ours
                path.rmdir()


def build(
    cwd: Path, sessions: Path, runtime: Path, guest: Mapping[str, str], *, net: bool, memory: int, file_size: int
) -> Walls:
    """The walls for a run in `cwd`, whose sessions are kept in `sessions` and whose sockets are in `runtime`.

    `guest` is the environment of what runs in the box: where the user's home and commands are.

    Raises:
        ConfigError: this folder cannot be protected.
    """
    cwd, sessions, homes = cwd.resolve(), sessions.absolute(), _homes(guest)
    places = tuple(sorted({*_hidden(homes), runtime.resolve()}))
    for place in places:
        if place.is_relative_to(cwd):
            what = "others keep things there" if place == cwd else f"it holds {place}"
            raise ConfigError(f"The sandbox cannot protect {cwd}: {what}. Run rlm in a project's folder.")
    git = git_access(cwd, places, guest)
    return Walls(
        cwd=cwd,
        git=git,
        guarded=_guarded(cwd, sessions, git),
        barred=(*git.barred, *(path for name in _GUARDED if not (path := cwd / name).exists())),
        hidden=places,
        shown=tuple(_shown(places, homes, guest.get("PATH", ""), net=net)),
        secrets=tuple(path for path in _secrets() if path.exists()),
        net=net,
        memory=memory,
        file_size=file_size,
    )


def _homes(guest: Mapping[str, str]) -> list[Path]:
    """The user's, by the environment and by the system."""
    homes = [Path(guest["HOME"])] if guest.get("HOME") else []
    with suppress(KeyError):  # a user that the system does not know
        homes.append(Path(pwd.getpwuid(os.getuid()).pw_dir))
    return homes


def _hidden(homes: Iterable[Path]) -> list[Path]:
    """The folders where users, services and other programs keep what is theirs; one that holds another comes first."""
    return sorted({place.resolve() for place in (*map(Path, _PLACES), *homes) if place.is_dir()} - {Path("/")})


def _guarded(cwd: Path, sessions: Path, git: GitAccess) -> tuple[Path, ...]:
    """A link cannot be covered, only what it leads to; and so it could be replaced."""
    of_project = [*(cwd / name for name in _GUARDED), *git.guarded]
    for path in (cwd / ".git", *of_project, sessions):
        if (path in git.guarded or _inside(path, cwd)) and path.is_symlink():
            raise ConfigError(
                f"The sandbox cannot protect {path}, which is a symbolic link. Put its target in its place."
            )
    # of our own Python, what lies in the project: the host goes on to import from it
    inside = (path for path in (*of_project, sessions, *_python()) if _inside(path, cwd))
    return tuple(dict.fromkeys((*inside, *git.guarded)))


def _inside(path: Path, folder: Path) -> bool:
    return path != folder and path.is_relative_to(folder)


def _python() -> list[Path]:
    """The folders that our Python is in, and imports from."""
    said = [sys.prefix, sys.base_prefix, *sys.path]
    return sorted({place for text in said if text for place in (Path(text), Path(text).resolve()) if place.is_dir()})


def _shown(places: Iterable[Path], homes: Iterable[Path], commands: str, *, net: bool) -> Iterator[Path]:
    """What is needed although it lies in a hidden place: our Python, the user's programs and skills."""
    programs = map(Path, filter(None, commands.split(os.pathsep)))
    of_user = (home / name for home in homes for name in (*_TOOLCHAINS, ".agents/skills"))
    resolver = [_RESOLVER.resolve()] if net else []
    for path in dict.fromkeys([*_python(), *programs, *of_user, *resolver]):
        within = any(_inside(path, place) for place in places)
        if within and path.exists() and not any(place.is_relative_to(path) for place in places):
            yield path


def _secrets() -> Iterator[Path]:
    yield from map(Path, _SECRETS)
    with suppress(OSError):
        yield from Path("/etc/ssh").glob("ssh_host_*_key")


def _empty(folders: Iterable[Path]) -> Iterator[str]:
    for folder in folders:
        yield from ("--tmpfs", str(folder), "--remount-ro", str(folder))


def _nothing_to_read(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        yield from ("--ro-bind", os.devnull, str(path))


def _each(option: str, paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        if path.exists():
            yield from (option, str(path), str(path))
