"""A record as a line of a journal, and back. A line that readers could not understand is no record."""

from __future__ import annotations

import json
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
_DECODER = fast_json.Decoder(JournalRecord)


def line_of(record: Journalled) -> bytes:
    """A record as a line. Readable text as it is; a lone surrogate, which UTF-8 cannot hold, as its escape."""
    values = wire(record)
    try:
        return (json.dumps(values, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(values) + "\n").encode()


class NotRecordError(ValueError):
    """A line is no record. `mistyped`: it is an object with a `type` and an `id`, but lacks what its type needs."""

    def __init__(self, *, mistyped: bool) -> None:
        super().__init__()
        self.mistyped = mistyped


def read_line(line: bytes) -> Journalled:
    """The record of a line of a journal. Fields that are unknown are left out.

    Raises:
        NotRecordError: it is not whole, or no record.
    """
    if not line.endswith(b"\n"):
        raise NotRecordError(mistyped=False)
    try:
        return _checked(_DECODER.decode(line))
    except (ValueError, RecursionError):  # or it holds what only Python's own reader takes: NaN, half a character
        return _read_slowly(line)


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
    """Without names that hold half a character, which msgspec refuses and no field of ours has."""
    return {name: each for name, each in values.items() if name.isascii()}


# What readers need of the messages and tools inside, which are not converted: they stay as they are.


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
    """The same.

    Raises:
        ValidationError: what it holds as JSON is not as all readers need it.
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
        raise ValidationError("a message of no role")
    if any(getattr(record, name) is None for name in record.NEEDED[role]):
        raise ValidationError("a message without what belongs to its role")
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
