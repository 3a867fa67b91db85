"""Convert the arguments and results of MCP tools between Python values and JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

from rlm.errors import McpError
from rlm.inside.mcp_signatures import unwrapped

_FAILED = "the tool failed without a message"


@dataclass(frozen=True, slots=True)
class Blob:
    """A picture, a sound or a file. Pictures are displayed when the tool returns them."""

    data: bytes = field(repr=False)
    mime_type: str
    uri: str = ""

    def __str__(self) -> str:
        return f"<{self.mime_type}, {len(self.data):,} bytes>"


def dumps(arguments: Mapping[str, Any]) -> str:
    """Encode arguments as JSON.

    Raises:
        TypeError: they contain a value that JSON cannot represent.
    """
    try:
        return json.dumps(arguments, default=_plain, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise TypeError(f"the arguments cannot be converted to JSON: {error}") from None


def _plain(value: Any) -> Any:
    """Convert a set, a dataclass, or a value of pydantic, numpy, pandas, pathlib or datetime to a value for JSON."""
    for method in ("model_dump", "tolist", "isoformat", "__fspath__"):
        if callable(convert := getattr(type(value), method, None)):
            return convert(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} cannot be converted to JSON")


def value_of(result: Mapping[str, Any], schema: Any) -> Any:
    """Return a tool's structured value; if it has none, its text; else a list of its parts. Display pictures.

    Raises:
        McpError: the tool reports an error.
    """
    __tracebackhide__ = True
    blocks = [block for block in result.get("content") or () if isinstance(block, Mapping)]
    parts = [_part(block) for block in blocks]
    texts = [part for part in parts if isinstance(part, str)]
    if result.get("isError"):
        raise McpError("\n".join(texts).strip() or _FAILED)
    for part in parts:
        if isinstance(part, Blob) and part.mime_type.startswith("image/"):
            _display(part)
    if (structured := result.get("structuredContent")) is not None:
        wrapped = isinstance(schema, Mapping) and unwrapped(schema) is not schema
        return structured.get("result") if wrapped and isinstance(structured, Mapping) else structured
    if len(texts) == len(parts):
        return "\n".join(texts) if texts else None
    return parts[0] if len(parts) == 1 else parts


def _part(block: Mapping[str, Any]) -> Any:
    match block.get("type"):
        case "text":
            return str(block.get("text", ""))
        case "image" | "audio":
            return Blob(_decoded(block.get("data")), str(block.get("mimeType") or "application/octet-stream"))
        case "resource":
            return _resource(block.get("resource"))
        case _:
            return dict(block)


def _resource(resource: object) -> Any:
    if not isinstance(resource, Mapping):
        return resource
    if "blob" in resource:
        kind = str(resource.get("mimeType") or "application/octet-stream")
        return Blob(_decoded(resource["blob"]), kind, str(resource.get("uri") or ""))
    return str(resource["text"]) if "text" in resource else dict(resource)


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=False)
    except ValueError:
        return b""


def _display(picture: Blob) -> None:
    from IPython.display import display

    data = base64.b64encode(picture.data).decode()
    display({picture.mime_type: data, "text/plain": str(picture)}, raw=True)  # type: ignore[no-untyped-call]
