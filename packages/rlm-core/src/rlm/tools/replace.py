"""Replace the one place where a text occurs in a file: all or nothing, and nothing else in it changes.

`python -P -m rlm.tools.replace` does it where a sandbox allows it: on stdin a list in JSON, path, old and new; on
stdout the result as a text in JSON, or on stderr why nothing was changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import sys
import tempfile
from pathlib import Path

from rlm.clip import clip
from rlm.errors import ToolError

_SHOWN = 4_000  # characters of changed lines in the result: the model wrote them
_NEWLINE = rb"(?:\r\n|(?<!\r)\n)"


def edit(cwd: Path, path: str, old: str, new: str) -> str:
    """Edit the file and show the lines that are new.

    Raises:
        ToolError: nothing was changed.
    """
    try:
        real = (cwd / path).resolve()
        before = _read(real)
        found = _find(before, old, path)
        between = _encode(new.replace("\r\n", "\n")).replace(b"\n", _newline(before, found))
        if between == found.group(1):
            raise ToolError(f"{path} was not changed: new_str is what is there already.")
        _write(real, before[: found.start(1)] + between + before[found.end(1) :])
    except (OSError, ValueError, RuntimeError) as error:  # the last: links in a circle
        raise ToolError(f"{path} was not changed: {getattr(error, 'strerror', None) or error}.") from None
    return f"{path} is now:\n{_numbered(before, found, between)}"


def _read(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        raise ToolError(f"{path} is not a file.")
    return path.read_bytes()


def _find(text: bytes, old: str, path: str) -> re.Match[bytes]:
    """The only place. Line ends match whichever kind they are."""
    if not old:
        raise ToolError("old_str is empty: it must be a text that occurs once.")
    lines = [re.escape(_encode(line)) for line in old.replace("\r\n", "\n").split("\n")]
    # looking ahead finds places that overlap
    places = list(re.finditer(rb"(?=(" + _NEWLINE.join(lines) + rb"))", text))
    if not places:
        raise ToolError(f"old_str does not occur in {path}. It must be the same to the character, blanks included.")
    if len(places) > 1:
        numbers = ", ".join(str(_line(text, place.start())) for place in places)
        raise ToolError(f"old_str occurs {len(places)} times in {path}, at lines {numbers}. Add lines around it.")
    return places[0]


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _newline(text: bytes, found: re.Match[bytes]) -> bytes:
    """How lines end where the match is, or else in the file."""
    end = re.search(_NEWLINE, found.group(1)) or re.search(_NEWLINE, text)
    return end.group() if end else b"\n"


def _line(text: bytes, position: int) -> int:
    return text.count(b"\n", 0, position) + 1


def _numbered(before: bytes, found: re.Match[bytes], between: bytes) -> str:
    """The whole lines that hold the new text."""
    start = before.rfind(b"\n", 0, found.start(1)) + 1
    stop = before.find(b"\n", found.end(1))
    rest = before[found.end(1) : len(before) if stop == -1 else stop]
    changed = before[start : found.start(1)] + between + (b"" if between.endswith(b"\n") else rest)
    first = _line(before, start)
    lines = changed.decode("utf-8", "replace").removesuffix("\n").replace("\r", "").split("\n")
    return clip("\n".join(f"{number}\t{line}" for number, line in enumerate(lines, first)), _SHOWN)


def _write(path: Path, text: bytes) -> None:
    """All or nothing, with the file's own mode and owner."""
    if not os.access(path, os.W_OK):
        raise PermissionError(13, "the file is read-only")
    old = path.stat()
    handle, name = tempfile.mkstemp(prefix=".rlm-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
            file.flush()
            with contextlib.suppress(PermissionError):
                os.fchown(handle, old.st_uid, old.st_gid)
            os.fchmod(handle, stat.S_IMODE(old.st_mode))
            os.fsync(handle)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def main() -> None:
    try:
        print(json.dumps(edit(Path.cwd(), *json.load(sys.stdin))))
    except ToolError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
