"""Pictures go to terminals that are known to show them, and nothing in a picture reaches one as a command."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from rlm.config.environment import PictureProtocol, picture_protocol
from rlm.present.live.pictures import draw
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
def test_only_a_terminal_that_says_what_it_is_gets_pictures(
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
    assert all("q=2" in keys for keys, _ in pieces), "the terminal is to answer nothing"
    found = re.fullmatch(r"\x1b\]1337;File=[\w=;]*:([A-Za-z0-9+/=]*)\x07", draw(str(tmp_path / "p.png"), ITERM2, 80))
    assert found
    assert base64.b64decode(found[1]) == large


def test_what_is_no_picture_any_more_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("\x1b[2J")
    (tmp_path / "real.png").write_bytes(PICTURE)
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    for name in ("text.png", "link.png", "none.png"):
        assert draw(str(tmp_path / name), KITTY, 80) == ""
