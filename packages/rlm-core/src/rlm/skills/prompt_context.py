"""The parts of the prompt besides the task: the skills, and the AGENTS.md files of the project.

The files of a project are not trusted. They are read in bounded parts, and a description is one line without control
characters. An AGENTS.md that is a link out of the project is not read: this text is sent to the provider.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from rlm.skills.discovery import Skills, SkillSearch, find_skills
from rlm.skills.notes import Read, notes_for, one_line, project_folders, reading_beneath
from rlm.text.clip import clip
from rlm.text.encodings import decode
from rlm.text.terminal import plain

PROJECT_LIMIT = 32_000
"""Maximum characters of all AGENTS.md files together in the prompt."""

_MOST = 100  # maximum skills of one kind that are listed

_FUNCTIONS = (
    "Skills: functions in the kernel (`await NAME(...)`; `help(NAME)` says how) and commands (`NAME --help`). "
    "Details are in the file in parentheses:"
)
_COMMANDS = "Skills, which are commands (`NAME --help` says how). Details are in the file in parentheses:"
_NOTES = "Instructions; read the file before a task that it covers:"


class PromptContext:
    """The prompt context of a run, read once: all agents get the same text, and a thousand cost no more than one."""

    def __init__(
        self, search: SkillSearch | None = None, *, context_files: bool = True, skills: Skills | None = None
    ) -> None:
        """`context_files`: use the files of the project and of the home. `skills`: the skills, if already known."""
        self._search = search or SkillSearch()
        self._skills = skills
        self._notes = cache(lambda cwd: notes_for(cwd, context_files=context_files))
        self._project_text = cache(project_text)
        self._context_files = context_files

    def skills(self) -> Skills:
        """Return the skills. The first call may take as long as their imports."""
        if self._skills is None:
            self._skills = find_skills(self._search)
        return self._skills

    @property
    def names(self) -> frozenset[str]:
        """The names of the installed skills."""
        return frozenset(skill.name for skill in self.skills().installed)

    def project_text(self, cwd: Path) -> str:
        """Return the text of the AGENTS.md files."""
        return self._project_text(cwd) if self._context_files else ""

    def files(self, cwd: Path) -> list[Path]:
        """Return the paths that the prompt names: the files of skills, the folders of notes, and each AGENTS.md."""
        skills = [skill.skill_file for skill in self.skills().installed if skill.skill_file and not skill.broken]
        notes = [note.path.parent for note in self._notes(cwd) if note.offered]
        return [*skills, *notes, *(project_files(cwd) if self._context_files else ())]

    def skills_text(self, cwd: Path, tools: Collection[str]) -> str:
        """Return the part of the system prompt that lists the skills; empty if no tool can use them."""
        if not {"ipython", "bash"} & set(tools):
            return ""
        title = _FUNCTIONS if "ipython" in tools else _COMMANDS
        skills = [
            _line(skill.name, one_line(skill.description), None if skill.unread else skill.skill_file)
            for skill in self.skills().installed
            if not skill.broken
        ]
        notes = [_line(note.name, note.description, note.path) for note in self._notes(cwd) if note.offered]
        return "\n\n".join(filter(None, (_list(title, skills), _list(_NOTES, notes))))


def _list(title: str, lines: list[str]) -> str:
    more = [f"- and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
    return "\n".join([title, *lines[:_MOST], *more]) if lines else ""


def _line(name: str, description: str, path: Path | None) -> str:
    about = f": {description}" if description else ""
    where = f" ({path})" if path and str(path).isprintable() else ""
    return f"- {name}{about}{where}"


def project_files(cwd: Path) -> list[Path]:
    """Return the AGENTS.md files that `project_text` quotes."""
    folders = project_folders(cwd)
    with reading_beneath(folders[0]) as read:
        return [path for path, _ in _agents_files(folders, read)]


def project_text(cwd: Path) -> str:
    """Return the text of the AGENTS.md files, the outermost first. Text above the limit is cut from the outermost."""
    parts: list[str] = []
    left = PROJECT_LIMIT
    folders = project_folders(cwd)
    with reading_beneath(folders[0]) as read:
        for path, text in _agents_files(folders, read):
            parts.append(f"From {path}:\n{clip(text, left, str(path))}")
            left = max(0, left - len(text))
    return "\n\n".join(reversed(parts))


def _agents_files(folders: list[Path], read: Read) -> Iterable[tuple[Path, str]]:
    """Yield each AGENTS.md with its text, the innermost first."""
    for folder in reversed(folders):
        path = folder / "AGENTS.md"
        with suppress(OSError):
            text = plain(decode(read(path))).strip()
            if text:
                yield path, text
