"""What the sandboxes of a run are made of: which parts of the file system are in them, and how. See bwrap(1).

The world is read-only, but for the working directory and the agent's runtime folder. Places that hold others' secrets
and sockets are empty: a socket with a path stays reachable through a read-only mount, so /run and /tmp are hidden and
not only protected. What in the project could act on its user later (hooks, settings of an editor) cannot be changed.

The policy is computed once, before the first cell, and holds all that it needs of the host as descriptors. A
sub-agent's sandbox is made from the same value, whatever has become of the project by then. Below the working
directory, each place where something is mounted is a mount in every sandbox of the run, and so is each folder on the
way: nobody in a sandbox can rename or remove a mount, so no cell can put a link where the next sandbox is mounted.
"""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rlm.errors import ConfigError
from rlm.process import files
from rlm.process.interpreter import SANDBOXED, packages_folder
from rlm.process.programs import find_program
from rlm.process.supervisor import ProcessGroups
from rlm.sandbox.git import GitAccess, git_access
from rlm.sandbox.placeholders import placeholders
from rlm.sandbox.sealed import held_program
from rlm.sandbox.seccomp import compile_filter
from rlm.sandbox.sources import Source, Sources, resolve_outside

_PLACES = ("/tmp", "/run", "/var/tmp", "/home", "/root")  # noqa: S108 - hidden, not used
_SECRETS = (
    *("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/ssl/private"),
    *("/sys/kernel/debug", "/sys/kernel/tracing", "/sys/firmware", "/sys/fs/bpf"),
)
# Root may write to them by owning them, without any capability; bwrap covers those that it knows of.
_CONTROLS = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus")
# They describe the machine and not the sandbox; container engines cover them too.
_OF_MACHINE = ("/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/timer_list")
_GUARDED = (".vscode", ".envrc")
"""Where they are missing, empty folders stand in their place, which git does not see. See also `rlm.sandbox.git`."""
# In a home: programs that the user has installed there, and nothing that is the user's own.
_TOOLCHAINS = (
    *(".pyenv", ".rbenv", ".nodenv", ".asdf", ".nvm", ".volta", ".bun", ".deno", ".rustup", ".sdkman", ".ghcup"),
    *("miniconda3", "miniforge3", "anaconda3", "go/bin", ".local/pipx", ".local/lib"),
    *(f".local/share/{name}" for name in ("uv/python", "uv/tools", "mise", "pipx", "pnpm", "fnm", "rtx")),
)

_NAMESPACES = ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup")
_EMPTY = ("--perms", "0555", "--size", "4096")
"""A tmpfs of one page: to make it read-only, bwrap would read the table of all mounts once more."""
_RESOLVER = Path("/etc/resolv.conf")
_INSTALLERS = {
    "apt-get": "apt-get install bubblewrap",
    "dnf": "dnf install bubblewrap",
    "zypper": "zypper install bubblewrap",
    "pacman": "pacman -S bubblewrap",
    "apk": "apk add bubblewrap",
}


@dataclass(frozen=True, slots=True)
class SandboxPolicy:
    """The sandboxes of all agents of a run.

    Args:
        cwd: the folder that can be written, with all that is in it but what is read-only in `layers`.
        git: what git needs, and what it must not get.
        bwrap: a descriptor of the program, as `held_program` gives it.
        groups: what kills a sandbox that is being made when we are killed.
        system: arguments of bwrap for all that does not depend on the project.
        readable: seen in hidden places.
        layers: the working directory and what is in it that differs, the outer first; whether it can be written.
        memory: bytes that a process may have, and a temporary folder may hold.
        file_size: bytes that may be written to one file.
        system_calls: the filter for them.
    """

    cwd: Path
    git: GitAccess
    bwrap: int
    groups: ProcessGroups
    system: tuple[str, ...]
    readable: tuple[Source, ...]
    layers: tuple[tuple[Source, bool], ...]
    memory: int
    file_size: int
    system_calls: bytes

    def arguments(
        self, run_dir: Source, shown: Iterable[Source] = (), within: Iterable[Source] = ()
    ) -> tuple[list[str], list[int]]:
        """For bwrap, and the descriptors that it needs. `run_dir` is the agent's own, with what is seen `within` it.

        This agent alone sees what is `shown`.
        """
        mounts = [
            *((source, False) for source in (*self.readable, *shown)),
            (run_dir, True),
            *((source, False) for source in within),
            *self.layers,
        ]
        arguments = list(self.system)
        for source, writable in mounts:
            arguments += ["--bind-fd" if writable else "--ro-bind-fd", str(source.descriptor), str(source.target)]
        return arguments, [source.descriptor for source, _ in mounts]

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Of what runs in the sandbox. It is that of who enters too, outside: no library may come from the project."""
        known = environment.get("LD_LIBRARY_PATH", "").split(os.pathsep)
        kept = [folder for folder in known if folder.startswith("/") and resolve_outside(Path(folder), self.cwd)]
        rest = {name: value for name, value in environment.items() if name != "LD_LIBRARY_PATH"}
        return rest | {SANDBOXED: "1"} | ({"LD_LIBRARY_PATH": os.pathsep.join(kept)} if kept else {})

    def sees(self, path: Path) -> bool:
        """Whether an absolute path is in the project: it is seen as the project is, and not shown besides."""
        return path.is_relative_to(self.cwd)


@contextmanager
def open_policy(
    cwd: Path,
    sessions: Path,
    runtime: Path,
    environment: Mapping[str, str],
    groups: ProcessGroups,
    *,
    net: bool,
    memory: int,
    file_size: int,
    private: Iterable[Path] = (),
    shown: Iterable[Path] = (),
) -> Iterator[SandboxPolicy]:
    """The policy for a run in `cwd`, whose sessions are kept in `sessions` and whose sockets are in `runtime`.

    `environment` is that of what runs in the sandbox: where the user's home and commands are. `groups` owns its
    processes. `private` are folders of the host alone, wherever they are. What is `shown` can be read though it lies in
    a hidden place.

    Raises:
        ConfigError: there is no sandbox here, or this folder cannot be protected.
    """
    cwd, sessions, homes = files.resolve(cwd), sessions.absolute(), _homes(environment)
    places = {*_hidden(homes), runtime.resolve()}
    apart = {files.resolve(path) for path in private if path.is_dir()}
    hidden = tuple(sorted({*places, *(path for path in apart if not any(map(path.is_relative_to, places)))}))
    _check(cwd, hidden)
    program = _bwrap(environment, (cwd, sessions))
    project = _project(cwd, sessions, git_access(cwd, hidden, environment))
    with ExitStack() as stack:
        system_calls = compile_filter(os.uname().machine, memory)
        bwrap = stack.enter_context(held_program(program))
        stack.enter_context(_folder(sessions) if sessions.is_relative_to(cwd) else ExitStack())
        stack.enter_context(placeholders((*project.barred, *project.guarded), project.fixed))
        sources = stack.enter_context(Sources())
        programs = map(Path, filter(None, environment.get("PATH", "").split(os.pathsep)))
        readable = _readable(cwd, hidden, homes, [*programs, packages_folder(environment), *shown], project, net=net)
        yield SandboxPolicy(
            cwd=cwd,
            git=project,
            bwrap=bwrap,
            groups=groups,
            system=_system(_seen_empty(hidden, runtime.resolve()), memory, net=net),
            readable=tuple(sources.open(real, path) for path, real in readable.items()),
            layers=tuple((sources.open(path), writable) for path, writable in _layers(cwd, project).items()),
            memory=memory,
            file_size=file_size,
            system_calls=system_calls,
        )


def _bwrap(environment: Mapping[str, str], avoid: Iterable[Path]) -> Path:
    found = find_program("bwrap", environment.get("PATH", os.defpath), avoid)
    if found is None:
        known = (command for name, command in _INSTALLERS.items() if shutil.which(name, path=os.defpath))
        raise ConfigError(
            f"The sandbox needs bubblewrap, which is not here. Install it: {next(known, _INSTALLERS['apt-get'])}"
        )
    return found


def _homes(environment: Mapping[str, str]) -> list[Path]:
    """The user's, by the environment and by the system."""
    homes = [Path(environment["HOME"])] if environment.get("HOME") else []
    with suppress(KeyError):  # a user that the system does not know
        homes.append(Path(pwd.getpwuid(os.getuid()).pw_dir))
    return homes


def _hidden(homes: Iterable[Path]) -> list[Path]:
    """The folders where users, services and other programs keep what is theirs; one that holds another comes first."""
    return sorted({place.resolve() for place in (*map(Path, _PLACES), *homes) if place.is_dir()} - {Path("/")})


def _seen_empty(hidden: Iterable[Path], runtime: Path) -> list[Path]:
    """Each is a mount. The runtime folder needs none where it lies in another; a home must be there to be one."""
    places = list(hidden)
    within = any(_inside(runtime, place) for place in places)
    return [place for place in places if place != runtime or not within]


def _check(cwd: Path, hidden: Iterable[Path]) -> None:
    for place in hidden:
        if place.is_relative_to(cwd):
            what = "others keep things there" if place == cwd else f"it holds {place}"
            raise ConfigError(f"The sandbox cannot protect {cwd}: {what}. Run rlm in a project's folder.")


def _project(cwd: Path, sessions: Path, git: GitAccess) -> GitAccess:
    """With what else acts on the user later. A link cannot be covered, only what it leads to."""
    paths = [cwd / name for name in _GUARDED]
    there = [path for path in paths if os.path.lexists(path)]
    # of our own Python, what lies in the project: the host goes on to import from it
    guarded = [*git.guarded, *there, *(path for path in (sessions, *_python()) if _inside(path, cwd))]
    for path in (cwd / ".git", *guarded):
        if path.is_symlink():
            raise ConfigError(
                f"The sandbox cannot protect {path}, which is a symbolic link. Put its target in its place."
            )
    return replace(git, guarded=tuple(guarded), barred=(*git.barred, *(path for path in paths if path not in there)))


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """It must be there to be covered. One that stays empty goes again; a file in its place is for others to tell."""
    made = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    with suppress(OSError):
        os.close(files.open_folder(path, make=True))
    try:
        yield
    finally:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()  # by path: none but an empty one


# ---- what is in it


def _system(hidden: Iterable[Path], memory: int, *, net: bool) -> tuple[str, ...]:
    named = [Path(text) for text in (*_SECRETS, *_OF_MACHINE)]
    with suppress(OSError):
        named += Path("/etc/ssh").glob("ssh_host_*_key")
    # Nobody has more rights in a sandbox than outside, and each mount takes bwrap a fifth of a millisecond.
    secrets = [path for path in named if os.access(path, os.R_OK) or os.access(path, os.X_OK)]
    return (
        *_NAMESPACES,
        *(() if net else ("--unshare-net",)),
        *("--cap-drop", "ALL", "--new-session", "--die-with-parent"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
        *("--size", str(memory), "--perms", "1777", "--tmpfs", "/dev/shm", "--remount-ro", "/dev"),  # noqa: S108
        *(word for path in _CONTROLS if Path(path).exists() for word in ("--ro-bind", path, path)),
        *(word for path in hidden for word in ("--size", str(memory), "--tmpfs", str(path))),
        *(word for path in secrets if path.is_dir() for word in (*_EMPTY, "--tmpfs", str(path))),
        *(word for path in secrets if not path.is_dir() for word in ("--ro-bind", os.devnull, str(path))),
    )


def _python() -> list[Path]:
    """The folders that our Python is in, and imports from."""
    said = [sys.prefix, sys.base_prefix, *sys.path]
    return sorted({place for text in said if text for place in (Path(text), Path(text).resolve()) if place.is_dir()})


def _readable(
    cwd: Path, hidden: Iterable[Path], homes: Iterable[Path], named: Iterable[Path], project: GitAccess, *, net: bool
) -> dict[Path, Path]:
    """What is needed although it lies in a hidden place (our Python, the user's programs, skills), and where it is."""
    of_user = (home / name for home in homes for name in (*_TOOLCHAINS, ".agents/skills"))
    resolver = [_RESOLVER.resolve()] if net else []
    found: dict[Path, Path] = {}
    for path in sorted({*_python(), *named, *of_user, *project.readable, *resolver}):
        within = any(_inside(path, place) for place in hidden)
        real = resolve_outside(path, cwd) if within else None
        if real is None or not os.access(real, os.F_OK) or _is_seen(path, real, found):
            continue
        if not any(place.is_relative_to(each) for place in hidden for each in (path, real)):
            found[path] = real
    return found


def _is_seen(path: Path, real: Path, found: Mapping[Path, Path]) -> bool:
    """Whether a folder above shows it too."""
    return any(above in found and found[above] / path.relative_to(above) == real for above in path.parents)


def _layers(cwd: Path, project: GitAccess) -> dict[Path, bool]:
    """What can be written in the project, and what not. See the module."""
    kept = (*project.guarded, *project.barred, *(path for path, _ in project.fixed))
    wanted = dict.fromkeys((cwd, *project.writable), True)
    wanted |= dict.fromkeys(filter(os.path.lexists, kept), False)
    layers: dict[Path, bool] = {}
    for path in sorted(wanted):
        for above in reversed(path.parents):
            nearest = next((layers[folder] for folder in above.parents if folder in layers), False)
            if above not in layers and nearest:
                layers[above] = True
        layers[path] = wanted[path]
    return layers


def _inside(path: Path, folder: Path) -> bool:
    return path != folder and path.is_relative_to(folder)
