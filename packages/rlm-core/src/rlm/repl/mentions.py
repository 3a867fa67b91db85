"""`@path` in a message: the named file is attached."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rlm.process import files
from rlm.text.clip import clip
from rlm.text.encodings import SAMPLE, decode

LONGEST = 100_000
"""Maximum characters of a file in a message."""

MOST_NAMES = 1_000
"""Maximum number of names listed of a folder."""

_MENTION = re.compile(r'(?<!\S)@(?:"([^"\n]+)"|(\S+))')
_VARIABLE = re.compile(r"\$`([^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A text that is attached to a message. `size`: characters of the file."""

    path: Path
    text: str
    size: int

    def block(self) -> str:
        """The attachment in the form in which the model gets it."""
        return f'<file path="{self.path}">\n{self.text}\n</file>'


def attachments(text: str, cwd: Path) -> Iterator[Attachment]:
    """Yield the files that a message names, each once, in order. A name of no file is a plain word."""
    seen: set[Path] = set()
    for found in _MENTION.finditer(text):
        path = _existing(cwd, found[1] or found[2])
        if path is not None and path not in seen:
            seen.add(path)
            yield _read(cwd, path)


def variables(text: str) -> list[str]:
    """The expressions of the kernel that a message names."""
    return list(dict.fromkeys(found[1] for found in _VARIABLE.finditer(text)))


def _existing(cwd: Path, name: str) -> Path | None:
    """The file or folder with this name; punctuation after the name is not part of it."""
    for candidate in (name, name.rstrip(".,;:!?)]}'\"")):
        path = Path(candidate).expanduser()
        if candidate and (cwd / path).exists():
            return path
    return None


def _read(cwd: Path, path: Path) -> Attachment:
    """Attach the names in a folder, or the size of a picture or an archive; of a long file, its head and tail."""
    whole = cwd / path
    if whole.is_dir():
        names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in whole.iterdir())
        return Attachment(path, "\n".join(names[:MOST_NAMES]), len(names))
    try:
        data = _bytes(cwd, path)
    except OSError as error:
        return Attachment(path, f"[It cannot be read: {error.strerror}.]", 0)
    if b"\0" in data[:SAMPLE]:
        return Attachment(path, f"[A binary file of {len(data):,} bytes.]", len(data))
    text = decode(data)
    return Attachment(path, clip(text, LONGEST, str(path)), len(text))


def _bytes(cwd: Path, path: Path) -> bytes:
    """Read a file in the working directory.

    No link is followed, because a cell may have made one that leads outside.
    """
    if path.is_absolute() or ".." in path.parts:
        return files.read(files.resolve(path))
    with files.opened_folder(cwd) as folder:
        return files.read_beneath(folder, path, root=cwd)
