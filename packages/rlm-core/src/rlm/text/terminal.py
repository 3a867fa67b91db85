"""Makes text of a model, a program or a file safe for a terminal: readable, but without any effect there."""

from __future__ import annotations

import json
import re

_UNKNOWN = "\ufffd"

_DECEIVING = (
    # Bidirectional embeddings, overrides and isolates: they show code in another order than it runs.
    "\\u202a-\\u202e\\u2066-\\u2069"
    # Invisible operators, deprecated and annotation marks, tags: hidden text. Lone surrogates: no characters.
    "\\u2061-\\u2065\\u206a-\\u206f\\ufff9-\\ufffb\\U000e0000-\\U000e007f\\ud800-\\udfff"
)
_BODY = "[^\x00-\x1f\x7f-\x9f]*"
_HOSTILE = re.compile(
    # Whole sequences are removed: colours and cursor moves (CSI), titles, links, pictures (OSC, DCS, SOS, PM, APC).
    r"(?P<sequence>"
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    rf"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]){_BODY}(?:[\x07\x9c]|\x1b\\)"
    r"|\x1b[ -/]*[0-Z\\^-~]"
    r")"
    r"|(?P<break>\r\n?|[\x0b\x0c\u2028\u2029])"
    # The remaining controls: C0 except tab and newline, DEL, C1.
    r"|[\x00-\x08\x0e-\x1f\x7f-\x9f]"
    rf"|[{_DECEIVING}]"
)
_IN_JSON = re.compile(rf"[\x7f-\x9f\u2028\u2029{_DECEIVING}]")
_FLAG = re.compile("\U0001f3f4[\U000e0061-\U000e007a]{5}\U000e007f")
_FLAGS = tuple(
    "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in name) + "\U000e007f"
    for name in ("gbeng", "gbsct", "gbwls")
)
"""England, Scotland, Wales: the only flags in use that are encoded with tags."""

# Joiners and zero-width spaces belong to many scripts and to emoji; between ASCII they only hide something.
_ZERO_WIDTH = re.compile(r"(?<![^\x00-\x7f])[\u200b-\u200d\u2060\ufeff]+(?![^\x00-\x7f])")


def plain(text: str) -> str:
    """Return `text` without anything that a terminal obeys or that deceives a reader.

    Escape sequences are removed; a stray control character becomes its picture (`␛`); `\\r` becomes a new line, tab and
    newline stay. Characters that change the reading direction or hide text become `�`. The words of all languages stay.
    """
    if text.isascii() and text.isprintable():
        return text
    if _FLAG.search(text):
        return "".join(part if part in _FLAGS else _plain(part) for part in re.split(f"({'|'.join(_FLAGS)})", text))
    return _plain(text)


def plain_json(text: str) -> str:
    """Return JSON with escapes (`\\u009b`) for all characters that `plain` removes or replaces: its value is the same.

    C0 needs nothing here, because JSON escapes it in every string.
    """
    if text.isascii() and "\x7f" not in text:
        return text
    return _IN_JSON.sub(lambda found: json.dumps(found[0])[1:-1] if found[0] > "\x7f" else "\\u007f", text)


def _plain(text: str) -> str:
    return _ZERO_WIDTH.sub("", _HOSTILE.sub(_harmless, text))


def _harmless(found: re.Match[str]) -> str:
    if found["sequence"]:
        return ""
    if found["break"]:
        return "\n"
    code = ord(found.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else _UNKNOWN
