"""Read the answer to a refused request: the provider's message, and when to try again. Pure functions."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from rlm.text.clip import one_line

QUOTED = 301
"""Maximum characters of quoted text in our messages, with the mark where it is truncated."""

_EARLIEST_TIMESTAMP = 1e9  # a larger number is a time in seconds since 1970, and not a duration


def message_and_code(text: str) -> list[str]:
    """Return the message and the code in an error body."""
    try:
        body = json.loads(text)
        message = _message(body)
    except (ValueError, RecursionError):
        return [text]
    error = body.get("error") if isinstance(body, dict) else None
    codes = [where.get("code") for where in (error, body) if isinstance(where, dict)]
    return [each for each in (message, *codes) if isinstance(each, str)]


def web_page(text: str) -> str:
    """Return "a web page" with its title, if the text is one; else empty."""
    if not text.lstrip()[:15].lower().startswith(("<!doctype html", "<html")):
        return ""
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.DOTALL | re.IGNORECASE)
    return f"a web page ({one_line(title.group(1), QUOTED)})" if title else "a web page"


def provider_words(text: str) -> str:
    """Return the provider's message, on one line."""
    if page := web_page(text):
        return page
    text = text.strip().removeprefix("data:")  # an error may come as a server-sent event
    try:
        return one_line(_message(json.loads(text)), QUOTED)
    except (ValueError, RecursionError):
        return one_line(text, QUOTED)


def _message(body: Any) -> str:
    """Find the message, which has a different place with each provider."""
    if isinstance(body, list) and body:
        return _message(body[0])
    if isinstance(body, dict):
        for name in ("error", "message", "detail", "msg"):
            if body.get(name):
                return _message(body[name])
    return body if isinstance(body, str) else json.dumps(body)


def status_line(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After: seconds or a date; OpenAI also sends milliseconds."""
    plain = {name.lower(): value.strip() for name, value in headers.items()}
    try:
        if "retry-after-ms" in plain:
            return _plausible(float(plain["retry-after-ms"]) / 1000)
        wanted = plain.get("retry-after", "")
        return _plausible(float(wanted)) if wanted[:1].isdigit() else _seconds_until(wanted, plain.get("date", ""))
    except (ValueError, OverflowError):
        return None


def _plausible(seconds: float) -> float | None:
    """Return a plausible pause, or None. Some providers send a time of day instead of the seconds until then."""
    seconds = seconds - time.time() if seconds > _EARLIEST_TIMESTAMP else seconds
    return max(0.0, seconds) if seconds < _EARLIEST_TIMESTAMP else None


def _seconds_until(date: str, now: str) -> float | None:
    """Return the seconds until a date, by the provider's clock if it sends the time, since ours may be wrong."""
    if not date:
        return None
    today = parsedate_to_datetime(now).timestamp() if now else time.time()
    return max(0.0, parsedate_to_datetime(date).timestamp() - today)
