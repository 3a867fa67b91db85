"""The Python that the prompt names is the project's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rlm.process.interpreter import project_python


def test_an_environment_in_the_project_comes_first_also_from_a_folder_in_it(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True)
    (tmp_path / "uv.lock").touch()
    (tmp_path / ".git").mkdir()
    (tmp_path / "src").mkdir()
    assert project_python(tmp_path, {}) == ".venv/bin/python"
    assert project_python(tmp_path / "src", {}) == f"{tmp_path}/.venv/bin/python"


@pytest.mark.parametrize(("file", "command"), [("uv.lock", "uv run python"), ("poetry.lock", "poetry run python")])
def test_a_lock_file_names_the_runner(tmp_path: Path, file: str, command: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / file).touch()
    assert project_python(tmp_path, {"VIRTUAL_ENV": "/nowhere"}) == command


def test_otherwise_an_active_environment_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "project" / ".git").mkdir(parents=True)
    (tmp_path / "active" / "bin").mkdir(parents=True)
    (tmp_path / "active" / "bin" / "python").touch()
    project, active = tmp_path / "project", f"{tmp_path}/active"
    assert project_python(project, {"CONDA_PREFIX": active}) == f"{active}/bin/python"
    assert project_python(project, {"VIRTUAL_ENV": sys.prefix, "CONDA_PREFIX": "/gone"}) == ""
