"""The steps of docs/skills.md."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rlm.skill import check_skill, scaffold

if TYPE_CHECKING:  # at run time only pytest imports conftest.py
    from tests.conftest import SkillBench

PAGE = (Path(__file__).parents[3] / "docs" / "skills.md").read_text()


def blocks(language: str, beginning: str = "") -> list[str]:
    return re.findall(rf"```{language}\n({re.escape(beginning)}.*?)```", PAGE, re.S)


@pytest.fixture
def vowels(tmp_path: Path, bench: SkillBench) -> Path:
    """The skill after an author has written the three files of the page."""
    folder = scaffold("vowels", tmp_path / "skills")
    for file in ("src/vowels/vowels.py", "tests/test_vowels.py"):
        (block,) = blocks("python", f"# {file}\n")
        (folder / file).write_text(block)
    (card,) = blocks("markdown")
    (folder / "SKILL.md").write_text(card)
    (tmp_path / "vowels").symlink_to(folder / "src" / "vowels")
    bench.command("vowels")
    return folder


def test_the_skill_of_the_page_keeps_the_contract_and_passes_its_tests(vowels: Path) -> None:
    assert check_skill(vowels) == ()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=vowels, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_the_commands_of_the_page_print_what_it_says(vowels: Path, bench: SkillBench) -> None:
    (session,) = blocks("console")
    steps = re.findall(r"\$ vowels (.*)\n((?:[^$].*\n)*)", session)
    assert len(steps) == 2
    for words, expected in steps:
        assert list(bench.call("vowels", *shlex.split(words))) == [0, expected, ""]


def test_the_cell_and_the_program_of_the_page_run(vowels: Path, tmp_path: Path, bench: SkillBench) -> None:
    (cell,), (program,) = blocks("python", "# cell\n"), blocks("python", "# program\n")
    lines = ["import asyncio, rlm.skill, vowels", "rlm.skill.make_callable(vowels)", "async def cell():"]
    lines += [f"    {line}" for line in cell.splitlines()]
    lines += ["    print(counts, await run(['sky']))", "asyncio.run(cell())", program]
    lines += ["print(tool['function']['name'], len(findings))"]
    (tmp_path / "page.py").write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, tmp_path / "page.py"],
        cwd=vowels.parent,
        env=bench.environment(),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("{'hello': 2, 'sky': 0} {'sky': 0}\nvowels 0\n", "")
