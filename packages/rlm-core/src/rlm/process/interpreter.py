"""Which Python a project has, known by what lies in its folder; and where rlm's kernels have their packages.

Nothing of the project is read or run.
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
    """The command that runs it; empty if the project says nothing of it, and it is whatever `python` is."""
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


# ---- packages of rlm's kernels: the host shows their folder to sandboxes, `%pip` writes there, kernels import from it


SANDBOXED = "RLM_SANDBOXED"
"""A variable that is set in a sandbox, where that folder is read-only."""


def packages_folder(environment: Mapping[str, str]) -> Path:
    """The user's, for this minor version of Python. Outside rlm's own environment, so that it outlives an update."""
    home = environment.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where there is none
    data = Path(environment.get("XDG_DATA_HOME") or Path(home, ".local", "share"))
    return data / "rlm" / "packages" / f"{sys.version_info.major}.{sys.version_info.minor}"
