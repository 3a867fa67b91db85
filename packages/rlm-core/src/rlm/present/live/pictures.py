"""Pictures on terminals that can show them. The environment identifies the terminal; the terminal is not queried.

Specifications: https://sw.kovidgoyal.net/kitty/graphics-protocol/, https://iterm2.com/documentation-images.html, and
for sixels see `sixel`. Inside tmux and screen no pictures are shown, because these pass on neither protocol.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from pathlib import Path

from rlm.config.environment import PictureProtocol
from rlm.present.live.sixel import sixels
from rlm.process import files

LARGEST = 4 << 20
"""Maximum bytes of a picture that is shown."""
WIDEST = 72
"""Maximum columns of a picture."""

NARROWEST = 480
"""Minimum width in pixels of a terminal for sixels, which are not scaled."""

_PNG = b"\x89PNG\r\n\x1a\n"
_COLUMN = 10  # pixels; the terminal scales the picture if its columns differ
_CHUNK = 4096  # bytes per chunk of the kitty protocol


def draw(path: str, protocol: PictureProtocol, width: int) -> str:
    """The sequence that shows a PNG on a terminal of `width` columns; empty if it cannot be shown.

    The data is encoded, so none of it can act as a control sequence.
    """
    try:
        data = files.read(Path(path), limit=LARGEST)
    except OSError:
        return ""
    if len(data) < 24 or not data.startswith(_PNG):
        return ""
    if protocol is PictureProtocol.SIXEL:
        return sixels(data) if width * _COLUMN >= NARROWEST else ""
    (pixels,) = struct.unpack(">I", data[16:20])
    columns = max(1, min(-(-pixels // _COLUMN), WIDEST, width - 2))
    coded = base64.b64encode(data).decode()
    return "".join(_kitty(coded, columns)) if protocol is PictureProtocol.KITTY else _iterm2(coded, columns)


def _kitty(coded: str, columns: int) -> Iterator[str]:
    """The kitty sequence. `q=2` suppresses the terminal's response, which would be read as typed keys."""
    pieces = [coded[start : start + _CHUNK] for start in range(0, len(coded), _CHUNK)]
    for number, piece in enumerate(pieces):
        first = f"a=T,f=100,q=2,c={columns}," if number == 0 else "q=2,"
        yield f"\x1b_G{first}m={int(number < len(pieces) - 1)};{piece}\x1b\\"


def _iterm2(coded: str, columns: int) -> str:
    return f"\x1b]1337;File=inline=1;width={columns};preserveAspectRatio=1:{coded}\x07"
