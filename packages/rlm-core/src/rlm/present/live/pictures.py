"""Pictures on terminals that can show them. The environment identifies the terminal; the terminal is not queried.

Specifications: https://sw.kovidgoyal.net/kitty/graphics-protocol/ and https://iterm2.com/documentation-images.html; of
sixels, DEC's VT330/VT340 manual, chapter 14; of PNG, the W3C. Inside tmux and screen no pictures are shown, because
these pass on neither protocol.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from rlm.config.environment import PictureProtocol
from rlm.process import files

LARGEST = 4 << 20
"""Maximum bytes of a picture that is shown."""
WIDEST = 72
"""Maximum columns of a picture."""

NARROWEST = 480
"""Minimum width in pixels of a terminal for sixels, which the terminal does not scale."""

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
    if protocol is PictureProtocol.KITTY:
        return "".join(_kitty(coded, columns))
    return f"\x1b]1337;File=inline=1;width={columns};preserveAspectRatio=1:{coded}\x07"


def _kitty(coded: str, columns: int) -> Iterator[str]:
    """The kitty sequence. `q=2` suppresses the terminal's response, which would be read as typed keys."""
    pieces = [coded[start : start + _CHUNK] for start in range(0, len(coded), _CHUNK)]
    for number, piece in enumerate(pieces):
        first = f"a=T,f=100,q=2,c={columns}," if number == 0 else "q=2,"
        yield f"\x1b_G{first}m={int(number < len(pieces) - 1)};{piece}\x1b\\"


# ---- sixels, for terminals without another protocol: 216 colours; a wide picture is scaled down

_MOST_WIDE = 480
"""Pixels. A wider picture would take seconds to encode."""
_MOST = 16_000_000  # maximum pixels of a picture that is decoded
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
_START = 8  # offset of the first chunk

Pixels = list[list[int]]
"""Rows of colours: 36 red + 6 green + blue, each from 0 to 5."""


def sixels(png: bytes) -> str:
    """Convert a PNG; empty for unsupported ones: palettes, 16 bits, interlacing."""
    try:
        rows = _rows(png)
    except (ValueError, KeyError, IndexError, struct.error, zlib.error):
        return ""
    if not rows or not all(len(row) == len(rows[0]) for row in rows):
        return ""
    size = f'"1;1;{len(rows[0])};{len(rows)}'
    used = sorted({colour for row in rows for colour in row})
    palette = "".join(f"#{colour};2;{colour // 36 * 20};{colour // 6 % 6 * 20};{colour % 6 * 20}" for colour in used)
    bands = "-".join(_band(rows[top : top + 6]) for top in range(0, len(rows), 6))
    return f"\x1bPq{size}{palette}{bands}\x1b\\"


def _band(rows: Pixels) -> str:
    """Encode six rows: for each colour, which of the six pixels of each column have it."""
    masks: dict[int, list[int]] = {}
    for bit, row in enumerate(rows):
        for column, colour in enumerate(row):
            if colour not in masks:
                masks[colour] = [0] * len(row)
            masks[colour][column] |= 1 << bit
    return "$".join(f"#{colour}{_run_lengths(mask)}" for colour, mask in masks.items())


def _run_lengths(mask: list[int]) -> str:
    runs = ((chr(63 + value), len(list(run))) for value, run in groupby(mask))
    return "".join(f"!{length}{sign}" if length > 3 else sign * length for sign, length in runs)


def _rows(png: bytes) -> Pixels:
    chunks = list(_chunks(png))
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    channels = _CHANNELS[kind]
    if depth != 8 or interlaced or not 0 < width * height <= _MOST:
        raise ValueError(kind)
    data = zlib.decompressobj().decompress(
        b"".join(body for name, body in chunks if name == b"IDAT"), height * (width * channels + 1)
    )
    step = -(-width // _MOST_WIDE)
    lines = _unfiltered(data, width * channels, channels)
    return [
        [_colour(line[at : at + channels]) for at in range(0, width * channels, channels * step)]
        for number, line in enumerate(lines)
        if number % step == 0
    ]


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = _START
    while at + 8 <= len(png):
        length, name = struct.unpack(">I4s", png[at : at + 8])
        yield name, png[at + 8 : at + 8 + length]
        at += 12 + length


def _unfiltered(data: bytes, length: int, channels: int) -> Iterator[bytes]:
    before = bytes(length)
    for start in range(0, len(data) - length, length + 1):
        line = bytearray(data[start + 1 : start + 1 + length])
        _unfilter(data[start], line, before, channels)
        before = bytes(line)
        yield before


def _unfilter(kind: int, line: bytearray, above: bytes, channels: int) -> None:
    """Undo a PNG filter, which stores each byte as its difference from its neighbours."""
    for at in range(len(line)) if kind else ():
        left, up = (line[at - channels] if at >= channels else 0), above[at]
        if kind == 1:
            guess = left
        elif kind == 2:
            guess = up
        elif kind == 3:
            guess = (left + up) // 2
        else:
            guess = _paeth(left, up, above[at - channels] if at >= channels else 0)
        line[at] = (line[at] + guess) & 255


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda each: abs(guess - each))


def _colour(pixel: bytes) -> int:
    """The nearest of the 216 colours; transparent pixels are blended with white."""
    opaque = pixel[-1] if len(pixel) in (2, 4) else 255
    grey = pixel[0] if len(pixel) < 3 else None
    values = [grey] * 3 if grey is not None else list(pixel[:3])
    red, green, blue = (((value * opaque + 255 * (255 - opaque)) // 255 + 25) // 51 for value in values)
    return 36 * red + 6 * green + blue
