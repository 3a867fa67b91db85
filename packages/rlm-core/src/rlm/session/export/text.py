"""JSON that every reader takes."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

_HALVES = re.compile("[\ud800-\udfff]")


def sound(value: Any) -> Any:
    """The same JSON value without halves of characters, which many readers refuse."""
    match value:
        case str():
            return _HALVES.sub("\ufffd", value)
        case dict():
            return {sound(key): sound(item) for key, item in value.items()}
        case list() | tuple():
            return [sound(item) for item in value]
        case _:
            return value


def dump(value: Any) -> str:
    return json.dumps(sound(value), ensure_ascii=False, indent=1) + "\n"


def moment(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
