"""The changes that a provider may require in the messages of a conversation. Pure functions.

rlm avoids most refusals before it sends anything. The rest depends on the provider, so rlm learns it from refusals:
another provider, or an older version of rlm, may have created these messages. See `Model.adaptations`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from enum import StrEnum

from msgspec.structs import replace

from rlm.core.messages import Assistant, Message, ToolResult, User, Wire, assistant
from rlm.text.strict_json import refuse_constant


class Adaptation(StrEnum):
    """One in-place change of messages, required by a provider or after a drop."""

    SHORT_IDS = "short_ids"  # Mistral: nine letters and digits
    PLAIN_FIELDS = "plain_fields"  # Groq, Cerebras: no field that the format does not know
    NO_ITEMS = "no_items"  # Responses: a server cannot read the items of another endpoint, or of another key
    SOUND_CALLS = "sound_calls"  # llama.cpp, vLLM: arguments that are a JSON object, plain names
    TEXT_CONTENT = "text_content"  # llama.cpp, LM Studio: "" beside calls; others need null, our default
    NO_PICTURES = "no_pictures"  # models that read only text
    ROLE_ORDER = "role_order"  # Mistral, Gemini and many templates: no user message after a tool's or a user's
    JOINED_USERS = "joined_users"  # consecutive user messages, left by a drop, become one
    NEWEST_SUMMARY = "newest_summary"  # older summaries are removed
    NO_TOOL_CHOICE = "no_tool_choice"  # some vLLM: tool_choice "none" is refused


PICTURE = "[a picture, left out: you get text alone]"

_PLAIN = ("role", "content", "name", "tool_calls")
_ITEM_FIELDS = {
    "reasoning": frozenset({"type", "id", "summary", "content", "encrypted_content"}),
    "message": frozenset({"type", "id", "role", "content", "status", "phase"}),
    "function_call": frozenset({"type", "id", "call_id", "name", "arguments", "status"}),
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


def call_name(name: str) -> str:
    """Return the name of a tool in a form that every provider accepts."""
    if _NAME.fullmatch(name):
        return name
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return (plain if plain[:1].isalpha() or plain[:1] == "_" else f"_{plain}")[:64]


def call_arguments(arguments: str) -> str:
    """Return the arguments of a call in a form that every provider accepts: `{}` if they are no JSON object."""
    try:
        valid = isinstance(json.loads(arguments, parse_constant=refuse_constant), dict)
    except (ValueError, RecursionError):
        valid = False
    return arguments if valid else "{}"


def short_id(id: str) -> str:
    """Return nine letters and digits, always the same for the same id. An id in that form stays unchanged."""
    return id if re.fullmatch(r"[A-Za-z0-9]{9}", id) else hashlib.sha256(id.encode()).hexdigest()[:9]


def adapt(message: Message, adaptations: Iterable[Adaptation]) -> Message:
    """Return the message with these changes. A message that needs no change stays the same object."""
    for adaptation in adaptations:
        change = _CHANGES.get(adaptation)
        message = change(message) if change else message
    return message


def _short_ids(message: Message) -> Message:
    if isinstance(message, ToolResult):
        id = short_id(message.call.id)
        return message if id == message.call.id else replace(message, call=replace(message.call, id=id))
    return _change_calls(message, lambda call: {**call, "id": short_id(call["id"])})


def _plain_fields(message: Message) -> Message:
    if not isinstance(message, Assistant):
        return message
    plain = {name: value for name, value in message.received.items() if name in _PLAIN}
    items = tuple(map(_plain_item, message.items))
    same = (plain, items) == (message.received, message.items)
    changed = message if same else assistant(plain, message.written, items)
    return _change_calls(changed, _plain_call, items)


def _plain_item(item: Wire) -> Wire:
    """Drop the fields that one endpoint adds to an item of the Responses API: another endpoint may refuse them."""
    fields = _ITEM_FIELDS.get(item.get("type", ""), frozenset(item))
    return {name: value for name, value in item.items() if name in fields and value is not None}


def _no_items(message: Message) -> Message:
    return replace(message, items=()) if isinstance(message, Assistant) and message.items else message


def _plain_call(call: Wire) -> Wire:
    function = {name: call["function"][name] for name in ("name", "arguments")}
    return {"id": call["id"], "type": call["type"], "function": function}


def _text_content(message: Message) -> Message:
    if not isinstance(message, Assistant) or message.received.get("content") is not None:
        return message
    return assistant({**message.received, "content": ""}, message.written)


def _no_pictures(message: Message) -> Message:
    if not isinstance(message, User | ToolResult):
        return message
    joined = tuple(replace(user, content=_as_text(user.content)) for user in message.joined)
    content = _as_text(message.content) if isinstance(message, User) else message.content
    changed = replace(message, content=content, joined=joined)
    return message if changed == message else changed


def _as_text(content: str | list[Wire]) -> str:
    """Replace a list of parts by text, with one line for each picture."""
    if isinstance(content, str):
        return content
    return "\n\n".join(str(part.get("text", PICTURE)) for part in content)


def _sound_calls(message: Message) -> Message:
    return _change_calls(message, _sound_call)


def _sound_call(call: Wire) -> Wire:
    function = call["function"]
    valid = {"name": call_name(function["name"]), "arguments": call_arguments(function["arguments"])}
    return {**call, "function": {**function, **valid}}


def _change_calls(message: Message, change: Callable[[Wire], Wire], items: Iterable[Wire] = ()) -> Message:
    """Return the message with changed calls. `items` describe the same calls for the Responses API."""
    if not isinstance(message, Assistant) or not message.calls:
        return message
    calls = message.received["tool_calls"]
    changed = [change(call) for call in calls]
    if changed == calls:
        return message
    written = {
        new["id"]: {"name": call.name, "arguments": call.arguments}
        for new, call in zip(changed, message.calls, strict=True)
        if (new["function"]["name"], new["function"]["arguments"]) != (call.name, call.arguments)
    }
    return assistant({**message.received, "tool_calls": changed}, written, items)


_CHANGES: dict[Adaptation, Callable[[Message], Message]] = {
    Adaptation.SHORT_IDS: _short_ids,
    Adaptation.PLAIN_FIELDS: _plain_fields,
    Adaptation.NO_ITEMS: _no_items,
    Adaptation.SOUND_CALLS: _sound_calls,
    Adaptation.TEXT_CONTENT: _text_content,
    Adaptation.NO_PICTURES: _no_pictures,
}
