"""What an agent is told besides its task: the skills that it can use, and what the project says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rlm.clip import clip
from rlm.skill import FrontMatterError, InstalledSkill, installed_skills, read_front_matter

PROJECT_LIMIT = 32_000
"""Characters of all AGENTS.md together that go into the prompt."""

_SKILLS = (
    "Skills, installed as functions in the kernel and as commands (`await NAME(...)`, `NAME --help`, `help(NAME)`):"
)
_NOTES = "Instructions that you may need; read the file before you do what it is about:"


@dataclass(frozen=True, slots=True)
class Note:
    """A skill that is only a SKILL.md, by the convention of agentskills.io."""

    name: str
    description: str
    path: Path


@cache
def skills_text(cwd: Path) -> str:
    """The part of the system prompt that lists the skills; empty when there are none. One look serves a whole tree."""
    installed = [_line(skill) for skill in installed_skills() if not skill.broken]
    notes = [f"- {note.name}: {note.description} ({note.path})" for note in notes_for(cwd)]
    lists = ((_SKILLS, installed), (_NOTES, notes))
    parts = ("\n".join([title, *lines]) for title, lines in lists if lines)
    return "\n\n".join(parts)


def _line(skill: InstalledSkill) -> str:
    where = f" ({skill.skill_file})" if skill.skill_file else ""
    return f"- {skill.name}: {skill.description}{where}"


def notes_for(cwd: Path) -> list[Note]:
    """The SKILL.md files of the project and of the user. The project's win where names are equal."""
    found: dict[str, Note] = {}
    for folder in (*reversed(project_folders(cwd)), Path.home()):
        for note in _notes_in(folder / ".agents" / "skills"):
            found.setdefault(note.name, note)
    return sorted(found.values(), key=lambda note: note.name)


def _notes_in(folder: Path) -> Iterator[Note]:
    for path in sorted(folder.glob("*/SKILL.md")):
        with suppress(OSError, UnicodeDecodeError, FrontMatterError):  # one that cannot be read harms no other
            front = read_front_matter(path.read_text(encoding="utf-8"))
            yield Note(front.name or path.parent.name, front.summary, path)


def project_folders(cwd: Path) -> list[Path]:
    """From the root of the git repository down to `cwd`; `cwd` alone where there is none."""
    above = [cwd, *cwd.parents]
    root = next((index for index, folder in enumerate(above) if (folder / ".git").exists()), 0)
    return above[root::-1]


def project_text(cwd: Path) -> str:
    """What the AGENTS.md files say, the outermost first, in at most `PROJECT_LIMIT` characters."""
    parts = []
    for folder in project_folders(cwd):
        with suppress(OSError):
            path = folder / "AGENTS.md"
            parts.append(f"From {path}:\n{path.read_text(encoding='utf-8', errors='replace').strip()}")
    return clip("\n\n".join(parts), PROJECT_LIMIT)
