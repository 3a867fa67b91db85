"""Check the contract of a skill on its source: no code of the skill is imported or run.

    <name>/SKILL.md                 its purpose, with front matter (agentskills.io)
    <name>/pyproject.toml           distribution rlm-skill-<name>, one command <name> = "rlm.skill:cli"
    <name>/src/<name>/__init__.py   offers `run`
    <name>/src/<name>/<name>.py     async def run(...), annotated, with a Google docstring

The folder may also be called `rlm-skill-<name>`. A folder with a SKILL.md and no package holds instructions, which
agents read. This module uses only the standard library, so that an installer can run it before anything is installed
(`check.py` in this folder is the command).
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

from .finding import Finding, Level
from .frontmatter import FrontMatterError, read_front_matter
from .names import PREFIX, RULE, printable, suggest_name, wrong_with_name
from .plain import read_text
from .project import check_project, package_folder
from .scaffolding import PLACEHOLDER, template_folder
from .source import check_code

__all__ = ["Finding", "Level", "check_skill", "is_instructions", "skill_name"]

_LONGEST_DESCRIPTION = 1024  # agentskills.io


def skill_name(folder: Path) -> str:
    """Derive a skill's name from its folder, `<name>` or `rlm-skill-<name>`."""
    return folder.name.removeprefix(PREFIX)


def check_skill(directory: str | os.PathLike[str]) -> tuple[Finding, ...]:
    """Check a skill's source tree against the contract.

    Args:
        directory: The folder that holds SKILL.md and pyproject.toml.

    Returns:
        The findings, worst first; empty if there are none. Only `Level.BROKEN` stops a skill from working.
    """
    folder = Path(directory).absolute()  # not resolved: the name of a link counts
    if not folder.is_dir():
        return (Finding(Level.BROKEN, folder, "there is no such folder", "the folder of one skill"),)
    if is_instructions(folder):
        return tuple(_check_instructions(folder))
    name = skill_name(folder)
    wrong = wrong_with_name(name)
    if wrong:
        write = f"a name such as {suggest_name(name)!r} for folder, package and command: {RULE}"
        return (Finding(Level.BROKEN, folder, f"the name {name!r} {wrong}", write),)
    if links := [path for path in _parts(folder, name) if path.is_symlink()]:
        wrong, write = "this is a symbolic link, which is not followed here", "its target in its place"
        return tuple(Finding(Level.BROKEN, path, wrong, write) for path in links)
    findings = [
        *_check_path(folder),
        *check_project(folder / "pyproject.toml", name),
        *check_code(package_folder(folder, name), name),
        *_check_skill_file(folder / "SKILL.md", name),
    ]
    return tuple(sorted(findings, key=lambda finding: finding.level.rank))


def is_instructions(folder: Path) -> bool:
    """Whether a folder holds only a SKILL.md, by the convention of agentskills.io, and is not meant to be a package."""
    name = skill_name(folder)
    of_packages = ("pyproject.toml", "setup.py", "setup.cfg", f"src/{name}", f"{name}/__init__.py")
    return os.path.lexists(folder / "SKILL.md") and not any(os.path.lexists(folder / part) for part in of_packages)


def _check_instructions(folder: Path) -> list[Finding]:
    path = folder / "SKILL.md"
    if printable(str(folder)) != str(folder):
        return [Finding(Level.BROKEN, folder, "the path contains control characters", "a plain path")]
    if not path.resolve().is_relative_to(folder.resolve()):
        return [Finding(Level.BROKEN, path, "this is a link that leads out of the folder", "the file itself")]
    found = _check_skill_file(path, folder.name)
    return [
        replace(finding, level=Level.BROKEN) if finding.line == 1 else finding  # the front matter cannot be read
        for finding in found
    ]


def _parts(folder: Path, name: str) -> list[Path]:
    """The files and folders of a skill that the check reads."""
    package = package_folder(folder, name)
    inside = (package / "__init__.py", package / f"{name}.py")
    return [folder / "SKILL.md", folder / "pyproject.toml", *{folder / "src", package}, *inside]


def _check_path(folder: Path) -> list[Finding]:
    found = []
    if printable(str(folder)) != str(folder):
        found.append(Finding(Level.BROKEN, folder, "the path contains control characters", "a plain path"))
    if program := shutil.which(skill_name(folder), path=os.defpath):  # noqa: TID251 - only looked up, not started
        wrong = f"{program} comes first in a shell, so agents have this skill only as a function"
        found.append(Finding(Level.ADVICE, folder, wrong, "another name everywhere"))
    if "_" in skill_name(folder):
        wrong = "agentskills.io allows no underscore in a name, so other agents will not load this SKILL.md"
        found.append(Finding(Level.ADVICE, folder, wrong, f"{suggest_name(folder.name)!r} everywhere"))
    return found


def _check_skill_file(path: Path, name: str) -> list[Finding]:
    example = f"---, name: {name}, description: what it does and when to use it, --- (a line each)"
    if not os.path.lexists(path):
        return [Finding(Level.INCOMPLETE, path, "there is no SKILL.md", f"one that begins {example}")]
    try:
        front = read_front_matter(read_text(path))
    except (FrontMatterError, UnicodeDecodeError, OSError) as error:
        return [Finding(Level.INCOMPLETE, path, printable(str(error)), example, line=1)]
    found = []
    if front.name.replace("-", "_") != name.replace("-", "_"):
        wrong = f"the name is {front.name!r}" if front.name else "the front matter has no name"
        found.append(Finding(Level.INCOMPLETE, path, wrong, f"name: {name}", line=2))
    if not front.summary:
        wrong = "the front matter has no description"
        found.append(Finding(Level.INCOMPLETE, path, wrong, "description: what it does, when to use it", line=2))
    elif front.description == _template_description(name):
        wrong = "the description is still that of the template, and does not describe this skill"
        found.append(Finding(Level.ADVICE, path, wrong, "what it does, when to use it", line=3))
    elif len(front.description) > _LONGEST_DESCRIPTION:
        wrong = f"the description has {len(front.description)} characters, of which agents see fewer"
        found.append(Finding(Level.ADVICE, path, wrong, f"at most {_LONGEST_DESCRIPTION}", line=2))
    return found


def _template_description(name: str) -> str:
    template = template_folder() / "SKILL.md"
    text = read_text(template) if template.is_file() else ""
    return read_front_matter(text.replace(PLACEHOLDER, name)).description if text else ""
