"""Finds the Python of a project by the files in its folder, and the package folder of rlm's kernels.

No file of the project is read or run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_ENVIRONMENTS = (".venv", "venv", "env")
_RUNNERS = (
    ("uv.lock", "uv run python"),
    ("pixi.toml", "pixi run python"),
    ("pixi.lock", "pixi run python"),
    ("poetry.lock", "poetry run python"),
    ("pdm.lock", "pdm run python"),
    ("Pipfile", "pipenv run python"),
)


def project_python(cwd: Path, environment: Mapping[str, str]) -> str:
    """Return the command that runs the project's Python; empty if the project does not define one: use `python`."""
    for folder in (cwd, *cwd.parents):
        if found := _of_folder(folder):
            return found.removeprefix(f"{cwd}/")
        if _there(folder / ".git"):
            break
    active = (environment.get(variable, "") for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"))
    pythons = (f"{place}/bin/python" for place in active if place and place != sys.prefix and place.isprintable())
    return next((python for python in pythons if _there(Path(python))), "")


def _of_folder(folder: Path) -> str:
    for name in _ENVIRONMENTS:
        if _there(folder / name / "bin" / "python") and _there(folder / name / "pyvenv.cfg"):
            return str(folder / name / "bin" / "python")
    return next((command for name, command in _RUNNERS if _there(folder / name)), "")


def _there(path: Path) -> bool:
    try:
        path.lstat()
    except (OSError, ValueError):
        return False
    return True


# ---- packages of rlm's kernels: sandboxes can see their folder, `%pip` writes there, kernels import from it


SANDBOXED = "RLM_SANDBOXED"
"""A variable that is set in a sandbox, where that folder is read-only."""


def packages_folder(environment: Mapping[str, str]) -> Path:
    """Return the user's folder for this minor version of Python, outside rlm's environment: it survives updates."""
    home = environment.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises if there is none
    data = Path(environment.get("XDG_DATA_HOME") or Path(home, ".local", "share"))
    return data / "rlm" / "packages" / f"{sys.version_info.major}.{sys.version_info.minor}"
