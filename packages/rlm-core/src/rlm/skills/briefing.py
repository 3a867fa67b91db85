"""What an agent is told besides its task: the skills that it can use, and what the project says of itself.

Files of a project are written by strangers. They are read in bounded parts, a description is one line without control
characters, and an AGENTS.md that leads out of the project is left alone: what is read here goes to the provider.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rlm.clip import clip
from rlm.process import files
from rlm.skill import FrontMatterError, InstalledSkill, installed_skills, read_front_matter
from rlm.terminal import plain
from rlm.text.encodings import decode

PROJECT_LIMIT = 32_000
"""Characters of all AGENTS.md together that go into the prompt."""

_LONGEST = 1024  # characters of a description: agentskills.io allows no more
_MOST = 100  # skills of a kind that are listed
_HEAD = 64_000  # characters of a SKILL.md, in which its front matter must end
_LARGEST = 1_000_000  # bytes of an AGENTS.md or SKILL.md; one that is larger is none

_FUNCTIONS = (
    "Skills: functions in the kernel (`await NAME(...)`; `help(NAME)` says how) and commands (`NAME --help`). "
    "The file in brackets says more:"
)
_COMMANDS = "Skills, which are commands (`NAME --help` says how). The file in brackets says more:"
_NOTES = "Instructions; read the file before you do what it is about:"


@dataclass(frozen=True, slots=True)
class Note:
    """A skill that is only a SKILL.md, by the convention of agentskills.io."""

    name: str
    description: str
    path: Path


class Briefing:
    """Looks once for a whole run: all its agents are told the same, and a thousand of them cost no more than one."""

    def __init__(self, python_path: Sequence[str] = ()) -> None:
        """`python_path`: where kernels look besides our own search path. It is read, and nothing in it is imported."""
        self._installed = cache(lambda: _installed(python_path))
        self._notes = cache(notes_for)
        self.project_text = cache(project_text)

    @property
    def names(self) -> frozenset[str]:
        """Of the skills that are installed."""
        return frozenset(skill.name for skill in self._installed())

    def skills_text(self, cwd: Path, tools: Collection[str]) -> str:
        """The part of the system prompt that lists the skills; empty without a tool that could use one."""
        if not {"ipython", "bash"} & set(tools):
            return ""
        title = _FUNCTIONS if "ipython" in tools else _COMMANDS
        skills = [_skill_line(skill) for skill in self._installed() if not skill.broken]
        notes = [_line(note.name, note.description, note.path) for note in self._notes(cwd)]
        return "\n\n".join(filter(None, (_list(title, skills), _list(_NOTES, notes))))


def _installed(python_path: Sequence[str]) -> list[InstalledSkill]:
    """By name. Kernels look into `python_path` last, so ours count where names are equal."""
    found = {skill.name: skill for skill in (*installed_skills(python_path), *installed_skills())}
    return [skill for _, skill in sorted(found.items())]


def _list(title: str, lines: list[str]) -> str:
    more = [f"- and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
    return "\n".join([title, *lines[:_MOST], *more]) if lines else ""


def _skill_line(skill: InstalledSkill) -> str:
    return _line(skill.name, one_line(skill.description), skill.skill_file)


def _line(name: str, description: str, path: Path | None) -> str:
    about = f": {description}" if description else ""
    where = f" ({path})" if path and str(path).isprintable() else ""
    return f"- {name}{about}{where}"


def one_line(text: str, longest: int = _LONGEST) -> str:
    """`text` on one line, without what could hide or steer, in at most `longest` characters."""
    words = " ".join(plain(text).split())
    return words if len(words) <= longest else f"{words[: longest - 1]}…"


def notes_for(cwd: Path) -> list[Note]:
    """The SKILL.md files of the project and of the user, by name. Where names are equal the nearest counts."""
    found: dict[str, Note] = {}
    folders = project_folders(cwd)
    with _beneath(folders[0]) as read:
        for folder in reversed(folders):
            _add(found, _notes_in(folder / ".agents" / "skills", read))
    for home in _home():
        _add(found, _notes_in(home / ".agents" / "skills", _of_user))
    return sorted(found.values(), key=lambda note: note.name)


def _add(found: dict[str, Note], notes: Iterable[Note]) -> None:
    for note in notes:
        found.setdefault(note.name, note)


def _home() -> Iterator[Path]:
    with suppress(RuntimeError):  # a user without a home
        yield Path.home()


def _notes_in(folder: Path, read: Read) -> Iterator[Note]:
    for path in sorted(folder.glob("*/SKILL.md")):
        with suppress(OSError, FrontMatterError):  # one that cannot be read harms no other
            if str(path).isprintable():
                front = read_front_matter(decode(read(path))[:_HEAD])
                yield Note(one_line(front.name or path.parent.name, 64), one_line(front.description), path)


Read = Callable[[Path], bytes]


@contextmanager
def _beneath(project: Path) -> Iterator[Read]:
    """Reads files of a project. Links are followed as long as they stay in it."""
    folder = files.open_folder(project)
    try:
        yield lambda path: files.read_beneath(folder, path.relative_to(project), root=project, limit=_LARGEST)
    finally:
        os.close(folder)


def _of_user(path: Path) -> bytes:
    return files.read(files.resolve(path), limit=_LARGEST)


def project_folders(cwd: Path) -> list[Path]:
    """From the root of the git repository down to `cwd`; `cwd` alone where there is none."""
    cwd = cwd.resolve()
    above = [cwd, *cwd.parents]
    root = next((index for index, folder in enumerate(above) if (folder / ".git").exists()), 0)
    return above[root::-1]


def project_text(cwd: Path) -> str:
    """What the AGENTS.md files say, the outermost first. What is too much is cut from the outermost first."""
    parts: list[str] = []
    left = PROJECT_LIMIT
    folders = project_folders(cwd)
    with _beneath(folders[0]) as read:
        for path, text in _agents_files(folders, read):
            parts.append(f"From {path}:\n{clip(text, left, str(path))}")
            left = max(0, left - len(text))
    return "\n\n".join(reversed(parts))


def _agents_files(folders: list[Path], read: Read) -> Iterable[tuple[Path, str]]:
    """Each with its text, the innermost first."""
    for folder in reversed(folders):
        path = folder / "AGENTS.md"
        with suppress(OSError):
            text = plain(decode(read(path))).strip()
            if text:
                yield path, text
