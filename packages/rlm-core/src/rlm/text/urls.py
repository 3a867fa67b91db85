"""Credentials in URLs: `https://user:password@host` and `https://host/?api-key=…`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from rlm.text.redact import REDACTED

_USER = re.compile(r"([a-z][a-z0-9+.-]*://)[^\s\"'<>/?#]*@", re.IGNORECASE)
_WORDS = "key|token|secret|signature|sig|pass|pwd|auth|credential|code"
_QUERY = re.compile(rf"([?&;][\w.%-]*(?:{_WORDS})[\w.%-]*=)([^&;#\s\"'<>]+)", re.IGNORECASE)
_HOST = re.compile(r"(\[[^\]]*\]|[^:@\[\]]*)(:\d*)?")
_SHORTEST = 4
"""Characters of a part that is searched for by itself: a shorter one is also a part of words."""


def without_credentials(text: str) -> str:
    """The text, with the user and the password of each URL in it replaced, and the keys of its query."""
    return _QUERY.sub(rf"\1{REDACTED}", _USER.sub(rf"\1{REDACTED}@", text))


def has_credentials(url: str) -> bool:
    return any(True for _ in _parts(url))


def credentials_of(url: str) -> set[str]:
    """The parts of a URL that are nobody's business, as they are spelt and as they are meant.

    A password may hold what should have been quoted: then an error quotes a part of it.
    """
    parts = set(_parts(url))
    for whole in tuple(parts):
        password = whole.partition(":")[2]
        parts |= {password, *re.split("[:/@?#]", password)}  # but not the user, who may be called like anything
    return {part for each in parts for part in (each, unquote(each)) if len(part) >= _SHORTEST}


def _parts(url: str) -> Iterator[str]:
    scheme, found, rest = url.partition("://")
    yield from _users(rest if found else scheme)
    yield from (found[2] for found in _QUERY.finditer(url))


def _users(rest: str) -> set[str]:
    """What stands before the host (RFC 3986, 3.2.1); an `@` behind the host belongs to the path or the query.

    A password may hold an `@`, `/`, `?` or `#` that should have been quoted: what seems to be the host is none then,
    or another `@` comes.
    """
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if _HOST.fullmatch(authority):
        return set()
    return {part.rpartition("@")[0] for part in (authority, rest)} - {""}
