"""`rlm skills`: list, scaffold, validate."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rlm.cli import exits
from rlm.cli.arguments import Parser, parser
from rlm.errors import ConfigError
from rlm.skill import InstalledSkill, Level, ScaffoldError, check_skill, installed_skills, scaffold, try_import
from rlm.terminal import plain


def run(argv: Sequence[str]) -> int:
    """
    Raises:
        ConfigError: a bad name, or a target that exists.
    """
    given = _parser().parse_args(argv)
    if given.action == "new":
        return _new(given.name)
    if given.action == "check":
        return _check([Path(folder) for folder in given.folders])
    return _list()


def _parser() -> Parser:
    made = parser("rlm skills", "Skills: packages that are a function, a command and an import.")
    actions = made.add_subparsers(dest="action", metavar="new NAME | check DIR…", parser_class=Parser)
    new = actions.add_parser("new", help="make a skill from the template, in a folder of its name")
    new.add_argument("name")
    check = actions.add_parser("check", help="say what is wrong with a skill's folder, and what to write")
    check.add_argument("folders", nargs="+", metavar="DIR")
    return made


def _list() -> int:
    skills = installed_skills()
    if not skills:
        print("No skills are installed. `rlm skills new NAME` makes one.", file=sys.stderr)
    for skill in skills:
        wrong = skill.broken or try_import(skill.name)
        print(plain(_row(skill, wrong)))
    return exits.DONE


def _row(skill: InstalledSkill, wrong: str | None) -> str:
    state = f"broken: {wrong}" if wrong else "ok"
    return f"{skill.name:<16} {skill.version:<8} {state}\n    {skill.description}\n    from {skill.origin}"


def _new(name: str) -> int:
    try:
        folder = scaffold(name, Path())
    except ScaffoldError as error:
        raise ConfigError(f"No skill was made: {error}.") from None
    print(f"{folder} is a skill that works. Edit src/{name}/{name}.py, then: rlm skills check {folder}")
    return exits.DONE


def _check(folders: Sequence[Path]) -> int:
    sound = [_is_sound(folder) for folder in folders]
    return exits.DONE if all(sound) else exits.FAILED


def _is_sound(folder: Path) -> bool:
    findings = check_skill(folder)
    sound = all(finding.level is Level.ADVICE for finding in findings)
    print(plain("\n".join([*map(str, findings), f"{folder}: {'ok' if sound else 'not a skill yet'}"])))
    return sound
