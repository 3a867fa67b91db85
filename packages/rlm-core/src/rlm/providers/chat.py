"""The Chat Completions API."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from rlm.core.adaptation import Adaptation
from rlm.core.messages import CHAT, Reply, Wire, assistant
from rlm.providers import normalize
from rlm.providers.errors import HTTPError, TransportError, check_for_error
from rlm.providers.learned import wanted_adaptation
from rlm.providers.ports import ModelPrompt, Piece

RESPONSES_NEEDED = "The model needs the Responses API: set RLM_API=responses (or --api responses)."
_NAMES_RESPONSES = re.compile(r"/responses\b|\bresponses (api|endpoint)\b|\bnot a chat model\b")
_REASONING = ("reasoning_content", "reasoning")
_NAMES = frozenset({"role", "id", "type", "index", "format"})
"""Strings that some providers repeat in every piece of a stream; other strings are concatenated."""


class ChatAPI:
    """The `rlm.providers.ports.API` of Chat Completions."""

    name = CHAT
    path = "/chat/completions"

    def body(self, prompt: ModelPrompt) -> Wire:
        messages = [message.wire() for message in prompt.messages]
        body = (prompt.params or {}) | {"model": prompt.model, "messages": messages}
        if prompt.tools:
            body["tools"] = [{"type": "function", "function": schema} for schema in prompt.tools]
        if prompt.tools and prompt.tool_choice == "none":
            body["tool_choice"] = "none"
        return body

    def streamed(self, *, with_usage: bool) -> Wire:
        return {"stream": True} | ({"stream_options": {"include_usage": True}} if with_usage else {})

    def assembler(self) -> ChatAssembler:
        return ChatAssembler()

    def adaptation(self, fault: HTTPError, prompt: ModelPrompt) -> Adaptation | None:
        return wanted_adaptation(fault, self.body(prompt))

    def hint(self, fault: HTTPError) -> str:
        return RESPONSES_NEEDED if _NAMES_RESPONSES.search(fault.text.lower()) else ""

    def reply(self, body: Any, prompt_size: Callable[[], int]) -> Reply:
        if not isinstance(body, dict):
            raise TransportError("the reply is not a JSON object", unreadable=True)
        check_for_error(body)
        choices = body.get("choices")
        if not isinstance(choices, list) or not choices:
            raise TransportError("the reply contains no choices", unreadable=True)
        choice = choices[0]
        if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
            raise TransportError("the reply contains no message", unreadable=True)
        received, written = normalize.message(choice["message"])
        finish = str(choice.get("finish_reason") or ("tool_calls" if "tool_calls" in received else "stop"))
        tokens = normalize.usage(body.get("usage"), prompt_size, received)
        data = normalize.token_data(body) | normalize.token_data(choice)
        return normalize.reply(assistant(received, written), tokens, finish, data)


# ---- streams


class ChatAssembler:
    """Assemble a completion from chunks in their order. `body()` returns it."""

    def __init__(self) -> None:
        self._message: Wire = {}
        self._calls = CallAssembler()
        self._begun = False
        self._finish: Any = None
        self._usage: Any = None
        self._served: Wire = {}  # the model and the tier that served the request
        self._token_data: Wire = {}

    @property
    def finished(self) -> bool:
        """True when the provider has sent the finish reason. The usage may follow."""
        return bool(self._finish)

    def takes(self, chunk: Any) -> bool:
        return isinstance(chunk, dict) and '"delta"' in json.dumps(chunk)

    def add(self, chunk: Any) -> Piece:
        """Add a chunk. Return the piece that it adds to the message.

        Raises:
            HTTPError, TransportError: it is an error, or not a valid chunk.
        """
        if not isinstance(chunk, dict):
            raise TransportError("the stream contains something that is not a JSON object", unreadable=True)
        check_for_error(chunk)
        self._usage = chunk.get("usage") or self._usage
        self._served |= {name: chunk[name] for name in _SERVED if chunk.get(name)}
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        self._begun = self._begun or choice != {}
        delta = choice.get("delta") or choice.get("message") or {} if isinstance(choice, dict) else None
        if not isinstance(delta, dict):
            raise TransportError("the stream contains no message", unreadable=True)
        self._finish = choice.get("finish_reason") or self._finish
        for name, value in (normalize.token_data(chunk) | normalize.token_data(choice)).items():
            if _COMPLETE.search(name):
                self._token_data[name] = value
            else:
                merge(self._token_data, {name: value})
        return self._add(delta)

    def body(self, *, done: bool = False) -> Wire:
        """Return the completion. `done`: the end marker has come, which is an end even without a finish reason.

        Raises:
            TransportError: the stream ended before the message did.
        """
        calls = {"tool_calls": self._calls.calls} if self._calls.calls else {}
        message = self._message | calls
        if not self._begun:
            raise TransportError("the reply contains no choices", unreadable=True)
        if not self._finish and not (done and (message.keys() - {"role"})):
            raise TransportError("the stream broke off", unreadable=True)
        choice = {"message": message, "finish_reason": self._finish}
        return self._served | self._token_data | {"choices": [choice], "usage": self._usage}

    def _add(self, delta: Wire) -> Piece:
        calls = delta.get("tool_calls") or ()
        arguments = ""
        for piece in calls if isinstance(calls, list | tuple) else (calls,):
            if not isinstance(piece, dict):
                raise TransportError("the stream contains an invalid tool call", unreadable=True)
            self._calls.add(piece)
            function = piece.get("function")
            added = function.get("arguments") if isinstance(function, dict) else None
            arguments += added if isinstance(added, str) else ""
        text = normalize.text_of(delta.get("content")) or ""
        rest = {name: value for name, value in delta.items() if name not in ("tool_calls", "content")}
        merge(self._message, rest | ({"content": text} if text else {}))
        reasoning = next((delta[name] for name in _REASONING if isinstance(delta.get(name), str)), "")
        return Piece(text, reasoning, arguments)


_SERVED = ("model", "service_tier")
_COMPLETE = re.compile("prompt|meta_info|sglext")
"""Token data with these names is complete in a chunk. Other token data comes in parts."""


class CallAssembler:
    """Assemble the tool calls of a message from pieces. `calls` has them in the order in which they began."""

    def __init__(self) -> None:
        self.calls: list[Wire] = []
        self._by_index: dict[Any, Wire] = {}
        self._alone: str | None = None  # a name that came without arguments, after a complete call of the same name

    def add(self, piece: Wire) -> None:
        function = dict(piece["function"]) if isinstance(piece.get("function"), dict) else {}
        alone, self._alone = self._alone, None
        if alone and not function.get("name") and function.get("arguments"):
            function["name"] = alone
        call = self._call_of(piece, function)
        if call is None:
            call = {}
            self.calls.append(call)
            self._by_index[_call_index(piece)] = call
        have = call.get("function", {}).get("arguments")
        if isinstance(have, dict) and isinstance(function.get("arguments"), dict):
            function["arguments"], call["function"]["arguments"] = None, have | function["arguments"]
        if isinstance(have, str) and _repeats(function.get("arguments"), have):
            call["function"]["arguments"] = function.pop("arguments")
        _merge_name(call, function)
        rest = {name: value for name, value in piece.items() if name not in ("index", "function")}
        merge(call, rest | {"function": {name: value for name, value in function.items() if name != "name"}})

    def _call_of(self, piece: Wire, function: Wire) -> Wire | None:
        """Return the call that a piece belongs to; None if it begins a new call.

        It is found by the index if there is one, else by the id; else it is the newest call.
        """
        index, id_ = _call_index(piece), piece.get("id")
        known = [call for call in self.calls if id_ and call.get("id") == id_]
        if index is not None:
            call = self._by_index.get(index)
        else:
            call = known[0] if known else self.calls[-1] if self.calls else None
        return None if call is None or self._begins_another(index, id_, function, call) else call

    def _begins_another(self, index: Any, id_: Any, function: Wire, call: Wire) -> bool:
        """Return whether a piece begins another call than the one that its index or id names.

        Some providers give every call the index 0 or none; some give every piece of one call a different id. A call
        begins with its name, so a piece with a name begins a new call if the call so far is complete.
        """
        name, other_id = function.get("name"), call.get("id")
        if not name or (id_ and id_ == other_id):
            return False
        same_name = name == call.get("function", {}).get("name")
        if id_ and other_id:
            return index is None or _is_complete(call) or not same_name
        if not _is_complete(call):
            return False
        if same_name and not id_ and not function.get("arguments"):
            self._alone = name  # a repeated name, or the beginning of another call: the next piece decides
            return False
        return True


def _call_index(piece: Wire) -> Any:
    index = piece.get("index")
    return index if isinstance(index, int | str) else None


def _is_complete(call: Wire) -> bool:
    arguments = call.get("function", {}).get("arguments")
    return isinstance(arguments, dict) or _is_object(arguments)


def _is_object(text: Any) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (TypeError, ValueError, RecursionError):
        return False


def _repeats(arguments: Any, have: str) -> bool:
    """Return whether a piece repeats all arguments so far: some providers do so in every piece, or once at the end."""
    return isinstance(arguments, str) and have != "" and arguments.startswith(have) and _is_object(arguments)


def _merge_name(call: Wire, function: Wire) -> None:
    """Add a piece's name. Most providers send the name once, some in every piece, and a few in parts."""
    name, have = function.get("name"), call.setdefault("function", {}).get("name")
    if isinstance(name, str) and name:
        repeated = not isinstance(have, str) or name.startswith(have)
        call["function"]["name"] = name if repeated else have + name


def merge(whole: Wire, piece: Wire) -> None:
    """Add a piece to a message: join texts, merge objects, match list items by `index`, and append all other items."""
    for name, value in piece.items():
        have = whole.get(name)
        if value is None:
            continue
        if isinstance(have, str) and isinstance(value, str):
            whole[name] = (value or have) if name in _NAMES else have + value
        elif isinstance(have, dict) and isinstance(value, dict):
            merge(have, value)
        elif isinstance(have, list) and isinstance(value, list):
            _extend(have, value)
        else:
            whole[name] = _copy(value)


def _extend(whole: list[Any], pieces: list[Any]) -> None:
    for piece in pieces:
        same = [item for item in whole if _index_of(piece) is not None and _index_of(item) == _index_of(piece)]
        if same:
            merge(same[0], piece)
        else:
            whole.append(_copy(piece))


def _index_of(item: Any) -> Any:
    return item.get("index") if isinstance(item, dict) else None


def _copy(value: Any) -> Any:
    """Copy a value, because later pieces change it and a chunk must not be changed."""
    if isinstance(value, dict):
        return {name: _copy(part) for name, part in value.items()}
    return [_copy(part) for part in value] if isinstance(value, list) else value
