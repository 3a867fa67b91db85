"""A large text file as a text. Only the parts that are used are in memory."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

from rlm.text.encodings import SAMPLE, likely_encoding_of_start

LARGEST = 8 << 20
"""The most bytes of a file that is read as a whole."""
_BLOCK = 1 << 20  # bytes
_BLOCKS = 8  # that stay in memory
_LONGEST = 4  # bytes of a character
_ONE_BYTE = ("cp1252", "iso-8859-1", "latin-1", "ascii")
_MARK = b"\xef\xbb\xbf"


def read_text(path: Path) -> str | LazyText:
    """Return the text of a file: whole if it is small, or if its encoding cannot be read in parts."""
    with path.open("rb") as file:  # by path: in a kernel
        encoding = likely_encoding_of_start(file.read(SAMPLE)).lower()
        if os.fstat(file.fileno()).st_size > LARGEST and encoding in ("utf-8", *_ONE_BYTE):
            return LazyText(path, encoding)
    with path.open(encoding=encoding, errors="replace", newline="") as text:  # by path: in a kernel
        return text.read().removeprefix("\ufeff")


class LazyText:
    """Reads like a `str`: slices, `len`, `find`, `index`, `count`, `in`. Iteration yields lines, as a file does.

    `str()` and all other methods of `str` load the whole. The file is read, not mapped: if a mapped file were truncated
    meanwhile, that would kill the kernel.
    """

    def __init__(self, path: Path, encoding: str = "utf-8", block: int = _BLOCK) -> None:
        """Open a file, to be read in blocks of `block` bytes."""
        self.path = path
        self._size = block
        self._encoding = encoding
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # noqa: TID251 - in a kernel
        self._state = self._now()
        self._places = list(self._cuts())
        self._starts: list[int] = []
        self.block = lru_cache(_BLOCKS)(self._block)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def __len__(self) -> int:
        return self._characters()[-1]

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> str: ...
    def __getitem__(self, place: int | slice) -> str:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step > 0:
                return self._part(start, stop)[::step]
            return self._part(stop + 1, start + 1)[::step]
        if not -len(self) <= place < len(self):
            raise IndexError("text index out of range")
        return self._part(place % len(self), place % len(self) + 1)

    def __iter__(self) -> Iterator[str]:
        rest = ""
        for number in range(len(self._places) - 1):
            *lines, rest = (rest + self.block(number)).split("\n")
            yield from (f"{line}\n" for line in lines)
        if rest:
            yield rest

    def __contains__(self, part: str) -> bool:
        return self.find(part) >= 0

    def find(self, part: str, start: int = 0, end: int | None = None) -> int:
        if not part:
            return str(self).find(part, start, end)
        return next(self._found(part, start, end), -1)

    def index(self, part: str, start: int = 0, end: int | None = None) -> int:
        if (place := self.find(part, start, end)) < 0:
            raise ValueError("substring not found")
        return place

    def count(self, part: str, start: int = 0, end: int | None = None) -> int:
        if not part:
            return str(self).count(part, start, end)
        return sum(1 for _ in self._found(part, start, end))

    def __str__(self) -> str:
        return "".join(self.block(number) for number in range(len(self._places) - 1))

    def __repr__(self) -> str:
        return f"LazyText({self._places[-1]:,} bytes, begins {self.block(0)[:40]!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LazyText) and other.path == self.path:
            return True
        return isinstance(other, str | LazyText) and len(self) == len(other) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(str(self), name)

    def __reduce__(self) -> Any:
        return str, (str(self),)

    # ---- blocks: their positions in bytes and in characters

    def _now(self) -> tuple[int, int]:
        state = os.fstat(self._file)
        return state.st_size, state.st_mtime_ns

    def _cuts(self) -> Iterator[int]:
        """Yield positions between characters: in UTF-8, a byte 10xxxxxx continues a character."""
        size = self._state[0]
        yield len(_MARK) if os.pread(self._file, len(_MARK), 0) == _MARK and self._encoding == "utf-8" else 0
        for place in range(self._size, size, self._size):
            ahead = os.pread(self._file, _LONGEST, place) if self._encoding == "utf-8" else b""
            inside = next((count for count, byte in enumerate(ahead) if byte & 0xC0 != 0x80), len(ahead))
            if place + inside < size:
                yield place + inside
        yield size

    def _block(self, number: int) -> str:
        """Read a block.

        Raises:
            OSError: the file was changed.
        """
        start, end = self._places[number : number + 2]
        data = os.pread(self._file, end - start, start)
        if self._now() != self._state:
            raise OSError("the file of `context` was changed while it was read")
        return data.decode(self._encoding, "replace")

    def _characters(self) -> list[int]:
        """Return the positions of the blocks, and the end. Counting reads the whole file once."""
        if not self._starts:
            lengths = (len(self._block(number)) for number in range(len(self._places) - 1))
            self._starts = list(accumulate(lengths, initial=0))
        return self._starts

    def _part(self, start: int, stop: int) -> str:
        starts, parts = self._characters(), []
        for number in range(bisect_right(starts, start) - 1, len(starts) - 1):
            if starts[number] >= stop:
                break
            parts.append(self.block(number)[max(0, start - starts[number]) : stop - starts[number]])
        return "".join(parts)

    def _found(self, part: str, start: int, end: int | None) -> Iterator[int]:
        """Yield the positions of `part`, from left to right, without overlaps."""
        start, stop, _ = slice(start, end).indices(len(self)) if start or end is not None else (0, None, 1)
        begins, tail, free = 0, "", start
        for number in range(len(self._places) - 1):
            text = tail + self.block(number)
            origin = begins - len(tail)
            begins += len(text) - len(tail)
            place = text.find(part, max(0, free - origin))
            while place >= 0 and (stop is None or origin + place + len(part) <= stop):
                yield origin + place
                free = origin + place + len(part)
                place = text.find(part, free - origin)
            if stop is not None and begins >= stop:
                return
            tail = text[max(0, len(text) - len(part) + 1) :]
