"""Draws docs/demo.svg from a real run of `rlm demo`. `just docs` runs it."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PICTURE = Path(__file__).with_name("demo.svg")
WIDTH = 110

_FETCHED = re.compile(r"@font-face \{.*?\n\s*\}\n", re.DOTALL)
"""Fonts from the network, which the picture must not load."""


def demo() -> str:
    """Return the output of the demo, stdout and stderr in order, with colours."""
    command = [str(Path(sys.executable).with_name("rlm")), "demo", "--color", "always"]
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    done = subprocess.run(
        command,
        env=kept | {"COLUMNS": str(WIDTH)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout


def draw(text: str, command: str) -> str:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(f"$ {command}\n{text}"), soft_wrap=False)
    return _FETCHED.sub("", console.export_svg(title=command, theme=MONOKAI))


if __name__ == "__main__":
    PICTURE.write_text(draw(demo(), "rlm demo"))
