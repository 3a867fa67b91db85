"""The Responses API, used without state at the provider.

The provider stores nothing (`store` is false), so each request contains the whole conversation. The model's own output
items are sent back unchanged and in their order: they contain the encrypted reasoning, and the API refuses a call
without the reasoning before it. The journal keeps a message in the chat format with its items beside it.
docs/sessions.md describes how a request is built from both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from rlm.core.adaptation import Adaptation, adapt
from rlm.core.messages import Reply, Wire, assistant, items_of
from rlm.providers import normalize
from rlm.providers.chat import ChatAPI
from rlm.providers.errors import HTTPError, TransportError, check_for_error, embedded_fault
from rlm.providers.learned import wanted_adaptation
from rlm.providers.ports import ModelPrompt, Piece

CHAT_NEEDED = "The server does not support this in its Responses API: set RLM_API=chat (or --api chat)."
_NAMES_CHAT = re.compile(
    r"chat[/ .]completions|not supported (in|with|by|on) the (v1/)?responses\b|cannot be used with the responses api"
)
_FOREIGN_ITEM = re.compile(
    r"encrypted[ _]content|\bitem\b.{0,100}(not found|required|expired)|\b(rs|fc|msg)_\w+.{0,60}not found"
)
_ITEM_FIELD = re.compile(
    r"(unknown|unexpected|unrecognized|unsupported|extra|invalid|missing).{0,60}\binput(\[\d+\]|\.\d+)"
    r"|\binput(\[\d+\]|\.\d+).{0,80}(unknown|unexpected|unrecognized|unsupported|extra|not permitted|invalid|missing)"
)
ENCRYPTED_REASONING = "reasoning.encrypted_content"


class ResponsesAPI:
    """The `rlm.providers.ports.API` of Responses."""

    name = "responses"
    path = "/responses"

    def body(self, prompt: ModelPrompt) -> Wire:
        instructions, items = to_input((message.wire(), items_of(message)) for message in prompt.messages)
        body = to_params(prompt.params or {}) | {"model": prompt.model, "input": items}
        if instructions is not None:
            body["instructions"] = instructions
        if prompt.tools:
            # not strict, like the default of the chat API: a strict schema cannot have optional arguments
            body["tools"] = [{"type": "function", **schema, "strict": False} for schema in prompt.tools]
        if prompt.tools and prompt.tool_choice == "none":
            body["tool_choice"] = "none"
        return body

    def streamed(self, *, with_usage: bool) -> Wire:  # noqa: ARG002 - the API always sends the usage
        return {"stream": True}

    def assembler(self) -> ResponsesAssembler:
        return ResponsesAssembler()

    def adaptation(self, fault: HTTPError, prompt: ModelPrompt) -> Adaptation | None:
        text = fault.text.lower()
        if fault.status in (400, 404, 422) and any(map(items_of, prompt.messages)):
            plain = all(adapt(message, [Adaptation.PLAIN_FIELDS]) == message for message in prompt.messages)
            if _FOREIGN_ITEM.search(text) or (plain and _ITEM_FIELD.search(text)):
                return Adaptation.NO_ITEMS
            if _ITEM_FIELD.search(text):
                return Adaptation.PLAIN_FIELDS
        return wanted_adaptation(fault, ChatAPI().body(prompt))

    def hint(self, fault: HTTPError) -> str:
        return CHAT_NEEDED if _NAMES_CHAT.search(fault.text.lower()) else ""

    def reply(self, body: Any, prompt_size: Callable[[], int]) -> Reply:
        if not isinstance(body, dict):
            raise TransportError("the reply is not a JSON object", unreadable=True)
        check_for_error(body)
        if body.get("status") in ("failed", "cancelled"):
            raise TransportError(f"the reply is {body['status']}, without a reason")
        output = body.get("output")
        if not isinstance(output, list) or not all(isinstance(item, dict) for item in output):
            raise TransportError("the reply contains no output", unreadable=True)
        received, written, items = from_output(output)
        tokens = normalize.usage(body.get("usage"), prompt_size, received)
        found = (part.get("logprobs") for part in _parts_of(items, "message"))
        logprobs = [each for of_part in found if isinstance(of_part, list) for each in of_part]
        data = normalize.token_data(body | {"logprobs": {"content": logprobs}})  # in the form of the chat API
        return normalize.reply(assistant(received, written, items), tokens, _finish(body, received), data)


# ---- requests


def to_input(messages: Iterable[tuple[Wire, Sequence[Wire]]]) -> tuple[str | None, list[Wire]]:
    """Return `instructions` and `input` of a request. Each message is in the chat format, with its items if it has any.

    docs/sessions.md contains this function too, for readers of the journal. A test compares both.
    """
    instructions, items = None, []
    for message, own in messages:
        match message["role"]:
            case "system":
                instructions = message["content"]
            case "user":
                items.append({"role": "user", "content": _parts(message["content"])})
            case "tool":
                output = {"call_id": message["tool_call_id"], "output": _parts(message["content"])}
                items.append({"type": "function_call_output", **output})
            case _:
                items += _with_successor(own) if own else _from_chat(message)
    return instructions, items


def _parts(content: str | list[Wire]) -> str | list[Wire]:
    return content if isinstance(content, str) else list(map(_part, content))


def _part(part: Wire) -> Wire:
    if part.get("type") == "image_url":
        return {"type": "input_image", "detail": "auto", "image_url": part["image_url"]["url"]}
    return {"type": "input_text", "text": part.get("text", "")}


def _with_successor(items: Sequence[Wire]) -> list[Wire]:
    """Remove reasoning at the end of an incomplete message: the API refuses reasoning without a following item."""
    last = max((at for at, item in enumerate(items) if item.get("type") != "reasoning"), default=-1)
    return [*items[: last + 1]]


def _from_chat(message: Wire) -> list[Wire]:
    """Convert a message of the chat API."""
    text = message.get("content") or message.get("refusal")
    said = [{"role": "assistant", "content": text}] if text else []
    return [*said, *(_call_item(call) for call in message.get("tool_calls", ()))]


def _call_item(call: Wire) -> Wire:
    function = call["function"]
    named = {"name": function["name"], "arguments": function["arguments"]}
    return {"type": "function_call", "call_id": call["id"], **named}


def to_params(params: Wire) -> Wire:
    """Translate RLM_MODEL_PARAMS, which mean the same for both APIs. Unknown parameters are passed on unchanged."""
    body = {name: value for name, value in params.items() if name not in _TRANSLATED}
    limit = params.get("max_completion_tokens", params.get("max_tokens"))
    if limit is not None:
        body = {"max_output_tokens": limit} | body
    if (effort := params.get("reasoning_effort")) is not None:
        body["reasoning"] = {"effort": effort} | (params.get("reasoning") or {})
    wanted = params.get("response_format")
    if isinstance(wanted, dict) and isinstance(wanted.get("json_schema"), dict):
        wanted = {"type": "json_schema", **wanted["json_schema"]}  # its members are one level higher in this API
    text = {"format": wanted, "verbosity": params.get("verbosity")}
    if text := {name: value for name, value in text.items() if value is not None}:
        body["text"] = text | (params.get("text") or {})
    choice = params.get("tool_choice")
    if isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        body["tool_choice"] = {"type": "function", **choice["function"]}
    more = ["message.output_text.logprobs"] if params.get("logprobs") else []
    body["include"] = [*dict.fromkeys([ENCRYPTED_REASONING, *more, *(params.get("include") or ())])]
    return body | {"store": False}


_TRANSLATED = frozenset(
    {"max_completion_tokens", "max_tokens", "reasoning_effort", "response_format", "verbosity", "logprobs"}
)


# ---- replies


def from_output(output: Sequence[Wire]) -> tuple[Wire, Wire, list[Wire]]:
    """Return the message in the chat format, the received text of repaired calls (see `normalize`), and the items.

    The items are unchanged, except for repaired calls.
    """
    normalize.check_depth(output)
    items = normalize.strip_surrogates(list(output))
    chat = {
        "content": _text(items),
        "refusal": _joined(items, "refusal") or None,
        "reasoning_content": _reasoning(items) or None,
        "tool_calls": [
            {
                "id": item.get("call_id") or item.get("id"),
                "type": "function",
                "function": {"name": item.get("name"), "arguments": item.get("arguments")},
            }
            for item in items
            if _is_call(item)
        ],
    }
    received, written = normalize.message(chat)
    valid = iter(received.get("tool_calls", ()))
    return received, written, [item | _call_item(next(valid)) if _is_call(item) else item for item in items]


def _is_call(item: Wire) -> bool:
    return item.get("type") == "function_call"


def _text(items: Iterable[Wire]) -> str | None:
    """Return only the final answer if the model marks one; else all messages."""
    messages = [item for item in items if item.get("type") == "message"]
    final = [item for item in messages if item.get("phase") == "final_answer"]
    return "\n\n".join(filter(None, (_joined([item], "text") for item in final or messages))) or None


def _joined(items: Iterable[Wire], name: str) -> str:
    """Join the texts with this name in the parts of messages."""
    found = (part.get(name) for part in _parts_of(items, "message"))
    return "".join(text for text in found if isinstance(text, str))


def _reasoning(items: Iterable[Wire]) -> str:
    """Return the reasoning if it is readable, else its summary."""
    found = (part.get("text") for part in _parts_of(items, "reasoning"))
    return "\n\n".join(text for text in found if isinstance(text, str) and text)


def _parts_of(items: Iterable[Wire], kind: str) -> Iterator[Wire]:
    """Yield the parts of the content (or else of the summary) of all items of a type."""
    for item in items:
        content = item.get("content") or item.get("summary")
        if item.get("type") == kind and isinstance(content, list):
            yield from (part for part in content if isinstance(part, dict))


def _finish(body: Wire, received: Wire) -> str:
    """Return the finish reason of the chat API."""
    if body.get("status") != "incomplete":
        return "tool_calls" if "tool_calls" in received else "stop"
    details = body.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    known = {"max_output_tokens": "length", "content_filter": "content_filter"}
    return known.get(str(reason), f"incomplete: {reason}" if reason else "length")


# ---- streams

_ENDS = frozenset(f"response.{end}" for end in ("completed", "incomplete", "failed", "cancelled", "done"))
_PIECES = re.compile(r"response\.(reasoning\w*|refusal|function_call_arguments|custom_tool_call_input)\.delta")


def _piece(kind: str, delta: Any) -> Piece | None:
    """Return the piece that an event adds, other than text."""
    if not _PIECES.fullmatch(kind):
        return None
    added = delta if isinstance(delta, str) else ""
    if kind.startswith("response.reasoning"):
        return Piece(reasoning=added)
    return Piece() if kind.startswith("response.refusal") else Piece(arguments=added)


class ResponsesAssembler:
    """The `rlm.providers.ports.Assembler` of Responses. Each item comes whole at its end; the last event has all."""

    def __init__(self) -> None:
        self._items: dict[int, Wire] = {}
        self._response: Wire | None = None
        self._message: Any = None  # the message that the last text belongs to

    @property
    def finished(self) -> bool:
        return self._response is not None

    def takes(self, event: Any) -> bool:
        return isinstance(event, dict) and str(event.get("type")).startswith("response.")

    def add(self, event: Any) -> Piece | None:
        if not isinstance(event, dict):
            raise TransportError("the stream contains something that is not a JSON object", unreadable=True)
        kind, response = str(event.get("type")), event.get("response")
        if kind == "error" or event.get("error"):
            raise embedded_fault(event.get("error") or event)
        if kind in _ENDS and isinstance(response, dict):
            self._response = response
        elif kind == "response.output_item.done" and isinstance(event.get("item"), dict):
            self._items[event.get("output_index", len(self._items))] = event["item"]
        elif kind == "response.output_text.delta" and isinstance(event.get("delta"), str):
            return Piece(f"{self._after_other_messages(event)}{event['delta']}")
        return _piece(kind, event.get("delta"))

    def body(self, *, done: bool = False) -> Wire:
        items = [self._items[place] for place in sorted(self._items)]
        response = self._response or ({"status": "completed"} if done and items else None)
        if response is None:
            raise TransportError("the stream broke off", unreadable=True)
        # some servers leave the output of the last event empty
        output = response.get("output") or []
        return response | {"output": items if len(items) >= len(output) else output}

    def _after_other_messages(self, event: Wire) -> str:
        """Return the separator between this text and the text before it."""
        place = (event.get("item_id"), event.get("output_index"))
        another = self._message not in (None, place)
        self._message = place
        return "\n\n" if another else ""
