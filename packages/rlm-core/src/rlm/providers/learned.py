"""Learn from refusals which form of requests and messages an endpoint accepts. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from rlm.core.adaptation import Adaptation
from rlm.core.messages import Message, Wire, items_of
from rlm.providers.errors import HTTPError

_REFUSED = (400, 404, 405, 415, 422)
_FAILED = (500, 501, 502, 503)

_NO_USAGE = r"stream_options|include_usage"
_STREAMING = r"\bstream(ing|ed)?\b"
_NO_STREAM = (
    r"\b(cannot|can't|not|unsupported|unable|only|must)\b.{0,80}\bstream(ing)?\b"
    r"|\bstream(ing)?\b.{0,80}(\bnot\b|unsupported|false|only|must|required)"
)

_REUSED = r"idempotency.?key\b.{0,80}\b(reused|different|mismatch|already|same|another)\b"

_TOOL_CHOICE = r"tool_?choice"
_IDS = (
    r"tool[ _]?(call|use)s?(\[\d+\])?[ ._]?id\b.{0,120}(must|match|length|long|pattern|invalid|expected)"
    r"|(invalid|expected|string too long|must|pattern).{0,60}tool[ _]?(call|use)s?(\[\d+\])?[ ._]?id\b"
)
_ORDER = (
    r"unexpected role|roles must alternate|must alternate|message_order|after the optional system message"
    r"|expected last role|consecutive (user|messages)|(role|message) .{0,20}user.{0,40}after.{0,20}(tool|user)"
    r"|function (call|response) turn|first message must be|invalid (message|role) (order|sequence)"
)
_ARGUMENTS = (
    r"(arguments|function\.name|function name|tool name)\b.{0,120}(json|pars|object|dict|valid|match|pattern|must)"
    r"|(parse|invalid|json).{0,60}\b(arguments|function\.name|function name)|json\.exception|unterminated string"
    r"|tool_?use\.(input|name)\b"
)
_CONTENT = (
    r"(?<!\w)content\b.{0,80}\b(string|str|text|null|none|missing|required)\b"
    r"|\b(string|null|none)\b.{0,40}(?<!\w)content\b|invalid type: null|missing field .content\b"
)
_PICTURES = r"image|picture|vision|visual|multi-?modal|modalit"
_NEEDED = r"must be (passed|provided|included|present)|\bmissing\b|\bis required\b"
_STANDARD = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})


@dataclass(slots=True)
class Learned:
    """What one model of an endpoint is known to accept."""

    stream: bool | None = None
    """Whether to request streams; None: as the caller wishes."""
    streams_unreadable: bool = False
    with_usage: bool = True
    adaptations: set[Adaptation] = field(default_factory=set)
    items: set[str] = field(default_factory=set)
    """Ids of the items that this model has produced."""

    def remember(self, message: Message) -> None:
        self.items.update(filter(None, map(_id_of, items_of(message))))

    def produced(self, messages: Sequence[Message]) -> bool:
        """Return whether a conversation's newest items are of this model, and not of an earlier run elsewhere."""
        newest = next(filter(None, map(items_of, reversed(messages))), ())
        return any(_id_of(item) in self.items for item in newest)


def _id_of(item: Wire) -> str:
    id_ = item.get("id")
    return id_ if isinstance(id_, str) else ""


def refuses_usage(fault: HTTPError) -> bool:
    """Return whether a stream is refused because it requests the usage."""
    return fault.status in (*_REFUSED, 500, 501) and re.search(_NO_USAGE, fault.text.lower()) is not None


def refuses_form(fault: HTTPError, *, streamed: bool) -> bool:
    """Return whether the request is refused because it requests a stream, or because it does not."""
    text = fault.text.lower()
    if fault.status in _REFUSED:  # a text that mentions streaming justifies one try in the other form
        return re.search(_NO_STREAM if streamed else _STREAMING, text) is not None
    return fault.status in _FAILED and re.search(_NO_STREAM, text) is not None


def refuses_reuse(fault: HTTPError) -> bool:
    """Return whether the server has stored another body, and its reply, under the request's idempotency key."""
    return fault.status in (400, 409, 422) and re.search(_REUSED, fault.text.lower()) is not None


def wanted_adaptation(fault: HTTPError, body: Wire) -> Adaptation | None:
    """Return the adaptation with which a server may accept the messages of a refused request."""
    text = fault.text.lower()
    if _has_pictures(body) and fault.status in (*_REFUSED, 500) and re.search(_PICTURES, text):
        return Adaptation.NO_PICTURES
    if fault.status not in (400, 422, 500):
        return None
    if "tool_choice" in body and re.search(_TOOL_CHOICE, text):
        return Adaptation.NO_TOOL_CHOICE
    for pattern, adaptation in _PATTERNS:
        if re.search(pattern, text):
            return adaptation
    if re.search(_CONTENT, text) and (_has_null(body) or _has_pictures(body)):
        return Adaptation.TEXT_CONTENT if _has_null(body) else Adaptation.NO_PICTURES
    return Adaptation.PLAIN_FIELDS if fault.status != 500 and _names_a_field(text, body) else None


_PATTERNS = (
    (_ORDER, Adaptation.ROLE_ORDER),
    (_IDS, Adaptation.SHORT_IDS),
    (_ARGUMENTS, Adaptation.SOUND_CALLS),
)


def _has_null(body: Wire) -> bool:
    return any(message.get("content") is None for message in body["messages"])


def _has_pictures(body: Wire) -> bool:
    return any(isinstance(message.get("content"), list) for message in body["messages"])


def _names_a_field(text: str, body: Wire) -> bool:
    """Return whether the refusal mentions a field that only some providers know, and does not require it."""
    odd = {name for message in body["messages"] for name in message} - _STANDARD
    calls = [call for message in body["messages"] for call in message.get("tool_calls", ())]
    odd |= {name for call in calls for name in call} - {"id", "type", "function"}
    odd |= {name for call in calls for name in call["function"]} - {"name", "arguments"}
    named = any(re.search(rf"\b{re.escape(name.lower())}\b", text) for name in odd)
    return named and not re.search(_NEEDED, text)


_REFUSED_VALUE = (
    r"\b(unsupported|unknown|unrecognized|unexpected|invalid|deprecated|permitted|must|only|instead|extra)\b"
    r"|\bnot (support|allow|accept|a valid|recogni)|n't support|no longer"
)
_INSTEAD = r"\buse [`'\"]?(\w+)[`'\"]? instead"


def refused_parameter(fault: HTTPError, params: Wire) -> str:
    """Return what to do if one of RLM_MODEL_PARAMS is the reason for a refusal; else empty."""
    if fault.status not in (400, 422) or not re.search(_REFUSED_VALUE, text := fault.text.lower()):
        return ""
    named = [name for name in params if any(_names(text, each) for each in (name, *_OTHER_NAMES.get(name, ())))]
    if not named:
        return ""
    name = max(named, key=len)
    instead = re.search(_INSTEAD, text)
    if instead and instead[1] != name:
        return f"In RLM_MODEL_PARAMS, write {instead[1]} instead of {name}."
    return f"Remove or change {name} in RLM_MODEL_PARAMS."


_OTHER_NAMES = {
    "max_tokens": ("max_output_tokens",),
    "max_completion_tokens": ("max_output_tokens",),
    "reasoning_effort": ("reasoning.effort", "reasoning"),
    "response_format": ("text.format",),
    "verbosity": ("text.verbosity",),
    "logprobs": ("message.output_text.logprobs",),
}
"""The names that the Responses API has for some parameters of the chat API."""


def _names(text: str, name: str) -> bool:
    """Return whether a text names a parameter. Short names are common words: they count in quotes or as fields."""
    word = re.escape(name.lower())
    alone = (
        rf"\b{word}\b"
        if "_" in name or len(name) > 9
        else rf"\b(argument|parameter|field|option)s?\b.{{0,20}}\b{word}\b"
    )
    return re.search(rf"[`'\"]{word}[`'\".\[\\]|\b{word}:|{alone}", text) is not None
