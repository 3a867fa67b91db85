"""Converts a record to a line of a journal, and back. A line that readers could not understand is no record."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, get_args

from msgspec import Struct, ValidationError, convert
from msgspec import json as fast_json

from rlm.core.messages import Wire
from rlm.sessions.records import (
    DropRecord,
    Journalled,
    JournalRecord,
    MessageRecord,
    RequestRecord,
    UnknownRecord,
    type_name,
    wire,
)

_TYPES = {type_name(kind) for kind in get_args(JournalRecord)}


def line_of(record: Journalled) -> bytes:
    """Return a record as a line of readable text, with escapes if it has a lone surrogate (invalid in UTF-8)."""
    values = wire(record)
    try:
        return (json.dumps(values, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(values) + "\n").encode()


class NotRecordError(ValueError):
    """A line is no record. `mistyped`: it is an object with a `type` and an `id`, but without required fields."""

    def __init__(self, *, mistyped: bool) -> None:
        super().__init__()
        self.mistyped = mistyped


def read_line(line: bytes) -> Journalled:
    """Return the record of a line of a journal. Unknown fields are dropped.

    Raises:
        NotRecordError: it is not whole, or no record.
    """
    if not line.endswith(b"\n"):
        raise NotRecordError(mistyped=False)
    try:
        return _checked(_decoder().decode(line))
    except (ValueError, RecursionError):  # or it has NaN or a lone surrogate: only Python takes them
        return _read_slowly(line)


@cache
def _decoder() -> fast_json.Decoder[Any]:
    """Return the decoder, which takes milliseconds to create: a new session reads no journal."""
    return fast_json.Decoder(JournalRecord)


def _read_slowly(line: bytes) -> Journalled:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        raise NotRecordError(mistyped=False) from None
    if not isinstance(values, dict) or not isinstance(values.get("type"), str) or type(values.get("id")) is not int:
        raise NotRecordError(mistyped=False)
    try:
        if values["type"] in _TYPES:
            return _checked(convert(_known(values), JournalRecord, str_keys=True))
        return convert({"type": "", "id": values["id"], "ts": values.get("ts")}, UnknownRecord)
    except (ValueError, RecursionError):
        raise NotRecordError(mistyped=True) from None


def _known(values: Wire) -> Wire:
    """Drop names with non-ASCII characters: msgspec refuses a lone surrogate, and our fields have ASCII names."""
    return {name: each for name, each in values.items() if name.isascii()}


# The parts of inner messages and tools that readers need. They are checked, but stay unconverted.


class _Function(Struct):
    name: str
    arguments: str


class _Call(Struct):
    id: str
    function: _Function


class _Part(Struct):
    type: Any = None
    image_url: Any = None

    def __post_init__(self) -> None:
        if self.type == "image_url" and not (
            isinstance(self.image_url, dict) and isinstance(self.image_url.get("url"), str)
        ):
            raise TypeError("a picture without a URL")


class _Said(Struct):
    content: str | list[_Part]


class _Reply(Struct):
    tool_calls: list[_Call] | None = None


class _Answer(Struct):
    tool_call_id: str
    content: str


class _JoinedAnswer(Struct):
    tool_call_id: str
    content: str | list[_Part]  # pictures may be joined to it


class _Tool(Struct):
    function: Wire


_MESSAGES: dict[str, type[Struct]] = {"system": _Said, "user": _Said, "assistant": _Reply, "tool": _Answer}


def _checked(record: Journalled) -> Journalled:
    """Return the record itself if its JSON content is valid.

    Raises:
        ValidationError: the content does not have the form that all readers need.
    """
    if isinstance(record, MessageRecord):
        _check_message(record)
    elif isinstance(record, RequestRecord):
        _need(list[_Tool], record.tools)
    elif isinstance(record, DropRecord) and (record.summary is None) != (record.turns is None):
        raise ValidationError("a summary without its turns")
    return record


def _check_message(record: MessageRecord) -> None:
    role = record.message.get("role")
    if not isinstance(role, str) or role not in _MESSAGES:
        raise ValidationError("a message without a valid role")
    if any(getattr(record, name) is None for name in record.NEEDED[role]):
        raise ValidationError("a message without a field that its role needs")
    _need(_JoinedAnswer if role == "tool" and record.anew else _MESSAGES[role], record.message)
    _need(dict[str, _Function], record.written)
    for content in (record.content, *(each.content for each in record.joined)):
        if not isinstance(content, str | None):
            _need(list[_Part], content)


def _need(kind: Any, value: Any) -> None:
    try:
        convert(value, kind)
    except UnicodeEncodeError:
        convert(_all_known(value), kind)


def _all_known(value: Any) -> Any:
    match value:
        case dict():
            return {name: _all_known(each) for name, each in _known(value).items()}
        case list() | tuple():
            return [_all_known(each) for each in value]
        case _:
            return value
