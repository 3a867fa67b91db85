"""Normalize replies to a form that the agent can use and that every provider accepts back. Pure functions."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rlm.core.adaptation import call_arguments, call_name
from rlm.core.messages import Assistant, Ending, Reply, Usage, Wire, ending
from rlm.providers.errors import TransportError
from rlm.text.encodings import join_surrogates

_CHARACTERS_PER_TOKEN = 4
_IMPOSSIBLE = 1e12  # tokens: such a count cannot be true
_EMPTY = "Try again, or try another model."
_REASONING = frozenset({"thinking", "redacted_thinking", "reasoning"})


MAX_DEPTH = 100
"""Maximum levels of a message's JSON. It is encoded again in requests and records, which have more levels."""
TOO_DEEP = "the reply is nested too deeply"


def check_depth(value: Any) -> None:
    """Check that no part of a value is nested too deeply to be encoded. This does not use recursion.

    Raises:
        TransportError: it is.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        parts = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [part for each in parts for part in each]
        if not level:
            return
    raise TransportError(TOO_DEEP, unreadable=True)


def new_id() -> str:
    """Return nine letters and digits: the only form of a call id that every provider accepts."""
    return uuid.uuid4().hex[:9]


def reply(message: Assistant, usage: Usage, finish: str, data: Wire) -> Reply:
    """Create a reply. `data`: see `token_data`.

    Raises:
        TransportError: the message is incomplete because of an error, or empty.
    """
    if ending(finish) is Ending.ERROR:
        raise TransportError(f"the reply broke off with an error (finish_reason {finish})")
    if not (message.calls or message.text.strip()) and ending(finish) is Ending.STOP:
        raise TransportError("The model sent an empty message", unreadable=True, few=True, hint=_EMPTY)
    return Reply(message, usage, finish, data)


_OF_TOKENS = re.compile(r"token|logprob|meta_info|sglext|expert|hidden_state")


def token_data(wire: Wire) -> Wire:
    """Return the data of single tokens in an object.

    Examples: `token_ids`, `prompt_token_ids` (vLLM), `logprobs`, `meta_info` (SGLang). The data is unchanged, so that a
    trainer finds what its server sent. Numbers, such as a limit, are not token data.
    """
    found = {name: each for name, each in wire.items() if isinstance(each, list | dict) and _OF_TOKENS.search(name)}
    if not found:
        return found
    data: Wire = strip_surrogates({name: each for name, each in found.items() if _says_something(each)})
    return data


def _says_something(value: Any) -> bool:
    """Return whether a value contains data. `{"content": null}` does not."""
    return any(map(_says_something, value.values())) if isinstance(value, dict) else value not in (None, [])


def message(received: Wire, fresh: Callable[[], str] = new_id) -> tuple[Wire, Wire]:
    """Return the message, with unknown fields unchanged, and for each repaired call the name and arguments as received.

    Null values are removed. An empty text becomes null.

    Raises:
        TransportError: a call has no function, or the message is nested too deeply.
    """
    kept = {name: value for name, value in strip_surrogates(received).items() if value is not None}
    kept |= {"role": "assistant", "content": text_of(kept.get("content"))}
    written: Wire = {}
    repaired = []
    for call in _calls(kept.pop("tool_calls", None) or _legacy(kept), fresh):
        function = call["function"]
        ours = {name: function[name] for name in ("name", "arguments")}
        # strict providers refuse arguments that are not a JSON object, and most unusual names
        valid = {"name": call_name(ours["name"]), "arguments": call_arguments(ours["arguments"])}
        if valid != ours:
            written[call["id"]] = ours
        repaired.append({**call, "function": {**function, **valid}})
    if repaired:  # some providers refuse an empty list
        kept["tool_calls"] = repaired
    check_depth(kept)
    return kept, written


def text_of(content: Any) -> str | None:
    """Return the content as text. Some providers send a list of parts; all accept text back."""
    if isinstance(content, list):
        content = "".join(filter(None, (text_of(part) for part in content if isinstance(part, str | dict))))
    elif isinstance(content, dict):
        content = None if content.get("type") in _REASONING else content.get("text")
    return str(content) if content not in (None, "") else None


def _legacy(kept: Wire) -> list[Wire]:
    """Return a call in the old form, `function_call`, which allowed only one."""
    function = kept.get("function_call")
    if not isinstance(function, dict) or not function.get("name"):
        return []
    del kept["function_call"]
    return [{"type": "function", "function": function}]


def _calls(calls: Any, fresh: Callable[[], str]) -> list[Wire]:
    """Return the calls, each with a unique id, a name, and arguments as text."""
    valid: list[Wire] = []
    for call in calls if isinstance(calls, list) else [calls] if calls else []:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise TransportError("the reply contains a tool call without a function", unreadable=True)
        id_, taken = call.get("id"), {other["id"] for other in valid}
        while not isinstance(id_, str) or not id_.strip() or id_ in taken:
            id_ = fresh()
        name, arguments = function.get("name"), function.get("arguments")
        if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
            arguments = "{}"
        fixed = {
            "name": str(name or "").strip() or "unnamed",
            "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments),
        }
        kind = call.get("type") or "function"
        valid.append({**call, "id": id_, "type": kind, "function": {**function, **fixed}})
    return valid


def usage(wire: Any, prompt_size: Callable[[], int], received: Wire) -> Usage:
    """Return the token counts. Any part may be missing or null; a missing count is estimated, and marked as such."""
    wire = wire if isinstance(wire, dict) else {}
    prompt = _count(wire.get("prompt_tokens"), wire.get("input_tokens"))
    completion = _count(wire.get("completion_tokens"), wire.get("output_tokens"))
    if not prompt and not completion:  # a prompt is never empty, so two zeros are not a count
        prompt = completion = None
    counted = prompt is not None and completion is not None
    return Usage(
        prompt_size() // _CHARACTERS_PER_TOKEN if prompt is None else prompt,
        len(json.dumps(received)) // _CHARACTERS_PER_TOKEN if completion is None else completion,
        _detail(wire, "cached_tokens", "prompt", "input") or _count(wire.get("prompt_cache_hit_tokens")) or 0,
        _detail(wire, "reasoning_tokens", "completion", "output") or 0,
        estimated=not counted or wire.get("estimated") is True,
    )


def _detail(wire: Wire, name: str, *groups: str) -> int | None:
    """Return a count from the field of the providers, or from that of the journal."""
    groups = tuple(f"{group}_tokens_details" for group in groups)
    details = next((details for group in groups if isinstance(details := wire.get(group), dict)), wire)
    return _count(details.get(name))


def _count(*values: Any) -> int | None:
    """Return the first value that can be a number of tokens, which may be sent as text; None if there is none."""
    for value in values:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            with suppress(ValueError, OverflowError):
                number = float(value)
                if math.isfinite(number) and 0 <= number < _IMPOSSIBLE:
                    return int(number)
    return None


def strip_surrogates(value: Any) -> Any:
    """Return the same JSON without lone surrogates and non-finite numbers, which cannot be sent."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return _stripped(value)
    return value


def _stripped(value: Any) -> Any:
    if isinstance(value, str):
        return join_surrogates(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_stripped(name): _stripped(part) for name, part in value.items()}
    return [_stripped(part) for part in value] if isinstance(value, list) else value
