"""The Responses API as OpenAI's server implements it, for a server whose script uses the terms of the chat API.

`refusal` refuses the same requests as OpenAI from a client that stores the conversation itself (`store` is false). It
is stateless: an item's id contains its response, its position and a digest of its content.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

Json = dict[str, Any]

ENCRYPTED = "reasoning.encrypted_content"
PARAMETERS = frozenset(
    [
        "background",
        "context_management",
        "conversation",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "moderation",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    ]
)
"""The parameters of `POST /v1/responses`, from the openai package."""

_OUTPUT = ("reasoning", "message", "function_call")
_FIELDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "reasoning": (frozenset({"id", "summary", "encrypted_content"}), frozenset({"content"})),
    "message": (frozenset({"id", "role", "content", "status"}), frozenset({"phase"})),
    "function_call": (frozenset({"call_id", "name", "arguments"}), frozenset({"id", "status", "caller", "namespace"})),
    "function_call_output": (frozenset({"call_id", "output"}), frozenset({"id", "status"})),
}
"""By type of item: the required fields besides `type`, and the allowed fields."""
_ISSUED = re.compile(r"(?:rs|msg|fc)_(\w+)_(\d+)_(\w+)")


# ---- conversion of a script's answer


def response(completion: Json, request: Json) -> Json:
    """Convert a chat completion to a response. A body that is no completion is unchanged."""
    choices = completion.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0].get("message"), dict):
        return completion
    number = str(completion.get("id")).rpartition("-")[2]
    incomplete = _cut_off(str(choices[0].get("finish_reason")))
    body = {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "incomplete" if incomplete else "completed",
        "error": None,
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "instructions": request.get("instructions"),
        "model": completion.get("model"),
        "output": _output(choices[0]["message"], number, "incomplete" if incomplete else "completed"),
        "store": False,
        "text": {"format": {"type": "text"}},
        "tool_choice": request.get("tool_choice", "auto"),
    }
    counted = completion.get("usage")
    return body | {"usage": _usage(counted) if isinstance(counted, dict) else None}


def _cut_off(finish: str) -> str | None:
    word = finish.lower()
    if "length" in word or "max" in word:
        return "max_output_tokens"
    return "content_filter" if re.search("filter|safety|recitation|sensitive", word) else None


def _usage(counted: Json) -> Json:
    return {
        "input_tokens": counted.get("prompt_tokens"),
        "input_tokens_details": counted.get("prompt_tokens_details"),
        "output_tokens": counted.get("completion_tokens"),
        "output_tokens_details": counted.get("completion_tokens_details"),
    }


def _output(message: Json, number: str, status: str) -> list[Json]:
    """The items of a response. The first is reasoning, without which the later items are refused."""
    thoughts = message.get("reasoning_content") or message.get("reasoning") or ""
    summary = [{"type": "summary_text", "text": thoughts}] if isinstance(thoughts, str) and thoughts else []
    items: list[Json] = [
        {"type": "reasoning", "summary": summary, "content": None, "encrypted_content": f"gAAA{number}"},
        *_message_items(message, status),
        *(_call_item(call, status) for call in message.get("tool_calls") or ()),
    ]
    ids = [item.get("call_id") for item in items]
    return [_issued(item, number, position, again=ids.count(ids[position]) > 1) for position, item in enumerate(items)]


def _message_items(message: Json, status: str) -> Iterator[Json]:
    parts: list[Json] = []
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    if content:
        parts.append({"type": "output_text", "text": content, "annotations": [], "logprobs": []})
    if message.get("refusal"):
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    if parts:
        yield {"type": "message", "role": "assistant", "status": status, "content": parts}


def _call_item(call: Json, status: str) -> Json:
    item = {"type": "function_call", "status": status, **call["function"]}
    return item | ({"call_id": call["id"]} if call.get("id") else {})


def _issued(item: Json, number: str, position: int, *, again: bool) -> Json:
    """Add the id. `again`: the call has the same id as another one."""
    prefix = {"reasoning": "rs", "message": "msg", "function_call": "fc"}[item["type"]]
    return {
        "id": f"{prefix}_{number}_{position}_{'repaired' if again and 'call_id' in item else _digest(item)}",
        **item,
    }


def _digest(item: Json) -> str:
    """A digest of the content. If a client must repair the item before it sends it back, the digest is constant."""
    said = {name: value for name, value in item.items() if name != "id" and value is not None}
    held = json.dumps(said, sort_keys=True, ensure_ascii=False)
    odd = re.search("[\ud800-\udfff]|NaN|Infinity", held) or (item["type"] == "function_call" and not _is_valid(item))
    return "repaired" if odd else hashlib.sha256(held.encode()).hexdigest()[:12]


def _is_valid(item: Json) -> bool:
    try:
        arguments = json.loads(item["arguments"])
    except (TypeError, ValueError, RecursionError):
        return False
    named = isinstance(item.get("name"), str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", item["name"])
    return isinstance(arguments, dict) and bool(named) and "call_id" in item


# ---- the stream of a response


def events(body: Json, piece: int) -> Iterator[Json]:
    """A response as the events of its stream. A body that is no response is one event."""
    if body.get("object") != "response":
        yield body
        return
    begun = {**body, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for position, item in enumerate(body["output"]):
        at = {"output_index": position, "item_id": item["id"]}
        yield {"type": "response.output_item.added", "output_index": position, "item": item | _without_content(item)}
        yield from ({**event, **at} for event in _deltas(item, piece))
        yield {"type": "response.output_item.done", "output_index": position, "item": item}
    yield {"type": f"response.{body['status']}", "response": body}


def _without_content(item: Json) -> Json:
    empty: dict[str, Json] = {
        "reasoning": {"summary": [], "encrypted_content": ""},
        "message": {"content": []},
        "function_call": {"arguments": ""},
    }
    return {**empty[item["type"]], "status": "in_progress"}


def _deltas(item: Json, piece: int) -> Iterator[Json]:
    if item["type"] == "function_call":
        arguments = item["arguments"] if isinstance(item["arguments"], str) else json.dumps(item["arguments"])
        for part in cut(arguments, piece):
            yield {"type": "response.function_call_arguments.delta", "delta": part}
        yield {"type": "response.function_call_arguments.done", "arguments": arguments}
        return
    name = "summary" if item["type"] == "reasoning" else "content"
    for index, part in enumerate(item[name]):
        kind = {"summary_text": "reasoning_summary_text"}.get(part["type"], part["type"])
        for text in cut(part.get("text") or part.get("refusal"), piece):
            yield {"type": f"response.{kind}.delta", f"{name}_index": index, "delta": text}
        yield {"type": f"response.{kind}.done", f"{name}_index": index}


def cut(value: str, piece: int) -> list[str]:
    """Divide a text into pieces of this many characters."""
    return [value[start : start + piece] for start in range(0, len(value), piece)] or [""]


# ---- conversion of a request to the chat API


def chat_body(body: Json) -> Json:
    """Convert the request to the chat API, so that a test need not know which API was used."""
    chat = {name: value for name, value in body.items() if name not in _OTHERS}
    if "max_output_tokens" in body:
        chat["max_completion_tokens"] = body["max_output_tokens"]
    if effort := (body.get("reasoning") or {}).get("effort"):
        chat["reasoning_effort"] = effort
    chat |= {"verbosity": (body.get("text") or {})["verbosity"]} if "verbosity" in (body.get("text") or {}) else {}
    if "tools" in body:
        chat["tools"] = [{"type": "function", "function": _without(tool, "type", "strict")} for tool in body["tools"]]
    return chat | {"messages": list(_messages(body))}


_OTHERS = frozenset(["include", "input", "instructions", "max_output_tokens", "reasoning", "store", "text", "tools"])


def _without(wire: Json, *names: str) -> Json:
    return {name: value for name, value in wire.items() if name not in names}


def _messages(body: Json) -> Iterator[Json]:
    if body.get("instructions") is not None:
        yield {"role": "system", "content": body["instructions"]}
    said: list[Json] = []
    for item in body["input"]:
        if item.get("type") in _OUTPUT or item.get("role") == "assistant":
            said.append(item)
            continue
        if said:
            yield _assistant(said)
            said = []
        if item.get("type") == "function_call_output":
            yield {"role": "tool", "tool_call_id": item["call_id"], "content": _content(item["output"])}
        else:
            yield {"role": item["role"], "content": _content(item["content"])}
    if said:
        yield _assistant(said)


def _content(content: str | list[Json]) -> str | list[Json]:
    return content if isinstance(content, str) else [_part(part) for part in content]


def _part(part: Json) -> Json:
    if part["type"] == "input_image":
        return {"type": "image_url", "image_url": {"url": part["image_url"]}}
    return {"type": "text", "text": part["text"]}


def _assistant(items: Sequence[Json]) -> Json:
    texts = [item["content"] for item in items if isinstance(item.get("content"), str)]
    parts = [part for item in items for part in (item.get("content") or ()) if isinstance(part, dict)]
    texts += [part["text"] for part in parts if part["type"] == "output_text"]
    refusals = [part["refusal"] for part in parts if part["type"] == "refusal"]
    thoughts = [part["text"] for item in items for part in item.get("summary", ())]
    calls = [
        {"id": item["call_id"], "type": "function", "function": {name: item[name] for name in ("name", "arguments")}}
        for item in items
        if item.get("type") == "function_call"
    ]
    message: Json = {"role": "assistant", "content": "".join(texts) or None, "refusal": "".join(refusals)}
    message |= {"reasoning_content": "".join(thoughts), "tool_calls": calls}
    return {name: value for name, value in message.items() if value or name == "content"}


# ---- refusals


def refusal(body: Json) -> tuple[str, str] | None:
    """OpenAI's error message for a request, and the parameter; None if the request is accepted."""
    return next(_problems(body), None)


def _problems(body: Json) -> Iterator[tuple[str, str]]:
    for name in body.keys() - PARAMETERS:
        yield f"Unknown parameter: '{name}'.", name
    if body.get("store") is not False or ENCRYPTED not in body.get("include", ()):
        yield "A client without state sets store to false and asks for the encrypted reasoning.", "store"
    for at, tool in enumerate(body.get("tools", ())):
        if missing := {"type", "name", "parameters", "strict"} - tool.keys():
            yield f"Missing required parameter: 'tools[{at}].{min(missing)}'.", f"tools[{at}]"
    items = body.get("input")
    if not isinstance(items, list) or not items:
        yield "Missing required parameter: 'input'.", "input"
        return
    for at, item in enumerate(items):
        yield from ((why, f"input[{at}]") for why in _of_item(item, f"input[{at}]"))
    yield from ((why, "input") for why in (*_reasoning_problems(items), *_call_problems(items)))


def _of_item(item: Json, path: str) -> Iterator[str]:
    kind = item.get("type", "message")
    if kind == "message" and "id" not in item:
        yield from _of_easy_message(item, path)
        return
    if kind not in _FIELDS:
        yield f"Invalid value: '{kind}' at {path}.type."
        return
    needed, allowed = _FIELDS[kind]
    if missing := needed - item.keys():
        yield f"Missing required parameter: '{path}.{min(missing)}'."
    if unknown := item.keys() - needed - allowed - {"type"}:
        yield f"Unknown parameter: '{path}.{min(unknown)}'."
    if kind == "reasoning" and not item.get("encrypted_content"):
        yield f"Item with id '{item['id']}' not found. Items are not persisted when `store` is set to false."
    issued = _ISSUED.fullmatch(item.get("id", ""))
    if issued and issued[3] not in ("repaired", _digest(item)):
        yield f"The item '{item['id']}' at {path} could not be verified: it is not as it was given."


def _of_easy_message(item: Json, path: str) -> Iterator[str]:
    if item.get("role") not in ("user", "assistant", "system", "developer") or item.keys() - {
        "type",
        "role",
        "content",
    }:
        yield f"Invalid value at {path}."
    content = item.get("content")
    if not content:
        yield f"Missing required parameter: '{path}.content'."
    for part in content if isinstance(content, list) else ():
        fields = {"input_text": {"type", "text"}, "input_image": {"type", "image_url", "detail"}}.get(part.get("type"))
        if fields is None or part.keys() != fields:
            yield f"Invalid value in {path}.content."


def _reasoning_problems(items: Sequence[Json]) -> Iterator[str]:
    """Reasoning must stand directly before the items that it led to."""
    for before, item in pairwise(({}, *items, {})):
        if before.get("type") == "reasoning" and item.get("type") not in ("message", "function_call", "reasoning"):
            yield f"Item '{before['id']}' of type 'reasoning' was provided without its required following item."
        one, two = (_ISSUED.fullmatch(each.get("id", "")) for each in (before, item))
        if two and int(two[2]) > 0 and (one is None or (one[1], int(one[2])) != (two[1], int(two[2]) - 1)):
            kind, thoughts = item["type"], f"rs_{two[1]}_0"
            yield f"Item '{item['id']}' of type '{kind}' was provided without its required 'reasoning' item: '{thoughts}'."


def _call_problems(items: Sequence[Json]) -> Iterator[str]:
    waiting: dict[str, Mapping[str, Any]] = {}
    for item in items:
        call = item.get("call_id")
        if item.get("type") == "function_call" and isinstance(call, str):
            waiting[call] = item
        elif item.get("type") == "function_call_output" and waiting.pop(str(call), None) is None:
            yield f"No tool call found for function call output with call_id {call}."
        elif item.get("role") and waiting:
            break
    for call in waiting:
        yield f"No tool output found for function call {call}."
