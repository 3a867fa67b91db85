"""Detects the encoding of a text file: UTF-8 unless the file declares another one, or is no valid UTF-8."""

from __future__ import annotations

import codecs
import re

_MARKS = (  # the longer ones first: UTF-32's begins like UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
SAMPLE = 1 << 20  # bytes
_HEAD = 4_096  # bytes in which a file declares its encoding, and which show UTF-16 without a mark
_LONGEST = 4  # bytes of a character
_FEWEST = 4  # characters that show UTF-16 without a mark
# PEP 263, vim's modeline, XML and HTML
_DECLARED = re.compile(rb"(?:coding|charset)\s*[:=]\s*[\"']?([\w.-]+)", re.IGNORECASE)


def encoding_of(data: bytes) -> str | None:
    """Return the codec that reproduces exactly these bytes; None if the file is not UTF-8 and declares no encoding.

    A byte order mark stays in the text, as its first character.
    """
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return codec if _fits(data, codec) else None
    if codec := _utf16_without_mark(data):
        return codec
    if _fits(data, "utf-8"):
        return "utf-8"
    declared = _DECLARED.search(data, 0, _HEAD)
    codec = declared[1].decode() if declared else ""
    return codec if codec and _fits(data, codec) else None


def decode(data: bytes) -> str:
    """Return the text of a file that is only read, with the line ends of this system."""
    return decode_as_written(data).replace("\r\n", "\n")


def decode_as_written(data: bytes) -> str:
    """Return the text with its own line ends."""
    return data.decode(likely_encoding(data), "replace").removeprefix("\ufeff")


def join_surrogates(text: str) -> str:
    """Join the halves of a character that were separated by a cut; a half that stays alone becomes `�`."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def likely_encoding(data: bytes) -> str:
    """Return a codec also without a declaration: UTF-8 if the bytes are damaged UTF-8, else Windows' cp1252."""
    if codec := encoding_of(data):
        return codec
    text = data.decode("utf-8", "replace")
    damaged, plain = text.count("\ufffd"), len(text.encode("ascii", "ignore"))
    return "utf-8" if len(text) - plain - damaged >= max(damaged, 1) else "cp1252"


def likely_encoding_of_start(data: bytes) -> str:
    """Guess the codec from the first `SAMPLE` bytes of a file. A longer file is cut, perhaps within a character."""
    cuts = range(_LONGEST if len(data) == SAMPLE else 1)
    return next(filter(None, (encoding_of(data[: len(data) - cut]) for cut in cuts)), None) or likely_encoding(data)


def _fits(data: bytes, codec: str) -> bool:
    try:
        return data.decode(codec).encode(codec) == data
    except (UnicodeError, LookupError, ValueError, TypeError, AttributeError):  # wrong, unknown, or not for text
        return False


def _utf16_without_mark(data: bytes) -> str:
    """Detect UTF-16: mostly Latin text has a zero in every other byte. In a few bytes that happens by chance."""
    head = data[:_HEAD]
    pairs = len(head) // 2
    for codec, zeros, letters in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
        if pairs >= _FEWEST and zeros.count(0) > 0.7 * pairs and letters.count(0) == 0 and _fits(data, codec):
            return codec
    return ""
