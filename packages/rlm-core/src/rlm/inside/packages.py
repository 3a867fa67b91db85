"""`%pip`: install packages for the kernels.

rlm's own environment may be read-only, the next update may replace it, and it must not be broken. So packages go into a
folder of the user, which comes after rlm's own on the search path. rlm's own packages are constraints, so pip installs
nothing that needs other versions of them.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import site
import socket
import ssl
import sys
import sysconfig
import tempfile
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rlm.process.interpreter import SANDBOXED, packages_folder

_VERB = re.compile(
    r"\s*((?:-\S+\s+)*)(install|sync|uninstall|list|freeze|show|check|tree|inspect|compile)\b(.*)", re.DOTALL
)
_SHELL = re.compile(r"\s*\d?[|;&<>].*|\s#.*", re.DOTALL)
_PLACED = re.compile(r"(?:^|\s)(?:-t|--target|--prefix|--root|--python|--system|--path)\b")
_USER = re.compile(r"(?:^|\s)--user\b")
_SHELL_INSTALL = re.compile(
    r"(?:^|[;&|(]\s*|-m\s+|\buv\s+|\bsudo\s+)(?:\S*/)?(?:pip[\d.]*|conda|mamba)\s+(?:un)?install\b", re.MULTILINE
)

ELSEWHERE = (
    "[This command uses the shell's Python. The kernel uses rlm's own Python: use `%pip install` (or uninstall).]"
)


def add_to_path() -> None:
    """Let cells import from the package folders, and process the .pth files there."""
    for folder in _folders():
        if folder.is_dir():
            site.addsitedir(str(folder))
    importlib.invalidate_caches()


def _folders() -> list[Path]:
    """Return the package folders, the one to install into first.

    In a sandbox the user's folder is read-only, or would be lost with the sandbox.
    """
    users = packages_folder(os.environ)
    return [Path(tempfile.gettempdir(), "rlm-packages"), users] if SANDBOXED in os.environ else [users]


def installs_elsewhere(command: str) -> bool:
    """Return whether a shell command installs or removes packages of a Python other than the kernel's."""
    return _SHELL_INSTALL.search(command) is not None and not _PLACED.search(command)


def pip(shell: Any, line: str) -> None:
    """Run `%pip line`. A line that names a target folder or a Python runs unchanged."""
    found = _VERB.fullmatch(line)
    if found is None or _PLACED.search(line):
        shell.system(f"{_command(line)} {line}")
        return
    options, verb, rest = found.groups()
    rest = f" {options}{rest}"
    if verb in {"install", "sync"}:
        _install(shell, verb, _USER.sub(" ", rest))
    elif verb == "uninstall" and not _uv():
        _uninstall(shlex.split(rest))
    elif verb == "uninstall":
        shell.system(f"{_command(line)} uninstall {_into(_folders()[0])}{rest}")
    else:
        shell.system(_query(verb, rest))
    importlib.invalidate_caches()


def _query(verb: str, rest: str) -> str:
    """Return one shell command that queries each package folder. A pipe or redirection applies to the whole output."""
    behind = _SHELL.search(rest)
    tail = behind[0] if behind else ""
    options = rest.removesuffix(tail)
    if verb in {"list", "freeze"}:
        asked = [f"{_command(verb)} {verb} {_python()}{options}"]
        asked += [f"{_command(verb)} {verb} {_into(folder, '--path')}{options}" for folder in _folders()]
        commands = " && ".join(asked)
    elif verb == "show" and (names := [word for word in _words(options) if not word.startswith("-")]):
        commands = _show(names, shlex.join(word for word in _words(options) if word.startswith("-")))
    else:
        commands = f"{_searching(_folders())}{_command(verb)} {verb} {_python()}{options}"
    return f"{{ {commands}\n}}{tail}"


def _words(text: str) -> list[str]:
    """Split a text into words. Empty if a quote is not closed; the shell reports that."""
    with suppress(ValueError):
        return shlex.split(text)
    return []


def _show(names: list[str], flags: str) -> str:
    """Query each package in its own folder: uv searches one folder at a time, and calls the other packages missing."""
    commands = []
    for folder in (None, *_folders()):
        there = site.getsitepackages() if folder is None else [str(folder)]
        here = [name for name in names if any(metadata.distributions(path=there, name=name))]
        names = [name for name in names if name not in here]
        if here:
            place = _python() if folder is None or not _uv() else _into(folder)
            prefix = _searching([folder] if folder else [])
            commands.append(f"{prefix}{_command('show')} show {place} {flags} {shlex.join(here)}")
    shown = " && echo --- && ".join(commands) or ":"
    missing = shlex.quote(f"Package(s) not found: {', '.join(names)}")
    return f"{shown} && {{ echo {missing} >&2; false; }}" if names else shown


def _searching(folders: list[Path]) -> str:
    """Add folders to the search path of pip: its `show`, `check` and `inspect` have no option for a folder."""
    return f"PYTHONPATH={shlex.quote(os.pathsep.join(map(str, folders)))} " if folders and not _uv() else ""


def _install(shell: Any, verb: str, rest: str) -> None:
    folder = _folders()[0]
    if trouble := _unwritable(folder):
        print(f"%pip cannot install here: {folder}: {trouble}.")
        return
    own = Path(shell.profile_dir.location, "constraints.txt")
    own.parent.mkdir(parents=True, exist_ok=True)
    found = metadata.distributions(path=site.getsitepackages())
    # the packages of rlm's environment, without rlm itself: on an index its names belong to other people
    held = {dist.name: dist.version for dist in found if dist.name and not dist.name.startswith("rlm")}
    own.write_text("".join(f"{name}=={version}\n" for name, version in sorted(held.items())))
    shell.system(f"{_command(verb)} {verb} {_into(folder)} --constraint {shlex.quote(str(own))}{rest}")
    add_to_path()
    if shell.user_ns.get("_exit_code") == 0:
        whom = "rlm's kernels, this one and later ones"
        if SANDBOXED in os.environ:
            whom = "this agent only: removed with the sandbox"
        print(f"[for {whom}, in {folder}]")
    elif [name for _, name in socket.if_nameindex()] == ["lo"]:
        print("[no network here; in a sandbox, --sandbox-net allows it]")


def _uninstall(words: list[str]) -> None:
    """Remove the files that a package lists: pip removes nothing from a folder that is not an environment."""
    place = _folders()[0]
    for name in [word for word in words if not word.startswith("-")]:
        found = list(metadata.distributions(path=[str(place)], name=name))
        for package in found:
            print(f"Uninstalling {package.name} {package.version} from {place}")
            _remove([Path(str(package.locate_file(file))) for file in package.files or ()])
        if not found:
            print(f"{name} is not installed in {place}")


def _remove(files: list[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
    for folder in sorted({file.parent for file in files}, reverse=True):
        with suppress(OSError):  # it is not empty: it holds compiled files, for example
            folder.rmdir()


def _unwritable(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return "" if os.access(folder, os.W_OK) else "it is read-only"


def _uv() -> str:
    """Return the path of uv if there is no pip, found as install.sh finds it. Empty if pip exists, or uv does not."""
    if find_spec("pip"):
        return ""
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    places = (data / "rlm" / "uv" / "uv", home / ".local" / "bin" / "uv", home / ".cargo" / "bin" / "uv")
    return shutil.which("uv") or next((str(path) for path in places if os.access(path, os.X_OK)), "")


def _command(line: str) -> str:
    """Return the command for pip; without pip, `uv pip`, or the copy of pip that Python has for new environments."""
    python = shlex.quote(sys.executable)
    if uv := _uv():
        # by default pip trusts the system's certificates and uv its own; company proxies need the system's
        of_system = "true" if ssl.get_default_verify_paths().cafile else "false"
        command = f"UV_SYSTEM_CERTS={of_system} {shlex.quote(uv)}"
        return command if line.strip() in {"--version", "-V"} else f"{command} pip"
    bundled = [] if find_spec("pip") else _bundled()
    return f"{python} {shlex.quote(str(bundled[0]))}/pip" if bundled else f"{python} -m pip"


def _bundled() -> list[Path]:
    """Return the wheels that `ensurepip` installs. Some distributions, as Debian, have them elsewhere (PEP 453)."""
    own, theirs = Path(os.__file__).parent / "ensurepip/_bundled", sysconfig.get_config_var("WHEEL_PKG_DIR")
    return [wheel for folder in (own, theirs) if folder for wheel in Path(folder).glob("pip-*.whl")]


def _python() -> str:
    return f"--python {shlex.quote(sys.executable)}" if _uv() else ""


def _into(folder: Path, of_pip: str = "--target") -> str:
    return f"{'--target' if _uv() else of_pip} {shlex.quote(str(folder))} {_python()}"
