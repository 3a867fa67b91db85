"""behaviour.md, on a real terminal: header, lines, the live tree, the footer, and Ctrl-C."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rlm_testkit import law
from rlm_testkit.cli import COMMAND, Rlm
from rlm_testkit.leftovers import nothing_left
from rlm_testkit.scripted import Answer, Request, Scripted, call, calls, text
from rlm_testkit.tmux import Terminal, terminals

Make = Callable[[Scripted], Rlm]
Open = Callable[..., Terminal]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Open]:
    """A function that opens a terminal with `rlm WORDS`."""
    with terminals(tmp_path) as open_terminal:

        def open_(rlm: Rlm, *words: str, **env: str) -> Terminal:
            command = [shlex.quote(word) for word in (str(COMMAND), *words)]
            return open_terminal(command, (200, 30), rlm.cwd, rlm.env(**env))

        yield open_


def test_a_run_as_its_user_sees_it(rlm: Make, terminal: Open) -> None:
    """Output of a model or a program cannot move the cursor, and the answer has its own lines."""
    hostile = "print('\\x1b]0;owned\\x07\\x1b[2Jcleared')"
    with Scripted(
        calls(("ipython", {"code": hostile})), call("ipython", code="1/0"), text("for\x1b[2Jty-**two**")
    ) as server:
        command = rlm(server)
        screen_lines = terminal(command, "what is it?").wait_for("over 0")
    session = command.session
    law.check(session, server)
    id = session.meta["session_id"]
    assert screen_lines[0].startswith(f"rlm · scripted · sandbox off · ipython, summarize · session {id} ·")
    screen_lines = screen_lines[
        next(at for at, line in enumerate(screen_lines) if "[1]" in line) - 1 :
    ]  # the path may be on a separate line
    assert "[1] ipython  print(" in screen_lines[1]
    assert "✓" in screen_lines[1]
    assert "[2] ipython  1/0  ZeroDivisionError: division by zero" in screen_lines[2]
    assert "✗" in screen_lines[2]
    footer = rf"3 turns · 1 agent · 300 in \(120 cached\) / 30 out · [\d.]+ m?s · rlm resume {id[:4]}"
    assert ["", "forty-two", "", "over 0"] == [*screen_lines[3:6], screen_lines[7]], (
        "there is an empty line before the answer, and its Markdown is rendered"
    )
    assert re.fullmatch(footer, screen_lines[6])
    assert all(request.streamed for request in server.requests), "the text is streamed, because the user can see it"


def test_a_partial_answer_is_marked_above_it(rlm: Make, terminal: Open) -> None:
    with Scripted(call("ipython", code="1"), text("about one")) as server:
        screen_lines = terminal(rlm(server), "what is it?", "--max-turns", "1").wait_for("over 3")
    at = screen_lines.index("Partial answer:")
    assert screen_lines[at : at + 3] == ["Partial answer:", "", "about one"]


def test_the_live_tree_shows_running_agents_and_ctrl_c_ends_it(rlm: Make, terminal: Open) -> None:
    """One of the children is queued. Keys that are typed meanwhile break no row, and are there afterwards."""
    cell = "import asyncio\nawait asyncio.gather(*(rlm.run(f'child {n}') for n in range(3)))"

    def script(request: Request) -> Answer:
        return call("ipython", code="import time\ntime.sleep(1000)" if request.depth else cell)

    with Scripted(script) as server:
        command = rlm(server)
        screen = terminal(command, "go", RLM_MAX_DEPTH="1", RLM_MAX_CONCURRENT_AGENTS="2")
        screen.wait_for("0 of 3 done, 2 running, 1 queued", "├", "└", "ipython  time.sleep")
        server.wait(lambda s: len(s.requests) == 3)
        screen.press("ahead")
        screen.press("Enter")
        frame = screen.lines()
        assert not [line for line in frame if "ahead" in line]
        assert 1 == sum("1 queued" in line for line in frame)
        screen.press("C-c")
        screen_lines = screen.wait_for("over 130")
        screen.press("typed")
        screen.wait_for("typed")
    session = command.session
    law.check(session, server)
    nothing_left_but_the_terminal(command)
    assert screen_lines[-2].startswith("interrupted · 3 turns · 3 agents")
    assert screen_lines[-2].endswith(f"rlm resume {session.meta['session_id'][:4]}")
    assert not [
        line for line in screen_lines if "ignored" in line or "queued" in line or "├" in line or "Traceback" in line
    ]
    assert ["cancelled"] * 3 == [each.meta["status"] for each in (session, *session.children)]


def nothing_left_but_the_terminal(command: Rlm) -> None:
    nothing_left(command, besides=("tmux: server", "sh", "bash", "dash", "cat"))


def test_a_text_is_shown_while_it_is_streamed(without_tools: Make, terminal: Open) -> None:
    slow = text("These words come one after the other. " * 3 + "Done.").slowly(0.2)
    with Scripted(slow) as server:
        screen = terminal(without_tools(server), "go")
        screen.wait_for("These words come")
        screen_lines = screen.wait_for("over 0", "Done.")
    assert 1 == sum("These words come" in line for line in screen_lines), "the answer replaces the streamed text"
