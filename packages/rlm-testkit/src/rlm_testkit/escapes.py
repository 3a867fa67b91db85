"""The output that rlm may send to a terminal: harmless text, and the few escape sequences that rlm itself writes."""

from __future__ import annotations

import re

_TEXT = (
    r"[^\x00-\x08\x0a-\x1f\x7f-\x9f"  # C0 except the tab, DEL, C1
    r"\u2028\u2029"  # separators that some programs treat as newlines
    r"\u202a-\u202e\u2066-\u2069"  # bidirectional embeddings, overrides and isolates
    r"\u2061-\u2065\u206a-\u206f\ufff9-\ufffb\U000e0000-\U000e007f]+"  # invisible operators, annotations, tags
)
_PLAIN = rf"(?P<text>{_TEXT}|\n)"
_COLOUR = r"(?:[1-4]|3[0-7]|49|9[0-7])"  # bold, dim, italic, underlined; the 16 colours; the default background
_COLOURED = rf"\x1b\[{_COLOUR}(?:;{_COLOUR})*m(?P<coloured>{_TEXT})?\x1b\[0m"
_LIVE = (
    r"\r(?:\x1b\[[1-9][0-9]{0,2}A)?(?:\x1b\[J)(?:\x1b\[2K)?"  # go to the start of the live tree, and erase it
    r"|\r(?:\x1b\[[1-9][0-9]{0,2}A)?\x1b\[2K"  # or overwrite it
    r"|\n\x1b\[2K"  # its next row
    r"|\r(?=\r)|\r\Z"  # go to the start of its last row
)


def terminal_text(data: bytes, *, colours: bool = False, live: bool = False) -> str:
    """Return the text in a terminal's input.

    If set, `colours` allows rlm's colours, and `live` the moves of the live tree.

    Raises:
        AssertionError: the data contains any other byte.
    """
    stream, pieces, at = data.decode(), [], 0
    tokens = re.compile("|".join([*([_LIVE] if live else []), _PLAIN, *([_COLOURED] if colours else [])]))
    while at < len(stream):
        token = tokens.match(stream, at)
        assert token, f"a terminal obeys this: {stream[at : at + 60]!r}, after {stream[max(0, at - 200) : at]!r}"
        reported = token.groupdict()
        pieces.append(reported["text"] or reported.get("coloured") or "\n")
        at = token.end()
    return "".join(pieces)


def words(text: str) -> str:
    """Put a text on one line with single blanks, to ignore its layout."""
    return " ".join(text.split())
