"""Make what a provider sent sound: something the agent can work with and the provider accepts back. Pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

from rlm.messages import Reply, Usage, Wire, assistant
from rlm.models.faults import Breakdown, inside

_CHARACTERS_PER_TOKEN = 4


def new_id() -> str:
    """Nine letters and digits: the one form of a call id that every provider takes."""
    return uuid.uuid4().hex[:9]


def reply(body: Any, prompt_size: Callable[[], int], fresh: Callable[[], str] = new_id) -> Reply:
    """A chat completion as a reply. `prompt_size` counts characters, asked for where the provider counts no tokens.

    Raises:
        Refusal, Breakdown: there is no message in it.
    """
    if not isinstance(body, dict):
        raise Breakdown("the reply is no JSON object")
    if body.get("error"):
        raise inside(body["error"])
    choice = _choice(body.get("choices"))
    received = message(choice["message"], fresh)
    finish = choice.get("finish_reason") or ("tool_calls" if "tool_calls" in received else "stop")
    if finish == "error":
        raise Breakdown("the reply broke off with an error")
    return Reply(assistant(received), usage(body.get("usage"), prompt_size, received), str(finish))


def _choice(choices: Any) -> Wire:
    if not isinstance(choices, list) or not choices:
        raise Breakdown("the reply holds no choices")
    if not isinstance(choices[0], dict) or not isinstance(choices[0].get("message"), dict):
        raise Breakdown("the reply holds no message")
    return choices[0]


def message(received: Wire, fresh: Callable[[], str] = new_id) -> Wire:
    """The message with its unknown fields as they are. A null says nothing, and an empty text is a null."""
    kept = {name: value for name, value in mended(received).items() if value is not None}
    kept |= {"role": "assistant", "content": _content(kept.get("content"))}
    calls = _calls(kept.pop("tool_calls", None), fresh)
    return {**kept, "tool_calls": calls} if calls else kept


def _content(content: Any) -> str | None:
    """Some send a list of parts; the agent reads text, and all take text back."""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        content = "".join(part for part in parts if isinstance(part, str))
    return str(content) if content not in (None, "") else None


def _calls(calls: Any, fresh: Callable[[], str]) -> list[Wire]:
    """The calls, each with an id of its own. Of an empty list nothing is left: some refuse it."""
    sound: list[Wire] = []
    for call in calls if isinstance(calls, list) else []:
        if not isinstance(call, dict) or not isinstance(call.get("function"), dict):
            raise Breakdown("the reply holds a tool call without a function")
        taken = {other["id"] for other in sound}
        sound.append(_call(call, taken, fresh))
    return sound


def _call(call: Wire, taken: set[str], fresh: Callable[[], str]) -> Wire:
    function = call["function"]
    name = str(function.get("name") or "unnamed")
    id_ = call.get("id")
    while not isinstance(id_, str) or not id_ or id_ in taken:
        id_ = fresh()
    fixed = {"name": name, "arguments": _arguments(function.get("arguments"))}
    return {**call, "id": id_, "type": call.get("type") or "function", "function": {**function, **fixed}}


def _arguments(arguments: Any) -> str:
    if arguments in (None, ""):
        return "{}"
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def usage(wire: Any, prompt_size: Callable[[], int], received: Wire) -> Usage:
    """The tokens. Any part may be missing or null; a count that is missing is estimated, and marked."""
    wire = wire if isinstance(wire, dict) else {}
    prompt, completion = _count(wire.get("prompt_tokens")), _count(wire.get("completion_tokens"))
    if not prompt and not completion:  # no prompt is empty: two zeros are no count
        prompt = completion = None
    counted = prompt is not None and completion is not None
    return Usage(
        prompt_size() // _CHARACTERS_PER_TOKEN if prompt is None else prompt,
        len(json.dumps(received)) // _CHARACTERS_PER_TOKEN if completion is None else completion,
        _detail(wire, "prompt_tokens_details", "cached_tokens") or _count(wire.get("prompt_cache_hit_tokens")) or 0,
        _detail(wire, "completion_tokens_details", "reasoning_tokens") or 0,
        estimated=not counted or wire.get("estimated") is True,
    )


def _detail(wire: Wire, group: str, name: str) -> int | None:
    """Where providers count it, or where the journal does."""
    details = wire.get(group)
    return _count(details.get(name) if isinstance(details, dict) else wire.get(name))


def _count(value: Any) -> int | None:
    return max(0, int(value)) if isinstance(value, int | float) else None


def mended(value: Any) -> Any:
    """The same JSON without lone surrogates, which can be neither printed nor sent."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return _mended(value)
    return value


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        # two halves that were cut apart by a stream find together again
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_mended(name): _mended(part) for name, part in value.items()}
    return [_mended(part) for part in value] if isinstance(value, list) else value
