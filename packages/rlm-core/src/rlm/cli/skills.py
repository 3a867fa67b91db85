"""`rlm skills`: list, scaffold, validate."""

from __future__ import annotations

from pathlib import Path

from rlm.cli.arguments import CommandLine
from rlm.cli.streams import put, say
from rlm.config.settings import Config
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.errors import ConfigError
from rlm.skill import InstalledSkill, ScaffoldError, scaffold
from rlm.skill.check import main as check
from rlm.skill.scaffolding import source_of_ours
from rlm.skills import SkillSearch, find_skills, notes_for, one_line

_TESTS = "uv run pytest"
_TESTS_WITHOUT_OURS = "uv venv && uv pip install CHECKOUT_OF_RLM/packages/rlm-skill -e . pytest && .venv/bin/pytest"


def run(line: CommandLine) -> int:
    """
    Raises:
        ConfigError: a bad name, or a target that exists.
    """
    match line.all_words:
        case []:
            return _list(read_config(line.settings))
        case ["new", name]:
            return _new(name)
        case ["check", _, *_] as words:
            return check(["--", *words[1:]])
        case words:
            typed = " ".join(words)
            raise ConfigError(f"rlm skills accepts `new NAME` or `check DIR …`, not: {typed}. Try: rlm skills --help")


def _list(config: Config) -> int:
    skills, notes = find_skills(SkillSearch.of(config), afresh=True), notes_for(Path.cwd())
    if not skills.installed and not notes:
        say("No skills are installed. `rlm skills new NAME` creates one.")
    for skill in skills.installed:
        _print_skill(skill, tried=skill.name not in skills.untried)
    for note in notes:
        good = "a SKILL.md alone: agents read it when they need it"
        state = f"{'' if note.offered else 'broken: '}{note.trouble}" if note.trouble else good
        _print((note.name, "-", state), note.description, note.path)
    return exit_codes.DONE


def _print_skill(skill: InstalledSkill, *, tried: bool) -> None:
    good = "ok" if tried else "on PYTHONPATH, so not tried"
    state = f"broken: {skill.broken}" if skill.broken else good
    _print((skill.name, skill.version, state), skill.description, skill.origin)
    if skill.unread:
        put(f"    SKILL.md: {one_line(skill.unread)}")


def _print(head: tuple[str, str, str], description: str, origin: str | Path) -> None:
    """Print each part on one line. None of the text is ours, so it may contain anything."""
    name, version, state = map(one_line, head)
    put(f"{name:<16} {version:<8} {state}")
    for line in filter(None, (description, f"from {origin}")):
        put(f"    {one_line(line)}")


def _new(name: str) -> int:
    try:
        folder = scaffold(name, Path())
    except ScaffoldError as error:
        raise ConfigError(f"No skill was created: {error}.") from None
    put(f"{folder} is a working skill. Edit src/{name}/{name}.py, then: rlm skills check {folder}")
    put(f"Its tests: cd {folder} && {_TESTS if source_of_ours() else _TESTS_WITHOUT_OURS}")
    return exit_codes.DONE
