"""Find the skills, and which of them work: the same result for agents, `rlm skills` and `rlm doctor`.

A skill that cannot be imported is broken. The test costs as much time as the import. So a skill that was imported once
is not tested again until its files, or the packages beside it, change. A broken skill is tested each time: the reason
may be something that rlm does not observe.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rlm.config.child_env import child_environment
from rlm.config.environment import state_folder
from rlm.config.settings import Config
from rlm.process import files
from rlm.skill import InstalledSkill, installed_skills, try_imports

SECONDS = 10.0
"""Time limit for the import of a skill. A slower import would also delay kernels."""

_REMEMBERED = Path("rlm", "imported-skills.json")
_LARGEST = 1_000_000


@dataclass(frozen=True, slots=True)
class Skills:
    """The skills, sorted by name. A broken skill has the reason."""

    installed: tuple[InstalledSkill, ...] = ()
    untried: frozenset[str] = frozenset()
    """The skills on the user's PYTHONPATH. It may lead into a project, where a cell could have written. So the host
    only reads them, and only kernels import them."""


@dataclass(frozen=True, slots=True)
class SkillSearch:
    """Where skills are searched for, and how they are tested."""

    python_path: Sequence[str] = ()
    environment: Mapping[str, str] | None = None
    state: Path | None = None

    @classmethod
    def of(cls, config: Config) -> SkillSearch:
        """Create it for the kernels of a run with these settings.

        With a sandbox, PYTHONPATH is not used: its cells could put links there that the host would read.
        """
        environment = child_environment(config)
        named = environment.get("PYTHONPATH", "") if not config.sandboxed else ""
        return cls([folder for folder in named.split(os.pathsep) if folder], environment, state_folder())


def find_skills(search: SkillSearch, *, afresh: bool = False) -> Skills:
    """Find the skills. Of equal names ours counts, as in kernels, where PYTHONPATH comes last. `afresh`: test all."""
    ours = installed_skills()
    wrong = _failing([skill for skill in ours if not skill.broken], search, afresh=afresh)
    others = {skill.name: skill for skill in installed_skills(search.python_path)}
    found = others | {skill.name: replace(skill, broken=skill.broken or wrong.get(skill.name)) for skill in ours}
    return Skills(
        tuple(skill for _, skill in sorted(found.items())),
        frozenset(others) - {skill.name for skill in ours},
    )


def _failing(skills: Sequence[InstalledSkill], search: SkillSearch, *, afresh: bool) -> dict[str, str]:
    """Return the reason for each skill that cannot be imported."""
    path = search.state and search.state / _REMEMBERED
    ours = [Path(folder) for folder in sys.path if folder.startswith(sys.prefix)]
    packages = [sys.version, *map(_state, ours)]  # the folders that we import from: an installer changes them
    seen = {skill.name: [packages, _files(skill.package)] for skill in skills}
    known = {} if afresh else _remembered(path)
    new = [name for name in seen if known.get(name) != seen[name]]
    if not new:
        return {}
    try:
        wrong = try_imports(new, SECONDS, search.environment)
    except OSError:  # no process can be started: the skills stay untested, and the run has a worse problem
        return {}
    if path is not None:
        with suppress(OSError):  # then all are tested again
            # create the folder if necessary; a run also keeps its key there
            folder = files.open_folder(files.resolve(path.parent), make=True)
            try:
                imported = {name: seen[name] for name in seen if name not in wrong}
                files.replace(path.name, json.dumps(imported).encode(), dir_fd=folder)
            finally:
                os.close(folder)
    return wrong


def _remembered(path: Path | None) -> dict[str, object]:
    """Return the skills that were imported, each with the state of its files."""
    if path is not None:
        with suppress(OSError, ValueError):
            known = json.loads(files.read(files.resolve(path), limit=_LARGEST))
            return known if isinstance(known, dict) else {}
    return {}


def _files(package: Path | None) -> list[object]:
    return [_state(path) for path in sorted(package.rglob("*.py"))] if package else []


def _state(path: Path) -> list[object]:
    with suppress(OSError):
        status = path.stat()
        return [str(path), status.st_mtime_ns, status.st_size]
    return [str(path)]
