"""Pictures of a session as data URIs, which load nothing."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

from rlm.process import files

LARGEST = 5_000_000
"""Bytes. A larger picture is named and not shown."""

_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}
_SAVED = re.compile(r"\[picture: [^\]\n]*?outputs/([\w.-]+\.(?:png|jpe?g|gif|webp))\]")
_URI = re.compile(r"data:(image/(?:png|jpeg|gif|webp));base64,([A-Za-z0-9+/=\s]+)")


def saved_pictures(text: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and URI of each picture that a result names and that exists in the session's outputs."""
    for name in dict.fromkeys(_SAVED.findall(text)):
        try:
            data = files.read(folder / "outputs" / name, limit=LARGEST)
        except OSError:
            continue
        kind = _TYPES[name.rpartition(".")[2]]
        yield name, f"data:{kind};base64,{base64.b64encode(data).decode()}"


def split_uri(uri: str) -> tuple[str, str] | None:
    """Return the media type and base64 text of an allowed picture; None for any other URI."""
    found = _URI.fullmatch(uri)
    return (found[1], "".join(found[2].split())) if found and len(uri) <= 2 * LARGEST else None
