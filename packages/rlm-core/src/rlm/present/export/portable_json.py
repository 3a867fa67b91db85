"""JSON that every reader accepts, written in pieces."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from rlm.text.strict_json import refuse_constant

_HALVES = re.compile("[\ud800-\udfff]")
_DEEPEST = 100
"""Maximum nesting of a value. Few readers accept 1,000 levels, and such depth is an attack or a mistake."""


def portable(value: Any, depth: int = 0) -> Any:
    """Return a JSON value without values that many readers reject: lone surrogates, NaN, too deep nesting."""
    match value:
        case str():
            return _HALVES.sub("\ufffd", value)
        case float():
            return value if isfinite(value) else None
        case dict() | list() | tuple() if depth > _DEEPEST:
            return "[nested too deeply]"
        case dict():
            return {portable(key): portable(item, depth + 1) for key, item in value.items()}
        case list() | tuple():
            return [portable(item, depth + 1) for item in value]
        case _:
            return value


def dump(value: Any, indent: int | None = None) -> str:
    """Dump a value as UTF-8 text that every reader accepts."""
    return json.dumps(portable(value), ensure_ascii=False, indent=indent)


def dump_ascii(value: Any) -> str:
    """Dump a value for a file of lines: many readers treat U+0085 and U+2028 as ends of lines."""
    return json.dumps(portable(value))


def read_object(text: str) -> dict[str, Any] | None:
    """Parse a JSON object; None if the text is none, or if other readers would read another value."""
    try:
        value = json.loads(text, parse_constant=refuse_constant, parse_int=_small)
    except (ValueError, RecursionError, TypeError):
        return None
    return value if isinstance(value, dict) and portable(value) == value else None


def _small(digits: str) -> int:
    number = int(digits)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"{digits} has more than 64 bits")
    return number


def write_object(members: Iterable[tuple[str, Any]], indent: int | None = None) -> Iterator[str]:
    """Write a JSON object. Each member is evaluated after the previous ones are written.

    An iterator becomes an array.
    """
    yield "{"
    for number, (name, value) in enumerate(members):
        yield f"{',' if number else ''}\n{dump(name)}: "
        if isinstance(value, Iterator):
            yield from _array(value, indent)
        else:
            yield dump(value, indent)
    yield "\n}"


def _array(items: Iterator[Any], indent: int | None) -> Iterator[str]:
    """Write an array. Items of an iterator are already JSON."""
    yield "["
    for number, item in enumerate(items):
        yield ",\n" if number else "\n"
        if isinstance(item, Iterator):
            yield from item
        else:
            yield dump(item, indent)
    yield "\n]"


def moment(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
