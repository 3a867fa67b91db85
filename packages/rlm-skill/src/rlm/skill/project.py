"""Check a skill's pyproject.toml: it must install as rlm-skill-<name>, with one command <name>."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .finding import Finding, Level
from .names import PREFIX, normalised
from .plain import read_text

TARGET = "rlm.skill:cli"
_OWN = {"rlm", "rlm-core", "rlm-skill"}
_PROJECT = r"\[project\]"
_BUILD = (r"\[tool\.hatch\.build\.targets\.wheel\]", r"\[build-system\]")


def check_project(path: Path, name: str) -> list[Finding]:
    """Check the pyproject.toml of the skill `name`."""
    if not path.is_file():
        wrong = "there is no pyproject.toml"
        return [Finding(Level.BROKEN, path, wrong, "one, as in a new skill (`rlm skills new NAME`)")]
    try:
        text = read_text(path)
        document = tomllib.loads(text)
    except (ValueError, OSError, RecursionError) as error:
        place = re.search(r"\(at line (\d+)", str(error))
        line = int(place[1]) if place else None
        return [Finding(Level.BROKEN, path, f"this is not valid TOML: {error}", "valid TOML", line)]
    project = document.get("project")
    if not isinstance(project, dict):
        return [Finding(Level.BROKEN, path, "there is no table [project]", f'[project] with name = "{PREFIX}{name}"')]
    file = _File(path, text)
    return [
        *_check_identity(file, project, name),
        *_check_scripts(file, project, name),
        *_check_dependencies(file, project),
        *_check_contents(file, document, name),
    ]


def package_folder(folder: Path, name: str) -> Path:
    """The package's folder in the source tree: in src, or beside pyproject.toml."""
    flat = folder / name
    return flat if (flat / "__init__.py").is_file() and not (folder / "src" / name).exists() else folder / "src" / name


class _File:
    """A file that findings refer to."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._lines = text.splitlines()

    def finding(self, level: Level, wrong: str, write: str, *near: str) -> Finding:
        """Make a finding at the first line that begins with one of the patterns `near`, the preferred one first."""
        numbered = list(enumerate(self._lines, 1))
        lines = (number for each in near for number, text in numbered if re.match(rf"\s*{each}", text))
        return Finding(level, self.path, wrong, write, next(lines, None))


def _check_identity(file: _File, project: dict[str, Any], name: str) -> Iterator[Finding]:
    distribution = project.get("name")
    if not isinstance(distribution, str) or normalised(distribution) != normalised(PREFIX + name):
        wrong = f"the distribution is {distribution!r}" if distribution else "the distribution has no name"
        write = f'name = "{PREFIX}{name}", to match the folder'
        yield file.finding(Level.BROKEN, wrong, write, r"name\s*=", _PROJECT)
    if "version" not in project and "version" not in _listed(project.get("dynamic")):
        yield file.finding(Level.BROKEN, "there is no version", 'version = "0.1.0"', _PROJECT)


def _check_scripts(file: _File, project: dict[str, Any], name: str) -> Iterator[Finding]:
    write = f'[project.scripts] with the one line {name} = "{TARGET}"'
    scripts = {**_table(project.get("scripts")), **_table(project.get("gui-scripts"))}
    if {"scripts", "gui-scripts", "entry-points"} & {*_listed(project.get("dynamic"))}:
        wrong = "the commands are created when the package is built, so they cannot be checked"
        yield file.finding(Level.BROKEN, wrong, write, r"dynamic\s*=")
    if name not in scripts:
        wrong = f"there is no command {name!r}"
        yield file.finding(Level.BROKEN, wrong, write, r"\[project\.scripts\]", _PROJECT)
    elif scripts[name] != TARGET:
        wrong = f"the command {name!r} runs {scripts[name]!r}, so rlm does not control its flags or count its calls"
        yield file.finding(Level.ADVICE, wrong, write, _key(name))
    for other in sorted(scripts.keys() - {name}):
        wrong = f"the command {other!r} does not belong to the skill, and may replace another one"
        yield file.finding(Level.BROKEN, wrong, write, _key(other))


def _check_dependencies(file: _File, project: dict[str, Any]) -> Iterator[Finding]:
    near = (r"dependencies\s*=", _PROJECT)
    dependencies = {_required(entry): entry for entry in _listed(project.get("dependencies"))}
    if "rlm-skill" not in dependencies and "dependencies" not in _listed(project.get("dynamic")):
        level = Level.ADVICE if "rlm" in dependencies else Level.INCOMPLETE
        wrong = "it does not depend on rlm-skill, which brings its command"
        yield file.finding(level, wrong, 'dependencies = ["rlm-skill"]', *near)
    for own in sorted(_OWN & dependencies.keys()):
        if "@" in dependencies[own]:
            wrong = f"it takes {own} from its own source, which conflicts with the installed one"
            yield file.finding(Level.BROKEN, wrong, f'"{own}"', *near)


def _check_contents(file: _File, document: dict[str, Any], name: str) -> Iterator[Finding]:
    """Check the list of packages that two backends need: by default they look for src/rlm_skill_<name>."""
    tools = _table(document.get("tool"))
    backend = str(_table(document.get("build-system")).get("build-backend"))
    if backend.startswith("hatchling"):
        yield from _check_hatch(file, _in(tools, "hatch", "build"), name)
    elif backend == "uv_build" and _in(tools, "uv", "build-backend").get("module-name") != name:
        wrong = f"uv_build would look for src/rlm_skill_{name}"
        yield file.finding(Level.BROKEN, wrong, f'[tool.uv.build-backend] module-name = "{name}"', _BUILD[1])


def _check_hatch(file: _File, build: dict[str, Any], name: str) -> Iterator[Finding]:
    wheel = _in(build, "targets", "wheel")
    packages = wheel.get("packages", build.get("packages"))
    place = package_folder(file.path.parent, name).relative_to(file.path.parent).as_posix()
    write = f'[tool.hatch.build.targets.wheel] packages = ["{place}"]'
    if not build:
        yield file.finding(Level.BROKEN, "hatchling does not know what to put into the wheel", write, *_BUILD)
    elif packages is not None and place not in {entry.removeprefix("./").rstrip("/") for entry in _listed(packages)}:
        yield file.finding(Level.BROKEN, f"the wheel would not contain {place}", write, *_BUILD)
    elif f"{name}/SKILL.md" not in _table(wheel.get("force-include")).values():
        write = f'[tool.hatch.build.targets.wheel.force-include] "SKILL.md" = "{name}/SKILL.md"'
        wrong = "the wheel does not contain SKILL.md, so it is read from the source folder while that exists"
        yield file.finding(Level.ADVICE, wrong, write, *_BUILD)


def _key(name: str) -> str:
    return rf"[\"']?{re.escape(name)}[\"']?\s*="


def _required(requirement: str) -> str:
    """The distribution that a requirement names."""
    found = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", requirement)
    return normalised(found[1]) if found else ""


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _in(table: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        table = _table(table.get(key))
    return table


def _listed(value: object) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []
