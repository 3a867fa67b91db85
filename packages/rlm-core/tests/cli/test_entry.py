"""PYTHONPATH is meant for the user's programs: the host must not import modules from there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rlm_entry import host_path

COMMAND = Path(sys.executable).with_name("rlm")


@pytest.mark.parametrize("name", ["random", "openai", "typing_extensions", "rlm", "json", "asyncio"])
def test_a_module_on_the_users_path_is_not_imported(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("raise ImportError('shadowed')\n")
    env = os.environ | {"PYTHONPATH": ".", "RLM_MODEL": "replay:none.jsonl"}
    done = subprocess.run([COMMAND, "go"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"The recording {tmp_path}/none.jsonl cannot be read" in done.stderr


def test_only_folders_of_the_variable_leave_the_path_and_installed_packages_stay_last() -> None:
    site = str(Path(sys.prefix, "lib", "site-packages"))
    path = ["/bin", "/work", site, "/usr/lib/python3"]
    assert host_path(path, "", (sys.prefix,)) == path
    assert host_path(path, f"/work{os.pathsep}{site}", (sys.prefix,)) == ["/bin", "/usr/lib/python3", site]
