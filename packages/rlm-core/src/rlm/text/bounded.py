"""Output of programs for the model: without terminal controls, bounded in memory, stored whole on disk."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from rlm.process import files
from rlm.text.clip import join

UNLIMITED = 10_000_000
"""Characters: no context is larger, so even unlimited output is reduced to head and tail above this."""

_BLOCK = 65_536
_WIDTH = 8_192  # characters of an unfinished line that can still be overwritten
_LONGEST = 96  # characters of an escape sequence; anything longer is none

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROL_BYTES = bytes([*range(0x09), *range(0x0B, 0x20), 0x7F])
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)(?P<csi>[0-?]{0,64}[ -/]{0,8}[@-~])"
    # ends with its line at the latest, so that a stray one in binary output removes a line, not the rest
    r"|(?:\x1b[]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?P<open>\Z)?[\x07\x9c]?"
    r"|\x1b[ -/]{0,8}[0-~]?"
    r"|[\ud800-\udfff]"
    r"|[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)
_UNFINISHED = re.compile(r"(?:(?:\x1b\[|\x9b)[ -?]{0,90}|\x1b[ -/]{0,8})\Z")
_STRING_END = re.compile(r"[\x07\x9c]|(?=[\x1b\n])")
# Control characters, absent from all text after `_SEQUENCE`, that here stand for the two important erasures.
_ERASE_REST, _ERASE_LINE = "\x0e", "\x0f"
_STROKES = "\r\x08\x0e\x0f"
_STROKE = re.compile(f"([{_STROKES}])")
_MEANING = {"K": _ERASE_REST, "0K": _ERASE_REST, "2K": _ERASE_LINE, "G": "\r", "0G": "\r", "1G": "\r"}


class Cleaner:
    """Receives text in pieces of any size, and returns it as a terminal would finally display it.

    Its time is linear and its memory constant for any input. A line is returned when it is finished.
    """

    def __init__(self) -> None:
        self._held = ""  # the start of an incomplete sequence
        self._in_string = False
        self._line = _OutputLine()

    def write(self, text: str) -> str:
        """Add text. Return the text that can no longer change."""
        text = self._held + text
        if self._in_string:  # earlier text opened a string, such as a window title or a picture
            end = _STRING_END.search(text)
            self._in_string = end is None
            text = text[end.end() :] if end else ""
        unfinished = _UNFINISHED.search(text, max(0, len(text) - _LONGEST))
        self._held = unfinished.group() if unfinished else ""
        text = text[: len(text) - len(self._held)]
        # almost all text is plain, and this check takes a seventh of the time of a search
        is_plain = text.isascii() and len(text.encode().translate(None, _CONTROL_BYTES)) == len(text)
        if not is_plain and _CONTROL.search(text):
            text = _SEQUENCE.sub(self._replace, text).replace("\r\n", "\n")
        return self._line.paint(text)

    def close(self) -> str:
        """Return the unfinished line. A partial escape sequence at the end is dropped."""
        self._held, self._in_string = "", False
        return self._line.take()

    def _replace(self, found: re.Match[str]) -> str:
        if found["csi"] is not None:
            return _MEANING.get(found["csi"], "")
        if found["open"] is not None:
            self._in_string = True
        return "\ufffd" if "\ud800" <= found.group() <= "\udfff" else ""


class _OutputLine:
    """The current line: `\\r` and `\\b` move the cursor back, text overwrites."""

    def __init__(self) -> None:
        self._cells: list[str] = []
        self._column = 0

    def paint(self, text: str) -> str:
        """Process text. Return the finished part."""
        if any(stroke in text for stroke in _STROKES):
            return "".join(self._stroke(part) for part in _STROKE.split(text) if part)
        return self._put(text)

    def _stroke(self, part: str) -> str:
        match part:
            case "\r":
                self._column = 0
            case "\x08":
                self._column = max(0, self._column - 1)
            case "\x0e":
                del self._cells[self._column :]
            case "\x0f":
                self._cells.clear()
                self._column = 0
            case _:
                return self._put(part)
        return ""

    def _put(self, text: str) -> str:
        cut = text.rfind("\n") + 1
        if not cut:
            return self._write(text)
        first, others = text[:cut].split("\n", 1)
        finished = self._write(first) + self.take() + "\n" + others
        return finished + self._write(text[cut:])

    def _write(self, text: str) -> str:
        """Overwrite from the cursor on. Return the beginning of a line that is longer than any screen."""
        end = self._column + len(text)
        done = ""
        if end > 2 * _WIDTH and end >= len(self._cells):
            line = "".join(self._cells[: self._column]) + text
            done, text = line[:-_WIDTH], line[-_WIDTH:]
            self._cells.clear()
            self._column = 0
        self._cells[self._column : self._column + len(text)] = text
        self._column += len(text)
        return done

    def take(self) -> str:
        text = "".join(self._cells)
        self._cells.clear()
        self._column = 0
        return text


@dataclass(slots=True)
class Quota:
    """Bytes that outputs may take on disk: `each` file, and all files of a run (`total`).

    The host writes outputs for a kernel, so the kernel's own limits do not apply to them.
    """

    each: int
    total: int
    used: int = 0

    def take(self, held: int, more: int) -> None:
        """Reserve `more` bytes for a file that has `held` bytes.

        Raises:
            OSError: there is no room for `more`.
        """
        if held + more > self.each:
            raise OSError(errno.EFBIG, f"the limit of a file is {self.each:,} bytes")
        if self.used + more > self.total:
            raise OSError(errno.EDQUOT, f"the limit of all outputs together is {self.total:,} bytes")
        self.used += more

    def give_back(self, held: int) -> None:
        self.used -= held


class BoundedOutput:
    """Collects text. If it exceeds `limit` characters, the whole goes to a file, and head and tail stay here.

    A `limit` of None, which means that the user has set none, is `UNLIMITED`. The file is `folder/name`, or a name
    beside it if that is taken. The folder is created on demand.
    """

    def __init__(self, limit: int | None, folder: Path, name: str, quota: Quota | None = None) -> None:
        self._limit = UNLIMITED if limit is None else limit
        self._quota = quota
        self._held = 0  # bytes of the quota
        self._folder = folder
        self._name = name
        self._whole: StringIO | None = StringIO()
        self._head = ""
        self._tail = _Tail(self._limit // 2)
        self._file: TextIO | None = None
        self.path: Path | None = None
        """The file with the whole text, if it did not fit."""
        self._trouble = ""
        self.length = 0
        """The number of characters that were written."""
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, if there is one. It stays."""
        if self._file is not None:
            self._guard(self._close)

    def clear(self) -> None:
        """Discard everything that was written."""
        path, self.path = self.path, None
        self._guard(self._close)
        if path is not None:
            self._guard(path.unlink)
            self._give_back()
        self._whole, self._head, self._tail = StringIO(), "", _Tail(self._limit // 2)
        self.length, self._last, self._trouble = 0, "", ""

    @property
    def at_line_start(self) -> bool:
        """Whether the next text begins a line."""
        return self._last in ("", "\n")

    def write(self, text: str) -> None:
        self.length += len(text)
        self._last = text[-1:] or self._last
        if self._whole is None:
            self._tail.write(text)
            self._keep(text)
            return
        self._whole.write(text)
        if self.length > self._limit:
            whole, self._whole = self._whole.getvalue(), None
            cut = self._limit - self._limit // 2
            self._head = whole[:cut]
            self._tail.write(whole[cut:])
            self._guard(self._open)
            self._keep(whole)

    def text(self) -> str:
        """Return the whole text, or head, note and tail."""
        if self._whole is not None:
            return self._whole.getvalue()
        if self._file is not None:
            self._guard(self._file.flush)
        tail = self._tail.text()
        if self._trouble:
            tail = f"[the full output could not be saved: {self._trouble}]\n{tail}"
        return join(self._head, self.length - self._limit, tail, str(self.path or ""))

    def _open(self) -> None:
        self.path, handle = create(self._folder, self._name)
        self._file = os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="")

    def _keep(self, text: str) -> None:
        file = self._file
        if file is not None:
            self._guard(lambda: self._write(file, text))

    def _write(self, file: TextIO, text: str) -> None:
        if self._quota is not None:
            size = len(text.encode(errors="replace"))
            self._quota.take(self._held, size)
            self._held += size
        file.write(text)

    def _give_back(self) -> None:
        if self._quota is not None:
            self._quota.give_back(self._held)
            self._held = 0

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _guard(self, act: Callable[[], object]) -> None:
        """Handle a full disk: the run goes on without the file."""
        try:
            act()
        except OSError as error:
            self._trouble = error.strerror or str(error)
            path, self.path = self.path, None
            with contextlib.suppress(OSError):
                self._close()
            if path is not None:
                with contextlib.suppress(OSError):
                    files.remove(path)
                self._give_back()


class _Tail:
    """The last `limit` characters, in blocks, so that many small pieces cost no more than few large ones."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._blocks: deque[str] = deque()
        self._length = 0
        self._open = StringIO()

    def write(self, text: str) -> None:
        self._open.write(text[max(0, len(text) - self._limit) :])
        if self._open.tell() >= _BLOCK:
            self._shut()

    def text(self) -> str:
        self._shut()
        text = "".join(self._blocks)
        return text[max(0, len(text) - self._limit) :]

    def _shut(self) -> None:
        block, self._open = self._open.getvalue(), StringIO()
        self._blocks.append(block)
        self._length += len(block)
        while self._length - len(self._blocks[0]) >= self._limit and len(self._blocks) > 1:
            self._length -= len(self._blocks.popleft())


def create(folder: Path, name: str) -> tuple[Path, int]:
    """Create a private file in `folder`, or beside it if the name is taken. Return its path and a descriptor to write.

    No symbolic link that a cell may have created there is followed.

    Raises:
        OSError: it cannot be created.
    """
    inside = files.open_folder(folder, make=True)
    try:
        for free in _names(name):
            with contextlib.suppress(FileExistsError):
                return folder / free, files.create(free, dir_fd=inside)
    finally:
        os.close(inside)
    raise FileExistsError(name)


def _names(name: str) -> Iterator[str]:
    yield name
    stem, dot, ending = name.rpartition(".")
    for number in range(2, 10_000):
        yield f"{stem}-{number}.{ending}" if dot else f"{name}-{number}"
