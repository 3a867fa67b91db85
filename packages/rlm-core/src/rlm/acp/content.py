"""Content blocks and tool calls in the form of the protocol. Pure: JSON objects, which the tests validate."""

from __future__ import annotations

import re

from rlm.core.messages import Wire
from rlm.present.titles import title
from rlm.sessions.transcript import TranscriptCall

MOST = 20_000
"""Maximum characters of output in an update. Each update repeats all output that is shown."""

_KINDS = {"ipython": "execute", "bash": "execute", "edit": "edit", "summarize": "think"}
_LANGUAGES = {"ipython": "python", "bash": "bash"}


def text_block(text: str) -> Wire:
    return {"type": "text", "text": text}


def text_content(text: str) -> Wire:
    """A text as part of a tool call."""
    return {"type": "content", "content": text_block(text)}


def fenced(text: str, language: str = "") -> str:
    """A Markdown code block whose fence is longer than any in the text."""
    longest = max(map(len, re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.rstrip(chr(10))}\n{fence}"


def kind_of(tool: str) -> str:
    """The category of a tool call, from which clients choose an icon."""
    return _KINDS.get(tool, "other")


def call_title(call: TranscriptCall) -> str:
    name = f"edit {call.values['path']}" if call.tool == "edit" and isinstance(call.values.get("path"), str) else ""
    return name or title(call.tool, call.arguments) or call.tool


def asked(call: TranscriptCall, cwd: str) -> list[Wire]:
    """The content of a call before it runs: its code, or an edit as a diff."""
    values = call.values
    if call.tool == "edit" and all(isinstance(values.get(name), str) for name in ("path", "old_str", "new_str")):
        path = _absolute(values["path"], cwd)
        return [{"type": "diff", "path": path, "oldText": values["old_str"], "newText": values["new_str"]}]
    code = call.code
    return [text_content(fenced(code, _LANGUAGES.get(call.tool, "")))] if code else []


def locations(call: TranscriptCall, cwd: str) -> list[Wire]:
    """The files that a call concerns."""
    path = call.values.get("path")
    return [{"path": _absolute(path, cwd)}] if call.tool == "edit" and isinstance(path, str) else []


def output(text: str) -> list[Wire]:
    return [text_content(fenced(text))] if text.strip() else []


def _absolute(path: str, cwd: str) -> str:
    return path if path.startswith("/") else f"{cwd.rstrip('/')}/{path}"
