"""Reads JSON lines that a user has written. Each line is checked, and errors have its number."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeVar

import msgspec

from rlm.errors import ConfigError
from rlm.text import strict_json

T = TypeVar("T", bound=msgspec.Struct)
MARK = b"\xef\xbb\xbf"
"""A byte order mark, which some editors write at the beginning of a file."""


def read_objects(data: bytes, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the object of each line that is not empty, with the number of the line. `name` is that of the file.

    Raises:
        ConfigError: a line is no JSON object; the message names it.
    """
    for number, line in enumerate(data.removeprefix(MARK).split(b"\n"), 1):
        if line.strip():
            yield number, _object(line, f"{name}, line {number}")


@cache  # msgspec evaluates the annotations of the class each time
def _fields(kind: type[msgspec.Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def read_typed(value: dict[str, Any], kind: type[T], where: str) -> T:
    """Return `value` as a struct with checked fields. `where` begins the message of an error.

    Raises:
        ConfigError: a field is unknown, missing, or of another type; the message names it.
    """
    known = _fields(kind)
    if unknown := [field for field in value if field not in known]:
        near = difflib.get_close_matches(unknown[0], known, 1)
        hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
        raise ConfigError(f"{where}: there is no field {unknown[0]!r}. {hint}")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_words(str(error))}") from None


def unique(ids: Iterator[tuple[str, str]]) -> None:
    """Check that no id occurs twice; each comes with its position.

    Raises:
        ConfigError: an id occurs twice.
    """
    seen: dict[str, str] = {}
    for id, where in ids:
        if id in seen:
            raise ConfigError(f"{where}: the id {id!r} occurs twice: {seen[id]} has it too.")
        seen[id] = where


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = strict_json.parse(line.decode())
        if b"\\u" in line:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: this is not UTF-8.") from None
    except UnicodeEncodeError:
        raise ConfigError(f"{where}: a lone surrogate (\\ud800 to \\udfff) is not valid text.") from None
    except RecursionError:
        raise ConfigError(f"{where}: this is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where}: this is not JSON: {error.msg} at column {error.colno}.") from None
    except ValueError as error:
        raise ConfigError(f"{where}: this is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: this is not a JSON object.")
    return value


def _words(problem: str) -> str:
    """Put the field first in ``Expected `str`, got `int` - at `$.prompt` ``."""
    what, found, path = problem.rpartition(" - at `$.")
    return f"{path.removesuffix('`')}: {what}." if found else f"{problem}."
