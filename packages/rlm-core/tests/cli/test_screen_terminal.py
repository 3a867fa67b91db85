"""The screen on real terminals, pipes and files: what a user sees, and what happens when the stream fails."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from rlm.config.readers import ColorChoice
from rlm.core.messages import Usage
from rlm.present.live import open_screen
from rlm.present.live.lines import footer
from rlm_testkit.tmux import Terminal, terminals
from rlm_testkit.waiting import TIMEOUT, until

# Plays a run in steps. Each step waits for a file that the test creates, so no test depends on timing.
PLAY = """
import json, sys, time
from pathlib import Path
from typing import get_args
from msgspec import convert
from rlm.present.live import open_screen
from rlm.present.live.lines import footer, header
from rlm.config.readers import ColorChoice
from rlm.core.messages import Usage
from rlm.sessions.records import JournalRecord, WatchedRecord, type_name

folder, children, quiet = Path(sys.argv[1]), int(sys.argv[2]), "-q" in sys.argv
# half of the clock's time: what was never said is longer ago, what has just been said is not
silence = time.monotonic() / 2 if "-s" in sys.argv else 0
USAGE = {"prompt_tokens": 1200, "completion_tokens": 80, "cached_tokens": 0, "reasoning_tokens": 0}

KINDS = {type_name(kind): kind for kind in (*get_args(WatchedRecord), *get_args(JournalRecord))}

def step(name):
    deadline = time.monotonic() + 120
    while not (folder / name).exists():
        assert time.monotonic() < deadline, name
        time.sleep(0.01)

def tell(type, agent="root", **body):
    screen.show(convert({"type": type, "agent": agent, "id": 0, "ts": 0} | body, KINDS[type]))

def reply(agent="root"):
    tell("message", agent, id=1, message={"role": "assistant", "content": ""}, usage=USAGE)

def start(code, agent="root"):
    tell("cell_start", agent, call_id="c", tool="ipython", arguments=json.dumps({"code": code}))

def end(agent="root", ok=True):
    tell("cell_end", agent, call_id="c", tool="ipython", ok=ok, duration=0.4)

with open_screen(sys.stderr, quiet=quiet, color=ColorChoice.AUTO, silence=silence) as screen:
    screen.say(header(model="gpt-4o", cwd="/src", tools=("ipython",)))
    tell("delta", text="Let me look at \\x1b[2J\\x1b]0;owned\\x07the files")
    step("cell")
    reply()
    start("import rlm\\n")
    end()
    tell("error", reason="the picture could not be saved")
    tell("waiting", reason="no answer for 25 s", left=90)  # where nothing moves
    step("children")
    start("await gather()")
    folders = [f"sub-{number:04x}beef" for number in range(children)]
    for folder_name in folders:
        tell("agent_start", folder=folder_name, prompt=f"Read {folder_name[:8]}")
    start("context[:100]", f"root/{folders[0]}")
    step("end")
    for folder_name in folders:
        tell("agent_end", folder=folder_name, stop="done", turns=1, usage=USAGE)
    end()
    tell("result", status="done", stop_reason="done", answer="42", turns=1, usage=USAGE)
    print("42", flush=True)
    screen.say(footer(turns=2, agents=1 + children, usage=Usage(2400, 160), resume="rlm resume 7f3a", stop="done"))
"""

STEPS = ("cell", "children", "end")


@pytest.fixture
def play(tmp_path: Path) -> list[str]:
    """Return the command that plays a run with three children."""
    script = tmp_path / "play.py"
    script.write_text(PLAY)
    return [sys.executable, str(script), str(tmp_path), "3"]


def go(folder: Path, *steps: str) -> None:
    for step in steps:
        (folder / step).touch()


# ---- in tmux: what a user sees


Open = Callable[..., Terminal]


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[Open]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed: nobody can look at the live tree")
    with terminals(tmp_path) as open_terminal:
        yield open_terminal


def test_the_live_tree_grows_and_disappears_and_leaves_its_lines(
    open_terminal: Open, play: list[str], tmp_path: Path
) -> None:
    terminal = open_terminal(play, (80, 24))
    screen = terminal.wait_for("Let me look at the files", "writing")
    assert len(screen) == 3
    go(tmp_path, "cell")
    terminal.wait_for("[1] ipython  import rlm", "✓   0.4 s", "error: the picture could not be saved")
    go(tmp_path, "children")
    terminal.wait_for("waiting for 3 agents", "├ 0000  Read sub-0000     ipython  context[:100]", "└ 0002")
    go(tmp_path, "end")
    screen = terminal.wait_for("over 0")
    assert [line.split("  ")[0 if line[0] != " " else 1] for line in screen] == [
        *("rlm · gpt-4o · sandbox off · ipython · /src", "[1] ipython", "error: the picture could not be saved"),
        *("0000", "0001", "0002", "[1] ipython"),
        *("42", "2 turns · 4 agents · 2.4k in / 160 out · rlm resume 7f3a", "over 0"),
    ]


def test_a_tree_that_is_higher_than_the_screen_scrolls_nothing_away(
    open_terminal: Open, play: list[str], tmp_path: Path
) -> None:
    go(tmp_path, "cell", "children")
    terminal = open_terminal([*play[:-1], "200"], (80, 20))
    screen = terminal.wait_for("waiting for 200 agents", "+ 189 more")
    assert screen[0].startswith("rlm · gpt-4o")
    assert len(screen) == 3 + 13
    go(tmp_path, "end")
    terminal.wait_for("over 0")
    everything = terminal.lines("-S", "-")
    assert sum("waiting for" in line for line in everything) == 0
    assert sum("Read sub" in line for line in everything) == 200


def test_a_terminal_that_changes_its_width_keeps_one_tree(open_terminal: Open, play: list[str], tmp_path: Path) -> None:
    go(tmp_path, "cell", "children")
    terminal = open_terminal(play, (100, 24))
    terminal.wait_for("waiting for 3 agents")
    terminal.resize(50, 24)
    until(lambda: all(len(line) < 50 for line in terminal.lines()[-4:]), terminal.lines)
    assert sum("root" in line for line in terminal.lines()) == 1
    terminal.resize(120, 24)
    until(lambda: any(len(line) > 100 for line in terminal.lines()), terminal.lines)
    assert sum("root" in line for line in terminal.lines()) == 1


def test_ctrl_c_leaves_a_clean_terminal(open_terminal: Open, play: list[str], tmp_path: Path) -> None:
    go(tmp_path, "cell", "children")
    terminal = open_terminal(play, (80, 24))
    terminal.wait_for("waiting for 3 agents")
    terminal.press("C-c")
    screen = terminal.wait_for("over 130", "KeyboardInterrupt")
    assert not [line for line in screen if "waiting for" in line or "├" in line]
    terminal.press("typed")
    terminal.wait_for("typed")


# ---- byte by byte


def listen(command: list[str], on: Callable[[bytes], None] = lambda _: None) -> tuple[bytes, bool]:
    """Run `command` with a new terminal as its stderr. Return all output to it, and whether its settings are unchanged.

    `on` is called with all output so far, whenever more arrives.
    """
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=slave)
    output = b""
    while program.poll() is None or select.select([master], [], [], 0)[0]:
        if select.select([master], [], [], 0.02)[0]:
            output += os.read(master, 65_536)
            on(output)
    same = termios.tcgetattr(slave) == before
    os.close(slave)
    os.close(master)
    assert program.returncode == 0, output
    return output, same


def test_a_terminal_gets_moves_and_colours_and_no_mode_is_changed(play: list[str], tmp_path: Path) -> None:
    go(tmp_path, "cell", "children")
    output, same = listen(play, lambda output: go(tmp_path, "end") if b"waiting for" in output else None)
    escapes = set(re.findall(rb"\x1b(?:\[[0-9;?]*[a-zA-Z])?", output))
    assert {b"\x1b[J", b"\x1b[2K", b"\x1b[32m", b"\x1b[0m"} <= escapes
    assert not [escape for escape in escapes if not re.fullmatch(rb"\x1b\[([0-9]+A|J|2K|[0-9]+m)", escape)]
    assert same


def test_without_a_terminal_there_are_no_escape_codes(play: list[str], tmp_path: Path) -> None:
    go(tmp_path, *STEPS)
    done = subprocess.run(play, check=True, capture_output=True, encoding="utf-8", timeout=TIMEOUT)
    assert done.stdout == "42\n"
    assert "\x1b" not in done.stderr
    assert [line.split("  ")[0 if line[0] != " " else 1] for line in done.stderr.splitlines()] == [
        *("rlm · gpt-4o · sandbox off · ipython · /src", "[1] ipython", "error: the picture could not be saved"),
        "still waiting, at most 1m 30s: no answer for 25 s",
        *("0000", "0001", "0002", "[1] ipython"),
        "2 turns · 4 agents · 2.4k in / 160 out · rlm resume 7f3a",
    ]


def test_an_agent_that_waits_says_nothing_while_others_do(play: list[str], tmp_path: Path) -> None:
    go(tmp_path, *STEPS)
    done = subprocess.run([*play, "-s"], check=True, capture_output=True, encoding="utf-8", timeout=TIMEOUT)
    assert "picture could not be saved" in done.stderr
    assert "still waiting" not in done.stderr


def test_quiet_silences_all_but_errors(play: list[str], tmp_path: Path) -> None:
    go(tmp_path, *STEPS)
    assert listen([*play, "-q"])[0] == b"  \x1b[31merror: \x1b[0mthe picture could not be saved\r\n"


# ---- streams that fail


def test_a_stream_that_is_not_read_does_not_block(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    try:
        with os.fdopen(writer, "w") as stream, open_screen(stream, quiet=False, color=ColorChoice.AUTO) as screen:
            for number in range(20_000):
                screen.note(f"note {number}")
        assert os.read(reader, 6) == b"note 0"
    finally:
        os.close(reader)


def test_a_stream_whose_reader_has_gone_is_ignored() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream, open_screen(stream, quiet=False, color=ColorChoice.AUTO) as screen:
        screen.note("one")
        screen.say(footer(turns=1, agents=1, usage=Usage()))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_survived() -> None:
    with Path("/dev/full").open("w") as stream, open_screen(stream, quiet=False, color=ColorChoice.AUTO) as screen:
        screen.note("one")


def test_no_stream_and_a_closed_one_show_nothing(tmp_path: Path) -> None:
    closed = (tmp_path / "closed").open("w")
    closed.close()
    for stream in (None, closed):
        with open_screen(stream, quiet=False, color=ColorChoice.AUTO) as screen:
            screen.note("one")


def test_colour_can_be_asked_for_and_a_stream_need_not_be_a_file() -> None:
    stream = StringIO()
    with open_screen(stream, quiet=False, color=ColorChoice.ALWAYS) as screen:
        screen.note("one")
    assert stream.getvalue() == "\x1b[2mone\x1b[0m\n"


def test_partial_characters_and_a_limited_encoding_do_no_harm(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="ascii") as stream:
        with open_screen(stream, quiet=False, color=ColorChoice.AUTO) as screen:
            screen.note("one \ud83d two … three")
        assert (tmp_path / "log").read_text() == "one ? two ? three\n"


def test_an_agent_stopped_while_the_tree_runs_does_not_hang(play: list[str], tmp_path: Path) -> None:
    go(tmp_path, "cell", "children")
    master, slave = pty.openpty()
    program = subprocess.Popen(play, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    output = b""
    while b"waiting for" not in output:
        output += os.read(master, 65_536)
    program.send_signal(signal.SIGINT)  # from here on the test no longer reads the terminal
    assert program.wait(TIMEOUT) != 0
    os.close(master)
