"""The check as a command: for people, and for an installer that has only a Python without packages."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rlm.skill.check
from rlm.skill import scaffold

BY_PATH = [sys.executable, "-I", "-S", rlm.skill.check.__file__]  # -S: no installed package can be imported
AS_MODULE = [sys.executable, "-m", "rlm.skill.check"]


def check(*words: str | Path, command: list[str] = BY_PATH, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *words], check=False, capture_output=True, text=True, timeout=60, **options)


def described(folder: Path) -> Path:
    """Replace the template's description."""
    card = folder / "SKILL.md"
    card.write_text(card.read_text().replace("description: Count", "description: Say how many there are. Count"))
    return folder


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return described(scaffold("wordy", tmp_path))


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    folder = described(scaffold("hollow", tmp_path))
    (folder / "src").rename(folder / "lost")
    return folder


@pytest.fixture
def incomplete(tmp_path: Path) -> Path:
    folder = scaffold("terse", tmp_path)
    (folder / "SKILL.md").unlink()
    return folder


@pytest.mark.parametrize("command", [BY_PATH, AS_MODULE], ids=["by its path", "as a module"])
def test_a_good_skill_is_ok(good: Path, command: list[str]) -> None:
    done = check(good, command=command)
    assert (done.returncode, done.stdout, done.stderr) == (0, "wordy: ok\n", "")


@pytest.mark.parametrize("command", [BY_PATH, AS_MODULE], ids=["by its path", "as a module"])
def test_findings_are_printed_with_status_1(good: Path, bad: Path, incomplete: Path, command: list[str]) -> None:
    done = check(good, bad, incomplete, command=command)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "wordy: ok",
        f"{bad}/src/hollow: broken: there is no package 'hollow' here, so an empty wheel would be built; "
        "write src/hollow/__init__.py and src/hollow/hollow.py",
        "hollow: 1 to fix",
        f"{incomplete}/SKILL.md: incomplete: there is no SKILL.md; write one that begins "
        "---, name: terse, description: what it does and when to use it, --- (a line each)",
        "terse: 1 to fix",
    ]


def test_advice_alone_is_no_failure(tmp_path: Path) -> None:
    done = check(scaffold("web_search", tmp_path))
    assert done.returncode == 0
    assert ": advice: " in done.stdout
    assert done.stdout.endswith("web_search: ok\n")


def test_no_folder_is_a_usage_error() -> None:
    assert check().returncode == 2


def test_the_installer_gets_a_line_for_each_skill(good: Path, bad: Path, incomplete: Path) -> None:
    done = check("--lines", good, bad, incomplete)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"ok\twordy\t{good}",
        f"refused\t{bad}\tsrc/hollow: broken: there is no package 'hollow' here, so an empty wheel would be built; "
        "write src/hollow/__init__.py and src/hollow/hollow.py",
        f"ok\tterse\t{incomplete}",
    ]
    assert "there is no SKILL.md" in done.stderr


def test_several_reasons_are_on_one_line(bad: Path) -> None:
    (bad / "pyproject.toml").write_text("[project\n")
    line = check("--lines", bad).stdout
    assert line.count("\n") == 1
    assert "pyproject.toml:1: broken: " in line
    assert " | src/hollow: broken: " in line


@pytest.mark.parametrize("name", ["tab\there", "line\nbreak", "\x1b[31mred", "del\x7f", "line\u2028break"])
def test_a_hostile_path_cannot_forge_a_line(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for skill in (folder, scaffold("wordy", folder)):
        line = check("--lines", skill).stdout
        assert line.count("\t") == 2
        assert line.rstrip("\n").replace("\t", "").isprintable()
        assert line.startswith("refused\t")


def test_a_path_with_spaces_and_letters_of_the_world_is_fine(tmp_path: Path) -> None:
    folder = tmp_path / "my skills – été"
    folder.mkdir()
    assert check("--lines", scaffold("wordy", folder)).stdout == f"ok\twordy\t{folder}/wordy\n"


def test_a_strangers_rlm_on_the_path_is_not_taken_for_ours(good: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "rlm"
    stranger.mkdir()
    (stranger / "__init__.py").write_text("raise RuntimeError('a stranger')")
    command = [sys.executable, rlm.skill.check.__file__]
    done = check(good, command=command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "wordy: ok\n", "")
