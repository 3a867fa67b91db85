"""The rules of the strictest providers and chat templates for the messages of a request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

Json = dict[str, Any]


def problems(messages: Sequence[Json]) -> list[str]:
    """The violations, each with the index of its message. Empty: every provider accepts the messages."""
    return [
        *_order(messages),
        *_calls(messages),
        *(f"{at}: {what}" for at, m in enumerate(messages) for what in _one(m)),
    ]


def _order(messages: Sequence[Json]) -> Iterator[str]:
    roles = [message["role"] for message in messages]
    talk = roles[1:] if roles[:1] == ["system"] else roles
    if talk[:1] != ["user"] or "system" in talk:
        yield f"a conversation begins with the system prompt, if there is one, and the user: {roles}"
    if talk[-1:] == ["assistant"]:
        yield "nobody has spoken since the assistant"
    for at, (one, two) in enumerate(pairwise(messages)):
        refused = {"user": ("user", "tool"), "assistant": ("assistant",)}.get(two["role"], ())
        if one["role"] in refused and not _has_picture(two):  # a tool result cannot contain a picture
            yield f"{at + 1}: {two['role']} after {one['role']}"


def _calls(messages: Sequence[Json]) -> Iterator[str]:
    """Check that every call has one result before the next message of another role."""
    open_calls: list[str] = []
    for at, message in enumerate(messages):
        if message["role"] == "tool":
            if message.get("tool_call_id") not in open_calls:
                yield f"{at}: the answer to no call"
            else:
                open_calls.remove(message["tool_call_id"])
        elif open_calls:
            yield f"{at}: {message['role']} before the answer to {open_calls}"
        if message["role"] == "assistant":
            open_calls = [call["id"] for call in message.get("tool_calls", ())]
            if len(set(open_calls)) < len(open_calls):
                yield f"{at}: calls of one id"
    if open_calls:
        yield f"no answer to {open_calls}"


def _one(message: Json) -> Iterator[str]:
    content = message.get("content")
    if "tool_calls" in message and not message["tool_calls"]:
        yield "tool_calls is empty"
    if (
        content == []
        or (content is None and not message.get("tool_calls"))
        or (isinstance(content, str) and not content)
    ):
        yield f"the {message['role']} says nothing"
    for call in message.get("tool_calls", ()):
        if not isinstance(_parsed(call["function"]["arguments"]), dict):
            yield f"arguments that are no JSON object: {call['function']['arguments']!r}"


def _parsed(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _has_picture(message: Json) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(part.get("type") != "text" for part in content)
