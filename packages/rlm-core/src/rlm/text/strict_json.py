"""Reads JSON from an untrusted source, with memory and time bounded by its length.

json.loads needs 64 bytes for `[],`, and accepts duplicate names, NaN, and numbers of any length. Our messages consist
of a few texts. So this module counts the strings, and measures everything between them, before it parses.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn


def loads(data: bytes, *, strings: int, between: int) -> Any:
    """Return the value. It may have at most so many `strings`, including names, and so many bytes `between` them.

    Raises:
        ValueError: the message says briefly what is wrong.
    """
    _measure(data, strings, between)
    try:
        return parse(data.decode())
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} at character {error.pos}") from None


def parse(text: str) -> Any:
    """Return the value of JSON of any size, without the extensions of json.loads.

    Raises:
        ValueError, RecursionError: it is no JSON, or nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_object, parse_constant=refuse_constant)


def _measure(data: bytes, strings: int, between: int) -> None:
    r"""Check the limits. A backslash outside a string ends the parsing, so `\\` and `\"` need no context here."""
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data
    quotes = bare.count(b'"')
    if quotes > 2 * strings or sum(map(len, bare.split(b'"')[::2])) > between:
        raise ValueError("it has too many values")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("it contains a name twice")
    return values


def refuse_constant(constant: str) -> NoReturn:
    """Refuse NaN and the infinities, which json.loads accepts although JSON has no such values."""
    raise ValueError(f"{constant} is not allowed")
