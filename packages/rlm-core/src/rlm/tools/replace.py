"""Replace a text that occurs exactly once in a file. The change is atomic, and nothing else in the file changes.

`python -P -m rlm.tools.replace` does this inside a sandbox. stdin: path, old and new as a JSON list; stdout: the result
as a JSON string; stderr: the reason if nothing was changed.
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

from rlm.errors import ToolError
from rlm.text.clip import clip
from rlm.text.encodings import encoding_of

_SHOWN = 4_000  # maximum characters of changed lines in the result: the model wrote them and knows them
_NEWLINE = r"(?:\r\n|(?<!\r)\n)"
_UNKNOWN = (
    "{} is not UTF-8 and does not say which encoding it has: edit it with Python, open(…, encoding=…), "
    "or keep both texts ASCII."
)


def edit(cwd: Path, path: str, old: str, new: str) -> str:
    """Edit the file and return the new lines.

    Raises:
        ToolError: nothing was changed.
    """
    try:
        real = (cwd / path).resolve()
        data = _read(real)
        codec = encoding_of(data)
        before = data.decode(codec or "utf-8", "surrogateescape")
        found = _find(before, old, path, codec)
        replacement = new.replace("\r\n", "\n").replace("\n", _newline(before, found))
        if replacement == found.group(1):
            raise ToolError(f"{path} was not changed: new_str equals the present text.")
        if codec is None and old.isascii() and not new.isascii():
            raise ToolError(f"{path} was not changed: new_str is not ASCII. {_UNKNOWN.format(path)}")
        _write(real, _encode(before[: found.start(1)] + replacement + before[found.end(1) :], codec))
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise ToolError(f"{path} was not changed: {getattr(error, 'strerror', None) or error}.") from None
    kept = f" ({codec})" if codec not in {None, "utf-8"} else ""
    return f"{path}{kept} is now:\n{_numbered(before, found, replacement)}"


def _read(path: Path) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        raise ToolError(f"{path} is not a file.")
    return path.read_bytes()  # by path: the model names it, as in bash


def _encode(text: str, codec: str | None) -> bytes:
    """Encode in the file's own encoding. Bytes that are not UTF-8 stay unchanged."""
    try:
        return text.encode(codec or "utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        lacking = text[error.start : error.end]
        raise ValueError(f"the file is in {error.encoding}, which cannot write {lacking!a} ({error.reason})") from None


def _find(text: str, old: str, path: str, codec: str | None) -> re.Match[str]:
    """Return the only occurrence. Line ends of all kinds match each other."""
    if not old:
        raise ToolError("old_str is empty: it must be a text that occurs once.")
    lines = [re.escape(line) for line in old.replace("\r\n", "\n").split("\n")]
    # the lookahead finds overlapping occurrences
    places = list(re.finditer(r"(?=(" + _NEWLINE.join(lines) + r"))", text))
    if not places:
        reason = "" if codec or old.isascii() else f" {_UNKNOWN.format(path)}"
        raise ToolError(f"old_str does not occur in {path}. It must match exactly, including blanks.{reason}")
    if len(places) > 1:
        numbers = ", ".join(str(_line(text, place.start())) for place in places)
        raise ToolError(f"old_str occurs {len(places)} times in {path}, at lines {numbers}. Add lines around it.")
    return places[0]


def _newline(text: str, found: re.Match[str]) -> str:
    """Return the line end in the match, or else in the file."""
    end = re.search(_NEWLINE, found.group(1)) or re.search(_NEWLINE, text)
    return end.group() if end else "\n"


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _numbered(before: str, found: re.Match[str], replacement: str) -> str:
    """Return the whole lines that contain the new text, numbered."""
    start = before.rfind("\n", 0, found.start(1)) + 1
    stop = before.find("\n", found.end(1))
    rest = before[found.end(1) : len(before) if stop == -1 else stop]
    changed = before[start : found.start(1)] + replacement + ("" if replacement.endswith("\n") else rest)
    first = _line(before, start)
    shown = changed.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    lines = shown.removesuffix("\n").replace("\r", "").split("\n")
    return clip("\n".join(f"{number}\t{line}" for number, line in enumerate(lines, first)), _SHOWN)


def _write(path: Path, text: bytes) -> None:
    """Write the file atomically, with its own mode and owner."""
    if not os.access(path, os.W_OK):
        raise PermissionError(13, "the file is read-only")
    old = path.stat()
    handle, name = tempfile.mkstemp(prefix=".rlm-", dir=path.parent)  # noqa: TID251 - it acts for the model
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
            file.flush()
            with contextlib.suppress(PermissionError):
                os.fchown(handle, old.st_uid, old.st_gid)
            os.fchmod(handle, stat.S_IMODE(old.st_mode))
            os.fsync(handle)
        Path(name).replace(path)  # by path: as above
    except BaseException:
        Path(name).unlink(missing_ok=True)  # by path: as above
        raise


def main() -> None:
    try:
        print(json.dumps(edit(Path.cwd(), *json.load(sys.stdin))))
    except ToolError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
