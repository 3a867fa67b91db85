"""JSON that every reader takes, written piece by piece."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from math import isfinite
from typing import Any, NoReturn

_HALVES = re.compile("[\ud800-\udfff]")
_DEEPEST = 100
"""Levels of a value. Few readers take a thousand, and so deep is nothing but an attack or a mistake."""


def sound(value: Any, depth: int = 0) -> Any:
    """The same JSON value without what many readers refuse: halves of characters, NaN, endless nesting."""
    match value:
        case str():
            return _HALVES.sub("\ufffd", value)
        case float():
            return value if isfinite(value) else None
        case dict() | list() | tuple() if depth > _DEEPEST:
            return "[nested too deeply]"
        case dict():
            return {sound(key): sound(item, depth + 1) for key, item in value.items()}
        case list() | tuple():
            return [sound(item, depth + 1) for item in value]
        case _:
            return value


def dump(value: Any, indent: int | None = None) -> str:
    return json.dumps(sound(value), ensure_ascii=False, indent=indent)


def dump_ascii(value: Any) -> str:
    """For a file of lines: many readers take U+0085 and U+2028 for the end of one."""
    return json.dumps(sound(value))


def read_object(text: str) -> dict[str, Any] | None:
    """The JSON object of this text; None if it is none, or holds what would be another value for other readers."""
    try:
        value = json.loads(text, parse_constant=_refuse, parse_int=_small)
    except (ValueError, RecursionError, TypeError):
        return None
    return value if isinstance(value, dict) and sound(value) == value else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _small(digits: str) -> int:
    number = int(digits)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"{digits} has more than 64 bits")
    return number


def write_object(members: Iterable[tuple[str, Any]], indent: int | None = None) -> Iterator[str]:
    """A JSON object. Each member is asked for when the ones before it are written; an iterator becomes an array."""
    yield "{"
    for number, (name, value) in enumerate(members):
        yield f"{',' if number else ''}\n{dump(name)}: "
        if isinstance(value, Iterator):
            yield from _array(value, indent)
        else:
            yield dump(value, indent)
    yield "\n}"


def _array(items: Iterator[Any], indent: int | None) -> Iterator[str]:
    """An item that is an iterator is JSON already."""
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
