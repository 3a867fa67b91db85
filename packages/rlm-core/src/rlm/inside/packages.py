"""`%pip`: packages for the kernels.

rlm's own environment may be read-only, may be replaced at the next update, and must not be broken. So packages go into
a folder of the user's, which comes after rlm's own on the search path; what rlm has itself is a constraint, so that
nothing is installed that needs another version of it.
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

ELSEWHERE = "[That is for the shell's Python. This kernel has rlm's own: `%pip install` (and uninstall) is for it.]"


def add_to_path() -> None:
    """Let cells import from the folders, and do what their .pth files say."""
    for folder in _folders():
        if folder.is_dir():
            site.addsitedir(str(folder))
    importlib.invalidate_caches()


def _folders() -> list[Path]:
    """The one to install into first. In a sandbox the user's is read-only, or would be lost with it."""
    users = packages_folder(os.environ)
    return [Path(tempfile.gettempdir(), "rlm-packages"), users] if SANDBOXED in os.environ else [users]


def installs_elsewhere(command: str) -> bool:
    """Whether a shell command installs or removes packages of another Python than the kernel's."""
    return _SHELL_INSTALL.search(command) is not None and not _PLACED.search(command)


def pip(shell: Any, line: str) -> None:
    """`%pip line`. Places that the line names itself are left alone."""
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
    """One command that asks each place of packages; what the shell does with the output, it does with all of it."""
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
    """None where a quote is not closed, of which the shell complains."""
    with suppress(ValueError):
        return shlex.split(text)
    return []


def _show(names: list[str], flags: str) -> str:
    """Each package where it lies: uv looks into one place at a time, and complains of what lies in another."""
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
    """pip asks the search path, and has no option for a folder with `show`, `check` and `inspect`."""
    return f"PYTHONPATH={shlex.quote(os.pathsep.join(map(str, folders)))} " if folders and not _uv() else ""


def _install(shell: Any, verb: str, rest: str) -> None:
    folder = _folders()[0]
    if trouble := _unwritable(folder):
        print(f"%pip cannot install here: {folder}: {trouble}.")
        return
    own = Path(shell.profile_dir.location, "constraints.txt")
    own.parent.mkdir(parents=True, exist_ok=True)
    found = metadata.distributions(path=site.getsitepackages())
    # what rlm's environment holds; not rlm itself: on an index its names are other people's
    held = {dist.name: dist.version for dist in found if dist.name and not dist.name.startswith("rlm")}
    own.write_text("".join(f"{name}=={version}\n" for name, version in sorted(held.items())))
    shell.system(f"{_command(verb)} {verb} {_into(folder)} --constraint {shlex.quote(str(own))}{rest}")
    add_to_path()
    if shell.user_ns.get("_exit_code") == 0:
        whom = "rlm's kernels, this one and later ones"
        if SANDBOXED in os.environ:
            whom = "this agent alone: it goes with the sandbox"
        print(f"[for {whom}, in {folder}]")
    elif [name for _, name in socket.if_nameindex()] == ["lo"]:
        print("[there is no network here; in a sandbox --sandbox-net allows it]")


def _uninstall(words: list[str]) -> None:
    """pip removes nothing from a folder that is no environment: so what the package says of its files goes."""
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
        with suppress(OSError):  # it holds more, such as what was compiled
            folder.rmdir()


def _unwritable(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return "" if os.access(folder, os.W_OK) else "it is read-only"


def _uv() -> str:
    """Where there is no pip: uv, as install.sh finds it. Empty if there is none."""
    if find_spec("pip"):
        return ""
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    places = (data / "rlm" / "uv" / "uv", home / ".local" / "bin" / "uv", home / ".cargo" / "bin" / "uv")
    return shutil.which("uv") or next((str(path) for path in places if os.access(path, os.X_OK)), "")


def _command(line: str) -> str:
    """pip; where there is none, `uv pip`, or the copy of pip that Python brings for new environments."""
    python = shlex.quote(sys.executable)
    if uv := _uv():
        # pip trusts the certificates of the system, uv its own by default: proxies of companies need the former
        of_system = "true" if ssl.get_default_verify_paths().cafile else "false"
        command = f"UV_SYSTEM_CERTS={of_system} {shlex.quote(uv)}"
        return command if line.strip() in {"--version", "-V"} else f"{command} pip"
    bundled = [] if find_spec("pip") else _bundled()
    return f"{python} {shlex.quote(str(bundled[0]))}/pip" if bundled else f"{python} -m pip"


def _bundled() -> list[Path]:
    """What `ensurepip` installs; distributions such as Debian keep it in a folder of their own (PEP 453)."""
    own, theirs = Path(os.__file__).parent / "ensurepip/_bundled", sysconfig.get_config_var("WHEEL_PKG_DIR")
    return [wheel for folder in (own, theirs) if folder for wheel in Path(folder).glob("pip-*.whl")]


def _python() -> str:
    return f"--python {shlex.quote(sys.executable)}" if _uv() else ""


def _into(folder: Path, of_pip: str = "--target") -> str:
    return f"{'--target' if _uv() else of_pip} {shlex.quote(str(folder))} {_python()}"
