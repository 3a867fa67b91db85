"""Invalid skills, strangers that own our names on an index, and files that are not ours."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # at run time only pytest imports conftest.py
    from tests.install.conftest import Home, Skills

pytestmark = pytest.mark.timeout(600)  # several real installations, on a machine that may be busy


def offer(folder: Path, name: str, version: str = "99.0") -> None:
    """Build a wheel of a stranger, with one of our names, and a command."""
    stem = name.replace("-", "_")
    info = f"{stem}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{stem}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{stem}_stranger.py", "def main() -> None:\n    print('stranger')\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name} = {stem}_stranger:main\n")
        wheel.writestr(f"{info}/RECORD", f"{info}/RECORD,,\n")


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    folder = tmp_path / "strangers"
    folder.mkdir()
    for name in ("rlm", "rlm-core", "rlm-skill", "rlm-skill-say", "rlm-skill-greet", "rlm-skill-other"):
        offer(folder, name)
    return folder


def test_packages_on_an_index_never_replace_ours_even_without_sources(
    home: Home, skills: Skills, strangers: Path
) -> None:
    skills.write("greet")
    links = f"--find-links {strangers}"
    offered = home.run("uv", "tool", "run", *links.split(), "rlm")
    assert offered.out == "stranger\n", offered.err  # so strangers would be installed if nothing prevented it
    home.knowing(RLM_SKILLS_DIR=skills.path, RLM_EXTRA_UV_ARGS=links, UV_NO_SOURCES="1").install()
    assert not list(home.packages.glob("*stranger*"))
    assert home.call("rlm", "--version").startswith("rlm ")
    assert home.call("greet") == "hello\n"


def test_a_dependency_on_a_package_of_a_stranger_fails_the_installation(home: Home, strangers: Path) -> None:
    extra = f"--find-links {strangers} --with rlm-skill-other"
    done = home.knowing(RLM_EXTRA_UV_ARGS=extra).try_install()
    assert done.code == 1
    assert "not a wheel of this checkout or of a skill here: rlm-skill-other 99.0 (from a package index)" in done.err
    assert home.commands == set()


def bad_toml(skills: Skills) -> None:
    (skills.write("badtoml") / "pyproject.toml").write_text("[project\n")


def injected_arguments(skills: Skills) -> None:
    project = skills.write("evil") / "pyproject.toml"
    project.write_text(project.read_text().replace("rlm-skill-evil", "rlm-skill-evil --index-url http://127.0.0.1:9"))


def evaluated_text(skills: Skills) -> None:
    project = skills.write("shelly") / "pyproject.toml"
    marker = skills.path.parent / "evaluated"
    project.write_text(project.read_text().replace('"rlm-skill-shelly"', f"'$(touch {marker})`touch {marker}`'"))


def no_source(skills: Skills) -> None:
    folder = skills.write("hollow")
    (folder / "src").rename(folder / "lost")


def script_named_rlm(skills: Skills) -> None:
    skills.write("taker", scripts='rlm = "rlm.skill:cli"')


def one_script_too_many(skills: Skills) -> None:
    skills.write("greedy", scripts='greedy = "rlm.skill:cli"\ngit = "rlm.skill:cli"')


def name_that_is_not_one(skills: Skills) -> None:
    skills.write("twonames").rename(skills.path / "two names; touch evaluated")


def name_that_paints(skills: Skills) -> None:
    skills.write("painter").rename(skills.path / "painter\n\x1b[31mred")


def unknown_dependency(skills: Skills) -> None:
    skills.write("lonely", project='dependencies = ["rlm-skill", "no-such-distribution-of-rlm"]')


def failing_build(skills: Skills) -> None:
    project = skills.write("broken") / "pyproject.toml"
    project.write_text(project.read_text().replace('["hatchling"]', '["no-such-distribution-of-rlm"]'))


def stranger_under_our_name(skills: Skills) -> None:
    skills.write("needy", project='dependencies = ["rlm-skill", "rlm-skill-other"]')


def second_of_its_name(skills: Skills) -> None:
    skills.write("pair", says="second").rename(skills.path / "rlm-skill-pair")
    skills.write("pair", says="first")


def command_of_somebody_else(skills: Skills) -> None:
    skills.write("taken")


def instructions_without_front_matter(skills: Skills) -> None:
    (skills.path / "plain-text").mkdir()
    (skills.path / "plain-text/SKILL.md").write_text("Do it well.")


def instructions_that_lead_out(skills: Skills) -> None:
    (skills.path / "leads-out").mkdir()
    (skills.path / "leads-out/SKILL.md").symlink_to(skills.path / "greet/SKILL.md")


def instructions_of_a_pipe(skills: Skills) -> None:
    (skills.path / "pipe").mkdir()
    os.mkfifo(skills.path / "pipe/SKILL.md")


BAD: dict[str, Callable[..., None]] = {
    "badtoml": bad_toml,
    "evil": injected_arguments,
    "shelly": evaluated_text,
    "hollow": no_source,
    "taker": script_named_rlm,
    "greedy": one_script_too_many,
    "two names; touch evaluated": name_that_is_not_one,
    "painter": name_that_paints,
    "lonely": unknown_dependency,
    "broken": failing_build,
    "needy": stranger_under_our_name,
    "rlm-skill-pair": second_of_its_name,
    "taken": command_of_somebody_else,
    "plain-text": instructions_without_front_matter,
    "leads-out": instructions_that_lead_out,
    "pipe": instructions_of_a_pipe,
}


OWN_COMMAND = """
async def run(query: str = "", **_: object) -> str:
    return query

def main() -> None:
    print("by its own command")
"""


def test_bad_skills_are_named_with_a_reason_and_left_out_and_good_ones_installed(
    home: Home, skills: Skills, strangers: Path
) -> None:
    """With an index that offers packages of strangers under our names."""
    skills.write("greet")
    skills.write("say", says="mine")
    zeal = skills.write("zeal", project='dependencies = ["rlm"]', scripts='zeal = "zeal.zeal:main"')
    (zeal / "src/zeal/zeal.py").write_text(OWN_COMMAND)
    for spoil in BAD.values():
        spoil(skills)
    (skills.path / "__pycache__").mkdir()
    home.bin.mkdir(parents=True)
    (home.bin / "taken").symlink_to("/somewhere/else")
    done = home.knowing(
        RLM_SKILLS_DIR=skills.path, RLM_EXTRA_UV_ARGS=f"--find-links {strangers}"
    ).install_but_for_some_skills()
    refused = [line for line in done.err.splitlines() if " refused: " in line]
    assert len(refused) == len(BAD)
    assert [name for name in BAD if not any(name in line for line in refused)] == []
    assert all(line.partition(" refused: ")[2] for line in refused)
    assert "\x1b" not in done.err
    assert "rlm: skill rlm-skill-pair refused: another folder holds a skill of that name" in done.err
    assert f"skill taken refused: {home.bin}/taken is there already and is not ours" in done.err
    assert "rlm: skill needy refused: it does not install: " in done.err
    assert "rlm-skill-other 99.0" in done.err
    assert "with the skills: greet pair say zeal" in done.err
    assert home.commands == {"rlm", "greet", "pair", "say", "zeal", "taken"}
    assert (home.bin / "taken").readlink() == Path("/somewhere/else")
    assert not list(home.packages.glob("*stranger*"))
    assert home.call("pair") == "first\n"
    assert home.call("say") == "mine\n", "a skill may have the name of a workspace member"
    assert home.call("zeal") == "by its own command\n"
    assert home.call("rlm", "--version").startswith("rlm ")
    assert not list(skills.path.parent.rglob("evaluated"))


def test_strict_changes_nothing_when_a_skill_is_refused_nor_is_anything_changed_where_a_file_is_not_ours(
    home: Home, skills: Skills
) -> None:
    skills.write("greet")
    home = home.knowing(RLM_SKILLS_DIR=skills.path)
    home.install("--strict")
    before = home.state
    bad_toml(skills)
    by_the_check = home.try_install("--strict")
    shutil.rmtree(skills.path)
    skills.write("greet")
    unknown_dependency(skills)
    by_the_rehearsal = home.knowing(RLM_SKILLS_STRICT="1").try_install()
    for done in (by_the_check, by_the_rehearsal):
        assert done.code == 1
        assert done.last == "rlm: nothing changed: --strict (RLM_SKILLS_STRICT=1) allows no refused skill"
    assert home.state == before
    (home.bin / "rlm").unlink()
    (home.bin / "rlm").write_text("mine")
    before = home.state
    done = home.try_install()
    assert done.code == 1
    assert done.last.startswith(f"rlm: {home.bin}/rlm is there already and is not ours: ")
    assert home.state == before
