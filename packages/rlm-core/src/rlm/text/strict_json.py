"""Read JSON that somebody hostile may have written, in memory and time that its length bounds.

json.loads makes 64 bytes of `[],`, and takes a name twice, NaN, and numbers of any length. What we are sent consists of
a few texts: so the strings are counted, and all that lies between them is measured, before anything is parsed.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn


def loads(data: bytes, *, strings: int, between: int) -> Any:
    """The value. At most so many `strings`, names included, and so many bytes `between` them are read.

    Raises:
        ValueError: with what is wrong with it, in a few words.
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
    """The value of JSON of any size, without what json.loads takes beyond the format.

    Raises:
        ValueError, RecursionError: it is no JSON, or nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse)


def _measure(data: bytes, strings: int, between: int) -> None:
    r"""A backslash outside a string is an error that ends the parsing, so `\\` and `\"` need no context here."""
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data
    quotes = bare.count(b'"')
    if quotes > 2 * strings or sum(map(len, bare.split(b'"')[::2])) > between:
        raise ValueError("it has too many values")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("it has a name twice")
    return values


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"there is no {constant}")
