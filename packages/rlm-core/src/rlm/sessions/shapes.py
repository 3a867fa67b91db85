"""What each record of a journal must hold, so that whoever reads one need not ask: docs/sessions.schema.json, in short.

A line that does not fit is damaged, as one that is no JSON. Unknown types and fields fit: later versions have some.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Fits = Callable[[Any], bool]

_LARGE = 2**63  # a number beyond is none that a clock or a counter gave, and cannot be shown


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < _LARGE


def number(value: Any) -> bool:
    return type(value) in (int, float) and -_LARGE < value < _LARGE


def _each(fits: Fits) -> Fits:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _counts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(whole, value.values()))


def usage(value: Any) -> bool:
    return isinstance(value, dict) and all(whole(n) or (name == "estimated" and _flag(n)) for name, n in value.items())


def _tool(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("function"), dict)


def _call(value: Any) -> bool:
    return _fit(value, {"id": _text, "function": lambda it: _fit(it, {"name": _text, "arguments": _text})})


def _part(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return value.get("type") != "image_url" or _fit(value.get("image_url"), {"url": _text})


def _content(value: Any) -> bool:
    return isinstance(value, str) or _each(_part)(value)


def _fit(value: Any, fields: Mapping[str, Fits], optional: Mapping[str, Fits] | None = None) -> bool:
    return (
        isinstance(value, dict)
        and all(name in value and fits(value[name]) for name, fits in fields.items())
        and all(name not in value or fits(value[name]) for name, fits in (optional or {}).items())
    )


_MESSAGES: dict[str, tuple[dict[str, Fits], dict[str, Fits]]] = {
    "system": ({"content": _content}, {}),
    "user": ({"content": _content}, {}),
    "assistant": ({}, {"tool_calls": lambda value: value is None or _each(_call)(value)}),
    "tool": ({"content": _text, "tool_call_id": _text}, {}),
    "tool anew": ({"content": _content, "tool_call_id": _text}, {}),  # pictures may be joined to it
}
_BESIDE: dict[str, dict[str, Fits]] = {
    "assistant": {"usage": usage, "finish_reason": _text},
    "tool": {"tool": _text, "ok": _flag},
}
_RECORDS: dict[str, dict[str, Fits]] = {
    "request": {"model": _text, "tools": _each(_tool), "params": _object},
    "adapt": {"adaptations": _each(_text), "messages": _object, "gone": _each(whole)},
    "drop": {"ids": _each(whole), "reason": _text},
    "agent_start": {"folder": _text, "prompt": _text},
    "agent_end": {"folder": _text, "stop": _text, "turns": whole, "usage": usage},
    "retry": {"reason": _text, "attempt": whole, "wait": number},
    "error": {"reason": _text},
    "kernel": {"why": _text, "lost": _each(_text)},
    "skills": {"python": _counts, "shell": _counts},
    "rerun": {"call_id": _text, "same": _flag},
    "checkpoint": {"sha256": _text, "sandbox": _text},
    "result": {"status": _text, "stop_reason": _text, "answer": _text, "turns": whole, "usage": usage},
}
_ALWAYS: dict[str, Fits] = {"type": _text, "id": whole, "ts": number}
_OPTIONAL: dict[str, Fits] = {
    **dict.fromkeys(("kind", "error", "summary", "forked_from"), _text),
    **dict.fromkeys(("left", "written"), _object),
    "content": _content,
    "api": _text,
    "items": lambda value: _each(_object)(value) or (_object(value) and all(map(_each(_object), value.values()))),
    "joined": _each(lambda value: _fit(value, {"content": _content}, {"kind": _text})),
    "aside": _flag,
    "anew": _flag,
    "duration": number,
    "turns": lambda value: whole(value) or (_each(whole)(value) and len(value) == 2),
}


def fits(record: Any) -> bool:
    """Whether this is a record that all readers understand."""
    if not _fit(record, _ALWAYS, _OPTIONAL):
        return False
    kind = record["type"]
    return _message(record) if kind == "message" else _fit(record, _RECORDS.get(kind, {}))


def _message(record: dict[str, Any]) -> bool:
    message = record.get("message")
    role = message.get("role") if isinstance(message, dict) else None
    if not isinstance(role, str) or role not in _MESSAGES:
        return False
    form = "tool anew" if role == "tool" and record.get("anew") else role
    return _fit(message, *_MESSAGES[form]) and _fit(record, _BESIDE.get(role, {}))
