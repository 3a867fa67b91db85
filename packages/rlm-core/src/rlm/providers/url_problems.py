"""Explain why a URL cannot be used: a base URL, a proxy's URL, or the target of a redirect. Pure.

The HTTP client refuses such URLs too, but late, and its message may quote a part of a password.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from rlm.text.redact import REDACTED, credentials_of, has_credentials, without_credentials

NO_URL = "the HTTP client does not accept it as a URL"

_BRACKETS = "the brackets of its host do not contain an IPv6 address"
_QUOTE = "in its user and password, the characters / ? # [ ] must be percent-encoded"
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_LIKE_IPV4 = re.compile(r"\d+(\.\d+){3}")
_SCHEME = re.compile(r"(https?)(:/*|/+)", re.IGNORECASE)


def url_problem(url: str) -> str:
    """Return what is wrong with a URL, without quoting it; empty if it can be used."""
    if odd := next((character for character in url if not character.isprintable()), ""):
        return f"it contains an invisible character (U+{ord(odd):04X})"
    try:
        netloc = urlsplit(url).netloc
    except ValueError:
        brackets = _QUOTE if "@" in url else _BRACKETS
        return brackets if "[" in url or "]" in url else "its host is not a valid name"
    return _host_problem(netloc.rpartition("@")[2]) or _port_problem(url, netloc) if netloc else ""


def _host_problem(netloc: str) -> str:
    bracketed = re.match(r"\[(.*)\](?=:|$)", netloc)
    if bracketed:
        return "" if _is_address(ipaddress.IPv6Address, bracketed[1]) else _BRACKETS
    host = netloc.partition(":")[0].lower()
    if not host:
        return "it has no host"
    if _LIKE_IPV4.fullmatch(host):
        return "" if _is_address(ipaddress.IPv4Address, host) else "its host is not an IPv4 address"
    if " " in host:
        return "there is a blank in its host"
    try:
        valid = _HOST.fullmatch(host.encode("idna").decode())
    except UnicodeError:
        valid = None
    return "" if valid else "its host is not a valid name"


def _is_address(kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _port_problem(url: str, netloc: str) -> str:
    try:
        valid = urlsplit(url).port != 0
    except ValueError:
        valid = False
    if valid:
        return ""
    if "@" in url and "@" not in netloc:  # an unquoted character in the password seems to end the host
        return _QUOTE
    return "its port is not a number from 1 to 65535"


def for_display(url: str) -> str:
    """Return a URL for a message, without invisible characters and credentials."""
    text = without_credentials(url)
    # the parts of an incorrectly quoted password; a text with invisible characters is not a URL
    for part in sorted(credentials_of(url) if url.isprintable() else (), key=len, reverse=True):
        text = text.replace(part, REDACTED)
    return repr(text)[1:-1]


def suggested_url(url: str) -> str:
    """Return the base URL that the user probably meant with `url`; empty if that is not clear."""
    url = url.strip()
    scheme = _SCHEME.match(url)
    rest = url[scheme.end() :] if scheme else url
    host = re.split(r"[/?#:]", rest, maxsplit=1)[0].lower()
    local = host == "localhost" or _LIKE_IPV4.fullmatch(host) is not None or re.match(r"[^/]+:\d+(/|$)", rest)
    if "://" in rest or not (local or "." in host):
        return ""
    found = f"{scheme[1].lower() if scheme else 'http' if local else 'https'}://{rest}"
    return "" if url_problem(found) or has_credentials(found) or found == url else found
