"""Pictures are sent only to terminals that can show them, and no byte of a picture reaches a terminal as a command."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from rlm.config.environment import PictureProtocol, picture_protocol
from rlm.present.live.pictures import draw, sixels
from rlm_testkit.png import png
from rlm_testkit.sample import PICTURE

KITTY, ITERM2 = PictureProtocol.KITTY, PictureProtocol.ITERM2


@pytest.mark.parametrize(
    ("environ", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, KITTY),
        ({"TERM": "xterm-ghostty"}, KITTY),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, KITTY),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, ITERM2),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, ITERM2),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, ITERM2),
        ({"TERM": "foot"}, PictureProtocol.SIXEL),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, None),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode"}, None),
        ({"TERM": "dumb", "TERM_PROGRAM": "iTerm.app"}, None),
        ({"TERM": "tmux-256color", "LC_TERMINAL": "iTerm2"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux,1,0"}, None),
        ({"TERM": "screen.xterm-256color", "TERM_PROGRAM": "iTerm.app"}, None),
        ({}, None),
    ],
)
def test_only_a_terminal_that_identifies_itself_gets_pictures(
    environ: dict[str, str], protocol: PictureProtocol | None
) -> None:
    assert picture_protocol(environ) is protocol


def test_the_data_arrives_whole_and_coded(tmp_path: Path) -> None:
    large = PICTURE + bytes(range(256)) * 100
    (tmp_path / "p.png").write_bytes(large)
    kitty = draw(str(tmp_path / "p.png"), KITTY, 80)
    pieces = re.findall(r"\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\", kitty)
    assert "".join(f"\x1b_G{keys};{data}\x1b\\" for keys, data in pieces) == kitty
    assert base64.b64decode("".join(data for _, data in pieces)) == large
    assert [keys[-1] for keys, _ in pieces] == ["1"] * (len(pieces) - 1) + ["0"]
    assert all("q=2" in keys for keys, _ in pieces), "the terminal must not answer"
    found = re.fullmatch(r"\x1b\]1337;File=[\w=;]*:([A-Za-z0-9+/=]*)\x07", draw(str(tmp_path / "p.png"), ITERM2, 80))
    assert found
    assert base64.b64decode(found[1]) == large


def test_a_file_that_is_no_longer_a_picture_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("\x1b[2J")
    (tmp_path / "real.png").write_bytes(PICTURE)
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    for name in ("text.png", "link.png", "none.png"):
        assert draw(str(tmp_path / name), KITTY, 80) == ""


def picture(kind: int, channels: int, filters: list[int], rows: list[bytes]) -> bytes:
    """A PNG with 8 bits per sample; each row has its own filter."""
    before, data = bytes(len(rows[0])), list[bytes]()
    for kind_of_filter, row in zip(filters, rows, strict=True):
        coded = bytearray()
        for at, value in enumerate(row):
            left, corner = (row[at - channels], before[at - channels]) if at >= channels else (0, 0)
            up = before[at]
            guess = left + up - corner
            near = min((abs(guess - each), order, each) for order, each in enumerate((left, up, corner)))[2]
            coded.append((value - (0, left, up, (left + up) // 2, near)[kind_of_filter]) & 255)
        data.append(bytes([kind_of_filter, *coded]))
        before = row
    return png(len(rows[0]) // channels, data, kind)


def decode_sixels(coded: str) -> list[list[tuple[int, ...]]]:
    """Decode sixels as a terminal does: the colour of each pixel in percent."""
    found = re.fullmatch(r'\x1bPq"1;1;(\d+);(\d+)(.*)\x1b\\', coded)
    assert found
    width, height = int(found[1]), int(found[2])
    palette = {int(c): tuple(map(int, rgb.split(";"))) for c, rgb in re.findall(r"#(\d+);2;(\d+;\d+;\d+)", found[3])}
    body = re.sub(r"#\d+;2;\d+;\d+;\d+", "", found[3])
    pixels: list[list[tuple[int, ...]]] = [[()] * width for _ in range(height)]
    for band, line in enumerate(body.split("-")):
        for colour, runs in re.findall(r"#(\d+)([^#]*)", line):
            at = 0
            for count, sign in re.findall(r"(?:!(\d+))?([?-~])", runs):
                for column in range(at, at + int(count or 1)):
                    for bit in range(6):
                        if ord(sign) - 63 >> bit & 1:
                            pixels[6 * band + bit][column] = palette[int(colour)]
                at += int(count or 1)
    return pixels


@pytest.mark.parametrize(("kind", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixels_show_the_colours_of_the_picture(kind: int, channels: int) -> None:
    values = [
        bytes(
            (37 * (row + column) % 6 * 51 if (at < 3 and channels > 2) or at == 0 else 255)
            for column in range(9)
            for at in range(channels)
        )
        for row in range(8)
    ]
    pixels = decode_sixels(sixels(picture(kind, channels, [0, 1, 2, 3, 4, 4, 3, 1], values)))
    expected = [[(37 * (row + column) % 6 * 20,) * 3 for column in range(9)] for row in range(8)]
    assert pixels == expected


def test_data_that_cannot_be_decoded_is_not_a_picture() -> None:
    whole = picture(2, 3, [0], [b"abcdef"])
    for broken in (
        whole[:20],
        whole[:40],
        whole[:-20],
        picture(3, 1, [0], [b"a"]),
        b"",
        whole.replace(b"IDAT", b"IDAX"),
    ):
        assert sixels(broken) in ("", sixels(whole))
