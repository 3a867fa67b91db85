"""Installations without a user: in sandboxes, for other users, and without uv or a network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rlm_testkit.scripted import Scripted, by_turn, call, text

if TYPE_CHECKING:  # at run time only pytest imports conftest.py
    from tests.install.conftest import Home, Skills

pytestmark = pytest.mark.timeout(600)  # several real installations, on a machine that may be busy

USUAL_SKILLS = "/task/rlm-skills"


UNATTENDED = """
set -e
sed "s|/task/rlm-skills|$TASK/skills|g" "$TASK/rlm/install.sh" > "$TASK/install.sh"
RLM_CHECKOUT_PATH="$TASK/rlm" UV_INSTALL_DIR="$TASK/uv" UV_TOOL_BIN_DIR="$HOME/.local/bin" UV_TOOL_DIR="$TASK/tools" \
    RLM_EXTRA_UV_ARGS="--with tabulate" bash "$TASK/install.sh"
export PATH="$HOME/.local/bin:$PATH"
command -v rlm
greet
cd "$TASK/work"
rlm "$(cat "$TASK/instruction.txt")"
"""


def test_the_sequence_of_an_unattended_harness_works_on_a_machine_without_uv(
    home: Home, skills: Skills, copy_checkout: Callable[[str], Path], path_without_uv: Path, tmp_path: Path
) -> None:
    skills.write("greet")
    task = tmp_path / "task"
    task.mkdir()
    shutil.move(copy_checkout("rlm"), task / "rlm")
    assert (task / "rlm/install.sh").read_text().count(USUAL_SKILLS) == 1, "sed must change the whole text"
    shutil.move(skills.path, task / "skills")
    (task / "work").mkdir()
    (task / "instruction.txt").write_text("What is 6 * 7?\n")
    with Scripted(by_turn(call("ipython", code="6 * 7"), text("It is 42."))) as server:
        bare = home.knowing(PATH=path_without_uv, TASK=task, OPENAI_API_KEY="k", OPENAI_BASE_URL=server.url)
        done = bare.run("bash", "-c", UNATTENDED)
        again = bare.run("bash", "-c", UNATTENDED)
    assert (done.code, again.code) == (0, 0), done.err + again.err
    assert done.out == f"{home.path}/.local/bin/rlm\nhello\nIt is 42.\n"
    assert "fetching one from the Python package index" in done.err
    assert "fetching" not in again.err
    assert (task / "uv/uv").exists()
    assert server.requests[1].last.strip() == "42"
    assert {request.headers["x-rlm-depth"] for request in server.requests} == {"0"}
    metas = [json.loads(meta.read_text()) for meta in task.glob("work/.rlm/sessions/*/meta.json")]
    assert len(metas) == 2
    for meta in metas:
        assert meta["metrics"]["turns"] == 2
        assert all(type(value) in (int, float) for value in meta["metrics"].values())


OLD_PYTHON = """#!/bin/sh
# Makes a venv, as Python 3.6 does, whose pip finds nothing on today's index.
mkdir -p "$4/bin"
printf '#!/bin/sh\\necho "No matching distribution found" >&2\\nexit 1\\n' >"$4/bin/python"
chmod +x "$4/bin/python"
"""


def test_a_uv_that_is_too_old_is_left_alone_and_a_newer_one_fetched_by_the_first_python_that_can(
    home: Home, path_without_uv: Path, tmp_path: Path
) -> None:
    first, old = tmp_path / "first", tmp_path / "old"
    first.mkdir()
    (first / "python3").write_text(OLD_PYTHON)
    (first / "python3").chmod(0o755)
    (first / "python3.12").symlink_to((path_without_uv / "python3").resolve())
    fetched = home.run("uv", "pip", "install", "--target", old, "uv==0.11.6")
    assert fetched.code == 0, fetched.err
    before = (old / "bin/uv").stat()
    home = home.knowing(PATH=f"{first}:{old}/bin:{path_without_uv}", UV_INSTALL_DIR=old / "bin")
    done = home.install()
    assert "found no uv 0.11.8 or newer" in done.err
    assert (old / "bin/uv").stat().st_mtime_ns == before.st_mtime_ns
    assert (home.path / ".local/share/rlm/uv/uv").exists()
    assert home.call("rlm", "--version")
    home.install("--uninstall")
    assert not (home.path / ".local/share/rlm/uv").exists()


def test_without_uv_and_without_an_index_it_says_what_is_missing(
    home: Home, path_without_uv: Path, tmp_path: Path
) -> None:
    offline = home.knowing(PATH=path_without_uv, PIP_NO_INDEX=1, PIP_FIND_LINKS=tmp_path, PIP_CONFIG_FILE="/dev/null")
    done = offline.try_install()
    assert done.code == 1
    assert done.last.startswith("rlm: cannot fetch uv: it takes python3 with venv and pip")


@pytest.fixture
def wheelhouse(open_folder: Path, snapshot: Path, home: Home) -> Path:
    """The wheels of all dependencies of an installation from this checkout."""
    needed = home.run(
        "uv", "export", "--frozen", "--no-dev", "--no-hashes", "--no-emit-workspace", "--project", snapshot
    )
    assert needed.code == 0, needed.err
    (open_folder / "needed.txt").write_text(needed.out + "hatchling\n")
    words = ["--with", "pip", "python", "-m", "pip", "download", "--quiet", "--only-binary", ":all:"]
    done = home.run(
        *["uv", "run", "--no-project", *words, "-d", open_folder / "wheels", "-r", open_folder / "needed.txt"]
    )
    assert done.code == 0, done.err
    return open_folder / "wheels"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_installs_from_a_wheelhouse_without_a_network(
    home: Home, snapshot: Path, skills: Skills, wheelhouse: Path, open_folder: Path
) -> None:
    """As the user `nobody`."""
    shutil.copytree(snapshot, open_folder / "checkout")
    skills.write("greet")
    shutil.move(skills.path, open_folder / "skills")
    shutil.copy(Path(home.env["PATH"].partition(":")[0]) / "uv", open_folder / "uv")
    user = open_folder / "home"
    user.mkdir()
    away = type(home)(user, open_folder / "checkout", home.env).knowing(
        HOME=user,
        PATH=f"{open_folder}:/usr/local/bin:/usr/bin:/bin",
        XDG_CONFIG_HOME=user / ".config",
        UV_CACHE_DIR=user / "cache",
        UV_PYTHON_INSTALL_DIR=user / "python",
        RLM_SKILLS_DIR=open_folder / "skills",
        RLM_EXTRA_UV_ARGS=f"--offline --no-index --find-links {wheelhouse}",
    )
    os.chown(user, 65534, 65534)
    be = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = away.run(*be, "bash", away.checkout / "install.sh")
    assert done.code == 0, done.err
    assert away.run(*be, away.bin / "greet").out == "hello\n"
    assert away.run(*be, away.bin / "rlm", "--version").code == 0
