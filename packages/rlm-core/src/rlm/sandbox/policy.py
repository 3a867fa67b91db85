"""The parts of the file system that the sandboxes of a run contain, and how they are mounted. See bwrap(1).

Everything is read-only except the working directory and the agent's runtime folder. Folders with secrets and with
sockets of other programs are empty. Read-only is not enough for them: a program can connect to a socket through a
read-only mount, so /run and /tmp are hidden. Files of the project that could later run programs as the user (hooks,
editor settings) cannot be changed.

The policy is computed once, before the first cell. It holds all that it needs of the host as descriptors. The sandbox
of a sub-agent is created from the same policy, even if the project has changed since then.

Below the working directory, each path with a mount is a mount in every sandbox of the run, and so are the folders above
it. A process in a sandbox cannot rename or remove a mount. So no cell can put a link where the next sandbox will mount
something.
"""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from rlm.sandbox.sealed import program_descriptor
from rlm.sandbox.seccomp import compile_filter
from rlm.sandbox.sources import Source, Sources, resolve_outside

_HIDDEN = ("/tmp", "/run", "/var/tmp", "/home", "/root")  # noqa: S108 - hidden, not used
_SECRETS = (
    *("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/ssl/private"),
    *("/sys/kernel/debug", "/sys/kernel/tracing", "/sys/firmware", "/sys/fs/bpf"),
)
# Root owns them and may write to them, without any capability; bwrap covers those that it knows.
_CONTROLS = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus")
# They describe the machine, and not the sandbox; container engines cover them too.
_OF_MACHINE = ("/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/timer_list")
_GUARDED = (".vscode", ".envrc")
"""A missing one is replaced by an empty folder, which git ignores. See also `rlm.sandbox.git`."""
# In a home: programs that the user has installed there. They contain no data of the user.
_TOOLCHAINS = (
    *(".pyenv", ".rbenv", ".nodenv", ".asdf", ".nvm", ".volta", ".bun", ".deno", ".rustup", ".sdkman", ".ghcup"),
    *("miniconda3", "miniforge3", "anaconda3", "go/bin", ".local/pipx", ".local/lib"),
    *(f".local/share/{name}" for name in ("uv/python", "uv/tools", "mise", "pipx", "pnpm", "fnm", "rtx")),
)

_NAMESPACES = ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup")
_EMPTY = ("--perms", "0555", "--size", "4096")
"""A tmpfs of one page. For a read-only one, bwrap would have to read the table of all mounts again."""
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
        cwd: the working directory. It is writable, except for what `layers` makes read-only.
        hidden: folders that are shown empty, except for `readable` paths and the working directory.
        git: the paths that git may change, and those that it may not.
        bwrap: a descriptor of the program, from `program_descriptor`.
        groups: kills a sandbox that is being created if the host is killed.
        system: arguments of bwrap that do not depend on the project.
        readable: paths that are shown in hidden folders.
        layers: the working directory, and the paths in it with other rights, the outer first. True: writable.
        memory: bytes for each process, and for each temporary folder.
        file_size: bytes for each file.
        system_calls: the filter of system calls.
    """

    cwd: Path
    hidden: tuple[Path, ...]
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
        self,
        run_dir: Source,
        shown: Iterable[Source] = (),
        within: Iterable[Source] = (),
        writable: Iterable[Source] = (),
    ) -> tuple[list[str], list[int]]:
        """Return the arguments of bwrap, and the descriptors that it needs.

        `run_dir` is the agent's folder, and `within` is mounted in it. Only this agent sees `shown` and `writable`.
        """
        mounts = [
            *((source, False) for source in (*self.readable, *shown)),
            (run_dir, True),
            *((source, True) for source in writable),
            *((source, False) for source in within),
            *self.layers,
        ]
        arguments = list(self.system)
        for source, may_write in mounts:
            arguments += ["--bind-fd" if may_write else "--ro-bind-fd", str(source.descriptor), str(source.target)]
        return arguments, [source.descriptor for source, _ in mounts]

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the environment in the sandbox, without project libraries: a process has it before it enters."""
        known = environment.get("LD_LIBRARY_PATH", "").split(os.pathsep)
        kept = [folder for folder in known if folder.startswith("/") and resolve_outside(Path(folder), self.cwd)]
        rest = {name: value for name, value in environment.items() if name != "LD_LIBRARY_PATH"}
        return rest | {SANDBOXED: "1"} | ({"LD_LIBRARY_PATH": os.pathsep.join(kept)} if kept else {})


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
    """Create the policy for a run in `cwd`. Its sessions are in `sessions`, and its sockets in `runtime`.

    `environment` is the environment of programs in the sandbox. It names the user's home and commands. `groups` owns
    the processes. The sandbox never shows the folders in `private`. It always shows the paths in `shown`, also in
    hidden folders.

    Raises:
        ConfigError: a sandbox is unavailable here, or this folder cannot be protected.
    """
    cwd, sessions, homes = files.resolve(cwd), sessions.absolute(), _homes(environment)
    places = {*_hidden(homes), runtime.resolve()}
    apart = {files.resolve(path) for path in private if path.is_dir()}
    hidden = tuple(sorted({*places, *(path for path in apart if not any(map(path.is_relative_to, places)))}))
    _check_folder(cwd, hidden)
    program = _bwrap(environment, (cwd, sessions))
    project = _protected_paths(cwd, sessions, git_access(cwd, hidden, environment))
    with ExitStack() as stack:
        system_calls = compile_filter(os.uname().machine, memory)
        bwrap = stack.enter_context(program_descriptor(program))
        stack.enter_context(_created_folder(sessions) if sessions.is_relative_to(cwd) else ExitStack())
        stack.enter_context(placeholders((*project.barred, *project.guarded), project.fixed))
        sources = stack.enter_context(Sources())
        programs = map(Path, filter(None, environment.get("PATH", "").split(os.pathsep)))
        readable = _readable(cwd, hidden, homes, [*programs, packages_folder(environment), *shown], project, net=net)
        yield SandboxPolicy(
            cwd=cwd,
            hidden=hidden,
            git=project,
            bwrap=bwrap,
            groups=groups,
            system=_system(hidden, runtime.resolve(), memory, net=net),
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
            f"The sandbox needs bubblewrap, which is not installed. Install it: {next(known, _INSTALLERS['apt-get'])}"
        )
    return found


def _homes(environment: Mapping[str, str]) -> list[Path]:
    """Return the user's homes: from the environment, and from the system."""
    homes = [Path(environment["HOME"])] if environment.get("HOME") else []
    with suppress(KeyError):  # a user that the system does not know
        homes.append(Path(pwd.getpwuid(os.getuid()).pw_dir))
    return homes


def _hidden(homes: Iterable[Path]) -> list[Path]:
    """Return the folders of users, services and other programs. A folder comes before the folders that it contains."""
    return sorted({place.resolve() for place in (*map(Path, _HIDDEN), *homes) if place.is_dir()} - {Path("/")})


def _check_folder(cwd: Path, hidden: Iterable[Path]) -> None:
    for place in hidden:
        if place.is_relative_to(cwd):
            what = "other users or programs keep data there" if place == cwd else f"it contains {place}"
            raise ConfigError(f"The sandbox cannot protect {cwd}: {what}. Run rlm in a project's folder.")


def _protected_paths(cwd: Path, sessions: Path, git: GitAccess) -> GitAccess:
    """Add other files that could run programs later. bwrap cannot cover a link, only its target."""
    paths = [cwd / name for name in _GUARDED]
    there = [path for path in paths if os.path.lexists(path)]
    # our own Python, if it is in the project: the host still imports from it
    guarded = [*git.guarded, *there, *(path for path in (sessions, *_python()) if _inside(path, cwd))]
    for path in (cwd / ".git", *guarded):
        if path.is_symlink():
            raise ConfigError(f"The sandbox cannot protect {path}, which is a symbolic link. Replace it by its target.")
    return replace(git, guarded=tuple(guarded), barred=(*git.barred, *(path for path in paths if path not in there)))


@contextmanager
def _created_folder(path: Path) -> Iterator[None]:
    """Create the folder, since only existing paths can be covered. Remove it again if it stays empty."""
    missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    with suppress(OSError):
        os.close(files.open_folder(path, make=True))
    try:
        yield
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()  # by path: this removes only an empty folder


# ---- the content of a sandbox


def _system(hidden: Sequence[Path], runtime: Path, memory: int, *, net: bool) -> tuple[str, ...]:
    # the runtime folder needs no mount of its own inside another folder that is mounted empty
    empty = [place for place in hidden if place != runtime or not any(_inside(runtime, each) for each in hidden)]
    named = [Path(text) for text in (*_SECRETS, *_OF_MACHINE)]
    with suppress(OSError):
        named += Path("/etc/ssh").glob("ssh_host_*_key")
    # Files that this user cannot read need no mount: no cell has more rights than this user. A mount costs 0.2 ms.
    secrets = [path for path in named if os.access(path, os.R_OK) or os.access(path, os.X_OK)]
    return (
        *_NAMESPACES,
        *(() if net else ("--unshare-net",)),
        *("--cap-drop", "ALL", "--new-session", "--die-with-parent"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
        *("--size", str(memory), "--perms", "1777", "--tmpfs", "/dev/shm", "--remount-ro", "/dev"),  # noqa: S108
        *(word for path in _CONTROLS if Path(path).exists() for word in ("--ro-bind", path, path)),
        *(word for path in empty for word in ("--size", str(memory), "--tmpfs", str(path))),
        *(word for path in secrets if path.is_dir() for word in (*_EMPTY, "--tmpfs", str(path))),
        *(word for path in secrets if not path.is_dir() for word in ("--ro-bind", os.devnull, str(path))),
    )


def _python() -> list[Path]:
    """Return the folders that contain our Python, and those that it imports from."""
    said = [sys.prefix, sys.base_prefix, *sys.path]
    return sorted({place for text in said if text for place in (Path(text), Path(text).resolve()) if place.is_dir()})


def _readable(
    cwd: Path, hidden: Iterable[Path], homes: Iterable[Path], named: Iterable[Path], project: GitAccess, *, net: bool
) -> dict[Path, Path]:
    """Return paths in hidden folders that a cell needs, with their real paths: our Python, programs, skills."""
    of_user = (home / name for home in homes for name in (*_TOOLCHAINS, ".agents/skills"))
    resolver = [_RESOLVER.resolve()] if net else []
    found: dict[Path, Path] = {}
    for path in sorted({*_python(), *named, *of_user, *project.readable, *resolver}):
        within = any(_inside(path, place) for place in hidden)
        real = resolve_outside(path, cwd) if within else None
        if real is None or not os.access(real, os.F_OK):
            continue
        if any(above in found and found[above] / path.relative_to(above) == real for above in path.parents):
            continue  # a parent folder is shown already
        if not any(place.is_relative_to(each) for place in hidden for each in (path, real)):
            found[path] = real
    return found


def _layers(cwd: Path, project: GitAccess) -> dict[Path, bool]:
    """Return the mounts in the project. True: writable. The module docstring says why parent folders are mounts too."""
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
