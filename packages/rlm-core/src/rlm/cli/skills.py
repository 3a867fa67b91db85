"""`rlm skills`: list, scaffold, validate."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rlm.cli import exits
from rlm.cli.arguments import Parser, parser
from rlm.cli.streams import put, say
from rlm.errors import ConfigError
from rlm.skill import InstalledSkill, ScaffoldError, installed_skills, scaffold, try_import
from rlm.skill.check import main as check
from rlm.skills import Note, notes_for, one_line


def run(argv: Sequence[str]) -> int:
    """
    Raises:
        ConfigError: a bad name, or a target that exists.
    """
    given = _parser().parse_args(argv)
    if given.action == "new":
        return _new(given.name)
    if given.action == "check":
        return check(["--", *given.folders])
    return _list()


def _parser() -> Parser:
    made = parser("rlm skills", "Skills: packages that are a function, a command and an import.")
    actions = made.add_subparsers(dest="action", metavar="new NAME | check DIR…", parser_class=Parser)
    new = actions.add_parser("new", help="make a skill from the template, in a folder of its name")
    new.add_argument("name")
    validate = actions.add_parser("check", help="say what is wrong with a skill's folder, and what to write")
    validate.add_argument("folders", nargs="+", metavar="DIR")
    return made


def _list() -> int:
    skills, notes = installed_skills(), notes_for(Path.cwd())
    if not skills and not notes:
        say("No skills are installed. `rlm skills new NAME` makes one.")
    with ThreadPoolExecutor(4) as pool:
        for skill, wrong in zip(skills, pool.map(_wrong_with, skills), strict=True):
            _print_skill(skill, wrong)
    for note in notes:
        _print_note(note)
    return exits.DONE


def _wrong_with(skill: InstalledSkill) -> str | None:
    return skill.broken or try_import(skill.name)


def _print_skill(skill: InstalledSkill, wrong: str | None) -> None:
    state = f"broken: {wrong}" if wrong else "ok"
    _print((skill.name, skill.version, state), skill.description, skill.origin)


def _print_note(note: Note) -> None:
    _print((note.name, "-", "a SKILL.md alone: agents read it when they need it"), note.description, note.path)


def _print(head: tuple[str, str, str], description: str, origin: str | Path) -> None:
    """Each part on one line, whatever is in it: none of it is ours."""
    name, version, state = map(one_line, head)
    put(f"{name:<16} {version:<8} {state}")
    for line in (description, f"from {origin}"):
        put(f"    {one_line(line)}")


def _new(name: str) -> int:
    try:
        folder = scaffold(name, Path())
    except ScaffoldError as error:
        raise ConfigError(f"No skill was made: {error}.") from None
    put(f"{folder} is a skill that works. Edit src/{name}/{name}.py, then: rlm skills check {folder}")
    return exits.DONE
