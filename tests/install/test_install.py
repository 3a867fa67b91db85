"""What an installation contains, and that a new one follows its sources."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # at run time only pytest imports conftest.py
    from tests.install.conftest import Files, Home, Skills

pytestmark = pytest.mark.timeout(600)  # several real installations, on a machine that may be busy


def origins(home: Home) -> dict[str, dict[str, Any]]:
    found = {}
    for record in home.packages.glob("rlm*.dist-info/direct_url.json"):
        found[record.parent.name.partition("-")[0]] = json.loads(record.read_text())
    return found


def test_a_fresh_home_gets_rlm_and_its_skills_as_wheels_from_this_checkout(
    home: Home, skills: Skills, listing: Callable[[Path], Files]
) -> None:
    skills.write("greet")
    before = listing(home.checkout)
    done = home.knowing(RLM_SKILLS_DIR=skills.path).install()
    assert home.call("rlm", "--version").startswith("rlm ")
    assert home.call("greet") == "hello\n"
    assert home.commands == {"rlm", "greet"}
    assert {name: origin["url"] for name, origin in origins(home).items()} == {
        "rlm": home.checkout.as_uri(),
        "rlm_core": (home.checkout / "packages/rlm-core").as_uri(),
        "rlm_skill": (home.checkout / "packages/rlm-skill").as_uri(),
        "rlm_skill_greet": (skills.path / "greet").as_uri(),
    }
    assert not any(
        origin["dir_info"] for origin in origins(home).values()
    )  # an editable installation would be recorded there
    assert done.out == ""
    assert f'export PATH="{home.bin}:$PATH"' in done.err
    assert done.last == f"rlm: now run:  {home.bin}/rlm demo"
    assert listing(home.checkout) == before
    assert not list(home.checkout.rglob("__pycache__"))
    assert not list(home.tools.glob(".rlm-install.*/"))
    moved = [path for path in home.tool.rglob("*") if path.is_file() and path.suffix not in (".pyc", ".so")]
    assert not [path for path in moved if b".rlm-install." in path.read_bytes()], (
        "no file names the temporary environment of the rehearsal"
    )
    assert home.run("uv", "tool", "list").out == "rlm v0.1.0\n- greet\n- rlm\n"


def test_changed_added_and_removed_skills_are_followed_and_so_is_the_checkout(
    home: Home, skills: Skills, copy_checkout: Callable[[str], Path]
) -> None:
    home = home.knowing(RLM_SKILLS_DIR=skills.path, RLM_CHECKOUT_PATH=copy_checkout("mine"))
    skills.write("stays")
    skills.write("goes")
    for name in ("release-notes", "old-notes"):
        (skills.path / name / "scripts").mkdir(parents=True)
        (skills.path / name / "scripts/help").write_text("help")
        (skills.path / name / "SKILL.md").write_text(f"---\nname: {name}\ndescription: How.\n---\n")
    (skills.path / "old-notes/outside").symlink_to("/etc/passwd")
    done = home.install("--with", "tabulate", "--with=six>=1")
    assert (home.notes / "old-notes/outside").is_symlink(), "the target of the link is not copied"
    assert "rlm: instructions (a SKILL.md alone): old-notes release-notes\n" in done.err
    assert "rlm: packages for cells: tabulate six>=1\n" in done.err
    assert "\nold-notes " in home.call("rlm", "skills")
    assert {path.name for path in home.notes.glob("*/scripts/help")} == {"help"}
    skills.write("stays", says="changed")
    skills.write("comes")
    shutil.rmtree(skills.path / "goes")
    shutil.rmtree(skills.path / "old-notes")
    (skills.path / "release-notes/SKILL.md").write_text("---\nname: release-notes\ndescription: Changed.\n---\n")
    (skills.path / "comes/src/comes/comes.py").write_text("import no_such_module\nasync def run(): ...\n")
    (Path(home.env["RLM_CHECKOUT_PATH"]) / "packages/rlm-core/src/rlm/added.py").write_text("")
    done = home.install()
    assert "with the skills: comes stays" in done.err
    assert "the skill comes cannot be imported: ModuleNotFoundError: No module named 'no_such_module'" in done.err
    assert home.call("stays") == "changed\n"
    assert home.commands == {"rlm", "stays", "comes"}
    assert not list(home.packages.glob("*goes*"))
    assert (home.packages / "rlm/added.py").exists()
    assert [path.name for path in home.notes.iterdir()] == ["release-notes"]
    assert "    Changed.\n" in home.call("rlm", "skills")
    assert (home.packages / "six.py").exists(), "the packages of --with are kept"
    home.install("--with", "")
    assert not (home.packages / "six.py").exists()


def test_a_second_installation_gives_the_same_even_without_the_old_environment_and_uninstalling_removes_it(
    home: Home, skills: Skills
) -> None:
    skills.write("greet")
    home = home.knowing(RLM_SKILLS_DIR=skills.path, PATH=f"{home.bin}:{home.env['PATH']}")
    first = home.install()
    names = [set(part) for part in home.state]
    shutil.rmtree(home.tool)
    second = home.install()
    assert [set(part) for part in home.state] == names
    assert second.err == first.err
    assert second.last == "rlm: now run:  rlm demo"
    assert "PATH" not in second.err
    assert home.call("greet") == "hello\n"
    (home.bin / "other").write_text("mine")
    (home.tools / "ruff").mkdir()
    (home.path / ".rlm/sessions").mkdir(parents=True)
    home.install("--uninstall")
    assert home.commands == {"other"}
    assert [path.name for path in home.tools.iterdir() if path.is_dir()] == ["ruff"]
    assert (home.path / ".rlm/sessions").exists()
    home.install("--uninstall")


def test_an_installation_by_uv_alone_is_replaced_even_if_the_folders_have_two_names(home: Home, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (home.path / ".local").symlink_to(tmp_path / "elsewhere")
    by_uv = home.run("uv", "tool", "install", home.checkout)
    assert by_uv.code == 0, by_uv.err
    done = home.install("--demo")
    assert "rlm: installed rlm" in done.err
    assert "recorded" in done.out + done.err, "the demo runs directly after the installation"
    assert home.commands == {"rlm"}
    assert home.call("rlm", "--version")


def test_paths_may_hold_blanks_and_every_other_awkward_character(
    home: Home, skills: Skills, copy_checkout: Callable[[str], Path], tmp_path: Path
) -> None:
    awkward = "a b,c#d%41é'(x)~[y]$HOME@q;&"
    checkout = copy_checkout(f"checkout {awkward}")
    shutil.move(skills.path, tmp_path / f"skills {awkward}")
    away = type(skills)(tmp_path / f"skills {awkward}")
    away.write("greet")
    user = tmp_path / f"home {awkward}"
    user.mkdir()
    home = type(home)(user, checkout, home.env | {"HOME": str(user), "RLM_SKILLS_DIR": str(away.path)})
    home.install()
    assert home.call("greet") == "hello\n"
    assert home.call("rlm", "--version")


def test_folders_and_python_can_be_chosen_and_arguments_are_passed_on_to_uv(home: Home, tmp_path: Path) -> None:
    home = home.knowing(XDG_DATA_HOME=tmp_path / "elsewhere/data")
    marker = tmp_path / "evaluated"
    home.knowing(RLM_EXTRA_UV_ARGS=f"--with\n tabulate   --no-sources-package $(touch${{IFS}}{marker})").try_install()
    assert not marker.exists(), "arguments are not evaluated by a shell"
    home.knowing(RLM_EXTRA_UV_ARGS="--with\n tabulate").install()
    assert home.commands == {"rlm"}, "in ~/.local/bin, even if the data home is elsewhere"
    assert list(home.packages.glob("tabulate-*"))
    assert (tmp_path / "elsewhere/data/uv/tools/rlm/uv-receipt.toml").exists()
    assert not (home.path / ".local/share").exists()
    assert not (tmp_path / "elsewhere/bin").exists()
    home.knowing(UV_TOOL_BIN_DIR=tmp_path / "b").install()
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["rlm"]
    assert home.commands == set(), "the commands move with their folder"
    python = Path(sys.executable).resolve()
    (home.path / ".local").rename(tmp_path / "away")
    home = home.knowing(UV_TOOL_DIR=tmp_path / "t", UV_TOOL_BIN_DIR=tmp_path / "b2", RLM_TOOL_PYTHON=python)
    home.install()
    assert not (home.path / ".local").exists()
    assert home.call("rlm", "--version")
    assert (tmp_path / "t/rlm/bin/python").resolve() == python


def test_the_working_directory_has_no_influence_and_is_not_changed(
    home: Home,
    skills: Skills,
    copy_checkout: Callable[[str], Path],
    listing: Callable[[Path], Files],
    tmp_path: Path,
) -> None:
    """In a git worktree with an active environment, from a project's folder, and with another rlm on PATH."""
    checkout, project, other = (tmp_path / name for name in ("tree", "project", "other"))
    git = ["git", "-C", str(copy_checkout("mine")), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for words in ("init -q", "add .", "commit -qm x", f"worktree add -q {checkout}"):
        subprocess.run([*git, *words.split()], check=True, capture_output=True)
    assert (checkout / ".git").is_file()
    assert home.run("uv", "venv", "--python", Path(sys.executable).resolve(), checkout / ".venv").code == 0
    for folder in (project, other):
        folder.mkdir()
    (project / "uv.toml").write_text("[[[")
    (project / "pyproject.toml").write_text("[[[")
    (project / ".python-version").write_text("2.7")
    (project / "hatchling.py").write_text("raise SystemExit('hijacked')")
    (other / "rlm").write_text("#!/bin/sh\n")
    (other / "rlm").chmod(0o755)
    skills.write("greet")
    before = [listing(folder) for folder in (checkout, project)]
    options = home.knowing(
        PATH=f"{checkout}/.venv/bin:{other}:{home.bin}:{home.env['PATH']}",
        VIRTUAL_ENV=checkout / ".venv",
        UV_PROJECT_ENVIRONMENT=checkout / ".venv",
        RLM_CHECKOUT_PATH=checkout,
        PYTHONPATH=project,
        UV_PROJECT="/no/such",
        UV_WORKING_DIRECTORY="/no/such",
        RLM_SKILLS_DIR="../skills",
    )
    done = options.install(cwd=project)
    assert f"another rlm comes first on your PATH: {other}/rlm" in done.err
    assert home.call("greet") == "hello\n"
    assert [listing(folder) for folder in (checkout, project)] == before
    assert ".venv" not in (home.tool / "pyvenv.cfg").read_text() + (home.tool / "uv-receipt.toml").read_text()


def test_it_restarts_itself_with_bash_if_another_shell_runs_it(home: Home) -> None:
    done = home.run("dash", home.checkout / "install.sh", "--help")
    assert done.code == 0, done.err
    assert done.out.startswith("usage: ./install.sh")


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["--sudo"], {}, "unknown argument --sudo; see ./install.sh --help"),
        (["--with"], {}, "--with needs a package, such as --with pandas"),
        (["--with", "--index-url=x"], {}, "--with takes the name of a package, not --index-url=x"),
        ([], {"RLM_SKILLS_DIR": "/no/such/folder"}, "RLM_SKILLS_DIR names no folder: /no/such/folder"),
        ([], {"RLM_SKILLS_DIR": "/no/\x1b[31m"}, "RLM_SKILLS_DIR names no folder: /no/[31m"),
        ([], {"RLM_CHECKOUT_PATH": "/no/such/folder"}, "RLM_CHECKOUT_PATH names no folder: /no/such/folder"),
        ([], {"RLM_CHECKOUT_PATH": "/"}, "/ is no checkout of rlm: run install.sh from one, or set RLM_CHECKOUT_PATH"),
    ],
)
def test_wrong_usage_is_reported_in_a_line_and_changes_nothing(
    home: Home, arguments: list[str], variables: dict[str, str], message: str
) -> None:
    done = home.knowing(**variables).try_install(*arguments)
    assert (done.code, done.err) == (2, f"rlm: {message}\n")
    assert home.commands == set()


def test_the_test_command_sets_the_development_environment_up_and_hands_arguments_to_pytest(
    home: Home, copy_checkout: Callable[[str], Path]
) -> None:
    checkout = copy_checkout("mine")
    done = home.knowing(RLM_CHECKOUT_PATH=checkout).install("--test", "--version")
    assert done.out.startswith("pytest ")
    assert (checkout / ".venv/bin/rlm").exists()
    assert home.commands == set()


def test_each_member_of_the_workspace_is_in_a_folder_of_its_name(snapshot: Path) -> None:
    """The installer maps a name to its folder without reading any pyproject.toml."""
    members = tomllib.loads((snapshot / "uv.lock").read_text())["manifest"]["members"]
    assert {"rlm", *(folder.name for folder in (snapshot / "packages").iterdir())} == set(members)
