"""Kill a long session at every byte of its journal (or at every STRIDE-th), and check each time that it can be resumed.

python tests/tools/kill_session.py [TURNS] [STRIDE]

CI does this with a short session. For a long one, 400 turns and every byte take hours, a stride of 97 minutes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from rlm.sessions import Session, journal
from rlm_testkit.crash import kill_at
from rlm_testkit.journals import KEY, cell, ending, opening, turn


def long_session(home: Path, turns: int) -> tuple[Path, str]:
    """Its folder, and its meta.json from when it began."""
    with Session.create(home, model="m", cwd=home.parent, prompt="long", key=KEY) as session:
        running = (session.folder / "meta.json").read_text()
        for event in opening("long"):
            session.record(event)
        for number in range(turns):
            for event in turn(f"step {number}", (cell(f"print({number})"), f"{number}\n" * (number % 50))):
                session.record(event)
        for event in ending("done", turns):
            session.record(event)
    return session.folder, running


def main(turns: int = 400, stride: int = 97) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as temporary:
        folder, running = long_session(Path(temporary) / "home", turns)
        size = (folder / journal.NAME).stat().st_size
        started = time.monotonic()
        done = kill_at(folder, range(0, size + 1, stride), running)
    print(f"{turns} turns, {size:,} bytes: killed {done:,} times, resumed {done:,} times ", end="")
    print(f"in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
