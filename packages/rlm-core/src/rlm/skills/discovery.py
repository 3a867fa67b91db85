"""Which skills there are, and which of them work: one answer for agents, `rlm skills` and `rlm doctor`.

A skill that cannot be imported is broken. To try it costs as much as the import, which may be much; so what has been
imported once is not tried again until its files, or the packages beside it, change. One that failed is tried each time:
the reason may lie in what we do not see.
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
"""For the import of a skill. What needs longer keeps a kernel waiting, too."""

_REMEMBERED = Path("rlm", "imported-skills.json")
_LARGEST = 1_000_000


@dataclass(frozen=True, slots=True)
class Skills:
    """By name. A broken one says why."""

    installed: tuple[InstalledSkill, ...] = ()
    untried: frozenset[str] = frozenset()
    """Those on the user's PYTHONPATH. It may lead into a project, where a cell could have written: so they are read,
    and imported by kernels alone."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where skills are looked for, and how they are tried."""

    python_path: Sequence[str] = ()
    environment: Mapping[str, str] | None = None
    state: Path | None = None

    @classmethod
    def of(cls, config: Config) -> Place:
        """As the kernels of a run with these settings have it.

        With a sandbox without PYTHONPATH: its cells could put links there for us to read.
        """
        environment = child_environment(config)
        named = environment.get("PYTHONPATH", "") if not config.sandboxed else ""
        return cls([folder for folder in named.split(os.pathsep) if folder], environment, state_folder())


def find_skills(place: Place, *, afresh: bool = False) -> Skills:
    """Kernels look into PYTHONPATH last, so ours count where names are equal. `afresh`: try all of them."""
    ours = installed_skills()
    wrong = _failing([skill for skill in ours if not skill.broken], place, afresh=afresh)
    others = {skill.name: skill for skill in installed_skills(place.python_path)}
    found = others | {skill.name: replace(skill, broken=skill.broken or wrong.get(skill.name)) for skill in ours}
    return Skills(
        tuple(skill for _, skill in sorted(found.items())),
        frozenset(others) - {skill.name for skill in ours},
    )


def _failing(skills: Sequence[InstalledSkill], place: Place, *, afresh: bool) -> dict[str, str]:
    """Why not, for each that cannot be imported."""
    path = place.state and place.state / _REMEMBERED
    ours = [Path(folder) for folder in sys.path if folder.startswith(sys.prefix)]
    packages = [sys.version, *map(_state, ours)]  # what an installer changes: folders that we import from
    seen = {skill.name: [packages, _files(skill.package)] for skill in skills}
    known = {} if afresh else _remembered(path)
    new = [name for name in seen if known.get(name) != seen[name]]
    if not new:
        return {}
    try:
        wrong = try_imports(new, SECONDS, place.environment)
    except OSError:  # no process can be started: nothing is known of the skills, and a run has worse troubles
        return {}
    if path is not None:
        with suppress(OSError):  # then all are tried again
            # the first to keep something there makes the folder, in which a run keeps its key, too
            folder = files.open_folder(files.resolve(path.parent), make=True)
            try:
                imported = {name: seen[name] for name in seen if name not in wrong}
                files.replace(path.name, json.dumps(imported).encode(), dir_fd=folder)
            finally:
                os.close(folder)
    return wrong


def _remembered(path: Path | None) -> dict[str, object]:
    """What was imported, and of which files it was made."""
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
