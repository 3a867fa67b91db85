"""Skills that consist of a SKILL.md, by the convention of agentskills.io: instructions that an agent reads.

They are in the project, in the user's home, and where install.sh copies its skills folder. The files of a project are
not trusted: they are read in bounded parts, and a description is one line without control characters.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rlm.process import files
from rlm.skill import FrontMatterError, read_front_matter
from rlm.text import clip
from rlm.text.encodings import decode
from rlm.text.terminal import plain

LONGEST = 1024
"""Maximum characters of a description that are shown: the limit of agentskills.io."""

_HEAD = 64_000  # the front matter must end within so many characters of a SKILL.md
LARGEST = 1_000_000
"""Maximum bytes of an AGENTS.md or SKILL.md; a larger file is not read."""

INSTALLED = Path(sys.prefix, "share", "rlm", "skills")
"""The folder to which install.sh copies its skills folder."""

Read = Callable[[Path], bytes]


@dataclass(frozen=True, slots=True)
class Note:
    """A SKILL.md. `trouble` is a problem for its author to fix. If it is not `offered`, it is not in the prompt."""

    name: str
    description: str
    path: Path
    trouble: str = ""
    offered: bool = True


def one_line(text: str, longest: int = LONGEST) -> str:
    """Return `text` on one line, without hidden or control characters, with at most `longest` characters."""
    return clip.one_line(plain(text), longest)


def notes_for(cwd: Path, *, context_files: bool = True) -> list[Note]:
    """Return the notes, sorted by name. Of equal names the nearest counts: in the project, in the home, installed.

    Without `context_files`, return only those that are installed.
    """
    found: dict[str, Note] = {}
    unreadable: list[Note] = []
    for note in _all_notes(cwd, context_files=context_files):
        if note.offered:
            found.setdefault(note.name, note)
        else:
            unreadable.append(note)
    return sorted((*found.values(), *unreadable), key=lambda note: note.name)


def _all_notes(cwd: Path, *, context_files: bool) -> Iterator[Note]:
    if context_files:
        folders = project_folders(cwd)
        with reading_beneath(folders[0]) as read:
            for folder in reversed(folders):
                yield from _notes_in(folder / ".agents" / "skills", read)
        with suppress(RuntimeError):  # the user has no home
            yield from _notes_in(Path.home() / ".agents" / "skills", _of_user)
    yield from _notes_in(INSTALLED, _of_user)


def _notes_in(folder: Path, read: Read) -> Iterator[Note]:
    with suppress(OSError):
        for path in sorted(each / "SKILL.md" for each in folder.iterdir()):
            if os.path.lexists(path):
                yield _note(path, read)


def _note(path: Path, read: Read) -> Note:
    name = one_line(path.parent.name, 64)
    if not str(path).isprintable():
        return Note(name, "", path, "its path contains characters that cannot be printed", offered=False)
    try:
        data = read(path)
        front = read_front_matter(decode(data)[:_HEAD])
    except OSError as error:
        return Note(name, "", path, f"it cannot be read: {error.strerror or error}", offered=False)
    except FrontMatterError as error:
        return Note(name, "", path, str(error), offered=False)
    trouble = _trouble(data, front.summary)
    return Note(one_line(front.name, 64) or name, one_line(front.description), path, trouble)


def _trouble(data: bytes, description: str) -> str:
    if not description:
        return "it has no description, so agents cannot know its purpose"
    if len(description) > LONGEST:
        return f"its description has {len(description):,} characters, of which agents see {LONGEST:,}"
    with suppress(UnicodeDecodeError):
        data.decode()
        return ""
    return "it is not UTF-8, so its letters may be wrong"


@contextmanager
def reading_beneath(project: Path) -> Iterator[Read]:
    """Yield a function that reads files of a project. Links are followed if they stay in the project."""
    with files.opened_folder(project) as folder:
        yield lambda path: files.read_beneath(folder, path.relative_to(project), root=project, limit=LARGEST)


def _of_user(path: Path) -> bytes:
    return files.read(files.resolve(path), limit=LARGEST)


def project_folders(cwd: Path) -> list[Path]:
    """Return the folders from the root of the git repository down to `cwd`; only `cwd` if there is no repository."""
    cwd = cwd.resolve()
    above = [cwd, *cwd.parents]
    root = next((index for index, folder in enumerate(above) if (folder / ".git").exists()), 0)
    return above[root::-1]
