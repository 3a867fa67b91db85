"""Print what a skill returns."""

import sys
from typing import Any


def as_json(value: Any) -> str:
    """Write a value as JSON; what JSON and pydantic do not know becomes its repr, NaN and infinities their names.

    Bytes are text where all of them in the value are UTF-8, else base64 (RFC 4648, as JSON Schema's contentEncoding).
    """
    from pydantic_core import PydanticSerializationError, to_json

    try:
        return to_json(value, fallback=repr, inf_nan_mode="strings").decode()
    except (PydanticSerializationError, UnicodeDecodeError):
        return to_json(value, fallback=repr, inf_nan_mode="strings", bytes_mode="base64").decode()


def print_result(value: Any) -> None:
    """Print a skill's result on stdout: text and bytes as they are, nothing for None, all else as JSON.

    A newline ends a text, unless it ends with one.
    """
    if value is None:
        return
    if isinstance(value, bytes | bytearray):
        sys.stdout.flush()
        sys.stdout.buffer.write(value)
        return
    text = value if isinstance(value, str) else as_json(value)
    # A lone surrogate or a narrow encoding must not lose a result that was worked for.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="backslashreplace")
    print(text, end="" if text.endswith("\n") else "\n")
