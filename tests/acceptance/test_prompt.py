"""The interactive prompt on a real terminal: a few long scenarios, each with many checks."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from rlm_testkit import law
from rlm_testkit.cli import COMMAND, Rlm
from rlm_testkit.leftovers import ENDS_SLOWLY, nothing_left
from rlm_testkit.scripted import Answer, Request, Scripted, call, hang, text
from rlm_testkit.tmux import Terminal, terminals
from rlm_testkit.waiting import until

Make = Callable[[Scripted], Rlm]
Open = Callable[..., Terminal]

ENTER, TAB = "Enter", "Tab"

UNMARKED = b"\x1b[?2004l"
"""Tells the terminal to put no marks around a paste."""


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Open]:
    """A function that opens a terminal with `rlm WORDS`, and waits for the prompt."""
    with terminals(tmp_path) as open_terminal:

        def open_(rlm: Rlm, *words: str, sign: str = "›", size: tuple[int, int] = (110, 40), **env: str) -> Terminal:
            # tmux sets TERM itself
            command = ["env", f"TERM={env.pop('TERM', 'screen-256color')}", str(COMMAND), *map(shlex.quote, words)]
            terminal = open_terminal(command, size, rlm.cwd, rlm.env(**env))
            terminal.wait_for(sign)
            return terminal

        yield open_


def enter(screen: Terminal, line: str, *seen: str) -> list[str]:
    """Enter a line, and wait for these texts."""
    screen.press("-l", line)
    screen.press(ENTER)
    return screen.wait_for(*seen)


def task(request: Request) -> str:
    """The newest text of the user."""
    return request.last.rpartition("\n\n")[2]


def test_a_notebook_that_the_user_and_the_agent_share(rlm: Make, terminal: Open) -> None:
    """Each prefix, and what the model gets of it; completion, the Python prompt, mentions, edits, and the exit."""

    def script(request: Request) -> Answer:
        match task(request):
            case "double it":
                return call("ipython", code="x = x * 2\nprint('doubled', x)")
            case "show me markdown":
                return text("# Title\n\nSome **bold** text.\n\n```python\ny = 1\n```\n\nThe end.").slowly(0.01)
            case words:
                return text(f"Heard: {words}")

    with Scripted(script) as server:
        command = rlm(server)
        (command.cwd / "data.csv").write_text("a,b\n1,2\n")
        editor = command.folder / "editor"
        editor.write_text("#!/bin/sh\nstty -a | grep -q ' icanon' && printf 'from the editor' > \"$1\"\n")
        editor.chmod(0o700)
        screen = terminal(command, EDITOR=str(editor))
        enter(screen, ">x = 21", "you ▏ x = 21", "✓")
        enter(screen, "!echo from the shell", "from the shell", "✓")
        enter(screen, ">>secret = 1", "you ▏ secret = 1")
        enter(screen, "double it", "ipython ▏ x = x * 2", "        ▏ print('doubled', x)", "doubled 42", "2 turns")
        first = server.requests[0].last
        assert "```python\nx = 21\n```" in first
        assert "from the shell" in first
        assert "secret" not in first
        enter(screen, "show me markdown", "Title", "Some bold text.", "y = 1", "The end.")
        screen.press("C-g")
        screen.wait_for("› from the editor")
        screen.press("C-u")
        screen.press("C-r")
        screen.press("-l", "doub")
        screen.wait_for("I-search backward: doub", "\n› double it\n\n")
        screen.press(ENTER)
        screen.press("C-e", "C-u")
        screen.press("-l", "/und")
        screen.press(TAB)
        screen.wait_for("› /undo")
        screen.press("C-u")
        screen.press("-l", "read @da")
        screen.press(TAB)
        screen.wait_for("› read @data.csv")
        enter(screen, " and $`x + 1`", "read @data.csv and", "Heard: read @data.csv")
        enter(screen, "/diff", "fatal: not a git repository", "[exit code: 128]")
        enter(screen, "!!git init -q && git add . && echo 3,4 >>data.csv && touch new", "✓")
        enter(screen, "/diff", "AM data.csv", "?? new", "+3,4", "✓")
        assert '<file path="data.csv">\na,b\n1,2\n\n</file>' in server.requests[-1].last
        assert '<variable name="x + 1">\n43\n</variable>\n\nread' in server.requests[-1].last
        screen.press("C-o")
        screen.wait_for("In [")
        enter(screen, "for i in range(2):")
        enter(screen, "print('i is', i)")
        screen.press(ENTER)
        screen.wait_for("i is 0", "i is 1")
        screen.press("-l", "x.bit_le")
        screen.press(TAB)
        screen.wait_for("x.bit_length")
        screen.press("C-c", "C-o")
        enter(screen, "x?", "Type:", "int")
        enter(screen, "/nonsense", "There is no command /nonsense")
        enter(screen, "/hide 1", "The model no longer sees turn 1.")
        enter(screen, "/usage", "4 turns")
        enter(screen, "/tree", "root  done  4 turns")
        enter(screen, "/undo", "left the conversation", "› read @data.csv and $`x + 1`")
        screen.press("C-u")
        enter(screen, "and now?", "Heard: and now?")
        assert "x * 2" not in str(server.requests[-1].messages)
        assert "data.csv" not in str(server.requests[-1].messages)
        screen.press("C-d")
        seen = screen.wait_for("over 0")
    session = command.session
    assert f"rlm resume {session.meta['session_id'][:4]}" in seen[-2]
    law.check(session, server)
    assert "done" == session.meta["status"]
    assert "user_cell" in {record["type"] for record in session.records}
    nothing_left(command, besides=("tmux: server", "sh", "bash", "dash", "cat"))


def test_inputs_while_the_agent_works(rlm: Make, terminal: Open, tmp_path: Path) -> None:
    """Messages, the queue, outputs that are folded, Ctrl-C at each stage, and a terminal whose size changes.

    A paste is treated as one input, also if it arrives while something is printed.
    """
    written = tmp_path / "written"
    counting = "import time\nfor i in range(10_000): print('line', i)\nprint('counted', flush=True)\ntime.sleep(600)"
    stubborn = (
        "import time\nprint('begun', flush=True)\nwhile True:\n    try: time.sleep(600)\n    except BaseException: pass"
    )
    cells = {
        "count": counting,
        "be stubborn": stubborn,
        "work a little": "import time, os\nwhile not os.path.exists('go'): time.sleep(0.01)",
        "sleep long": "import time\ntime.sleep(601)",
        "ask another": "other = await rlm.run('dig', tools=())\nprint(other.answer, x)",
    }

    def script(request: Request) -> Answer:
        match task(request):
            case words if words in cells:
                return call("ipython", code=cells[words])
            case "say nothing":
                return hang()
            case "dig":
                return replace(text("it found"), gate=lambda _: found.exists())
            case words:
                return text(f"Heard: {words.strip()[-40:]}")

    with Scripted(script) as server:
        command = rlm(server)
        go, found = command.cwd / "go", command.cwd / "found"
        screen = terminal(command, RLM_MAX_DEPTH="1")
        screen.record(written)
        enter(screen, ">x = 1", "✓")
        enter(screen, "ask another", "ipython ▏ other = await")
        server.wait(lambda s: task(s.requests[-1]) == "dig")
        enter(screen, ">x + 1", "you ▏ x + 1\n  2\n✓")
        enter(screen, ">while True: pass", "your cell runs")
        screen.press("C-c")
        screen.wait_for("KeyboardInterrupt", "✗")
        enter(screen, ">x = 5", "you ▏ x = 5")
        enter(screen, "use it", "› use it  after the current cell")
        found.touch()
        screen.wait_for("it found 5", "Heard: use it", "· 2 turns ·")
        assert "```python\nx + 1\n```" in str(server.requests[-1].messages[-2:]).replace("\\n", "\n")
        enter(screen, "work a little", "ipython ▏ import time")
        enter(screen, "hurry up", "› hurry up  after the current cell")
        screen.press("-l", "and then this")
        screen.press("M-Enter")
        screen.wait_for("› and then this  after this turn", "1 queued")
        go.touch()
        screen.wait_for("Heard: hurry up", "Heard: and then this")
        enter(screen, ">kept = 1", "you ▏ kept = 1")
        enter(screen, "count", "line 19", "    counted")  # at the bottom of the screen, where it scrolls
        enter(screen, "put this back", "after the current cell")
        screen.press("C-c")
        screen.wait_for("interrupted", "lines, Alt-1 opens them below", "› put this back")
        screen.press("C-u")
        screen.resize(70, 30)
        screen.press("M-1")
        screen.wait_for("│ line 9999")
        enter(screen, "say nothing", "thinking")
        server.wait(lambda s: task(s.requests[-1]) == "say nothing")
        screen.press("C-c")
        screen.wait_for("interrupted; the session continues")
        enter(screen, ">kept + 1", "you ▏ kept + 1", "  2\n✓")
        enter(screen, "sleep long", "▏ time.sleep(601)", "ipython  time.sleep(601)")
        enter(screen, "/kernel interrupt", "KeyboardInterrupt", "Heard: ")
        enter(screen, "be stubborn", "begun")
        screen.press("C-c")
        screen.press("C-c")
        screen.wait_for("kernel restarted: cancelled and ignored the interrupt", "lost: ")
        enter(screen, ">kept", "NameError")
        enter(screen, "are you there?", "Heard: are you there?")
        assert UNMARKED not in written.read_bytes()
        screen.press("C-d")
        screen.wait_for("over 0")
        until(lambda: written.read_bytes().count(UNMARKED) == 1, written.read_bytes)
    session = command.session
    law.check(session, server, failed=1)
    nothing_left(command, besides=("tmux: server", "sh", "bash", "dash", "cat"))


def test_confirm_faults_pastes_and_a_resumed_session(rlm: Make, terminal: Open, tmp_path: Path) -> None:
    """Also: keys that were typed before the prompt appeared, hostile text, wide characters, the bell, SIGKILL."""
    cut_off = "This text breaks off in the middle of a sentence, and the connection with it."
    broken = [replace(text(cut_off), ending="half")]

    def script(request: Request) -> Answer:
        match task(request):
            case "break off" if broken:
                return broken.pop()
            case "three cells":
                return call("ipython", code="print('the first')")
            case words if words.endswith("no, use the second"):
                return call("ipython", code="print('to be edited')")
            case "print hostile text":
                return text("a\x1b[2Jb \x1b]0;owned\x07漢字 " * 3)
            case words if words.startswith("line "):
                return text(f"A paste of {request.last.count('line ')} lines")
            case words if "edited by hand" in words:
                return text("All is done.")
            case words:
                return text(f"Heard: {words[-40:]}")

    with Scripted(script) as server:
        command = rlm(server)
        screen = terminal(command, "--confirm", sign="asks before each cell")
        enter(screen, "three cells", "ipython ▏ print('the first')", "Run this?")
        enter(screen, "what?", "y: run it")
        screen.press("C-u")
        enter(screen, "n no, use the second", "✗", "print('to be edited')", "Run this?")
        enter(screen, "e", "› print('to be edited')")
        screen.press("C-u")
        enter(screen, "print('edited', 'by', 'hand')", "edited by hand", "All is done.")
        assert "The user did not allow it" not in str(server.requests[1].messages[:-1])
        assert "the user did not allow it: no, use the second" in server.requests[1].last
        assert "[The user changed the arguments before it ran: " in server.requests[2].last
        enter(screen, "break off", "retry in", "Heard: break off")
        enter(screen, "print hostile text", "ab 漢字 ab 漢字")
        paste = tmp_path / "paste"
        paste.write_text("".join(f"line {number} of the paste{' ' * 40}\n" for number in range(3_000)) + "the end")
        screen.paste(paste)
        screen.wait_for("› [3001 lines]")
        screen.press(ENTER)
        screen.wait_for("… 2981 more lines", "A paste of 3000 lines")
        enter(screen, ">left = 1", "you ▏ left = 1", "✓")
        enter(screen, "/model another", "model: another")
        enter(screen, "/budget many", "error: /budget N: limit of new tokens")
        enter(screen, "/budget 2M", "new tokens of the tree", "2,000,000")
        session = command.session
        settings = session.meta["settings"]
        assert ("another", "2000000") == (settings["model"], settings["max_total_tokens"]), "a resumed run needs it"
        os.kill(session.meta["pid"], signal.SIGKILL)
        screen.wait_for("over 137")
        again = terminal(command, "resume", session.meta["session_id"])
        again.wait_for(
            "… 2981 more lines", "A paste of 3000 lines", "Resumed with --model scripted (was another); as before: "
        )
        again.press("C-u")
        enter(again, "/budget", "new tokens of the tree", "2,000,000")
        enter(again, "/hide 99", "There is no turn 99 in the context.")
        enter(again, "/hide 1", "The model no longer sees turn 1.")
        enter(again, "go on", "Heard: go on")
        assert "ran this cell in your kernel:\n```python\nleft = 1\n" in server.requests[-1].last
        assert "This session was resumed" in server.requests[-1].last
        assert "the first" not in str(server.requests[-1].messages)
        again.press("C-d")
        again.wait_for("over 0")
    law.check(session, server, failed=1)
    nothing_left(command, besides=("tmux: server", "sh", "bash", "dash", "cat"))


def test_errors_at_the_start_are_reported_at_the_prompt(rlm: Make, terminal: Open) -> None:
    """Keys that were typed before the prompt appeared are not lost. A dumb terminal gets lines."""
    with Scripted(lambda request: text(f"Heard: {task(request)}")) as server:
        command = rlm(server)
        screen = terminal(command, RLM_MAX_TURNS="many")
        screen.wait_for("error: RLM_MAX_TURNS='many' is not allowed")
        enter(screen, "hello", "not connected: /help")
        until(lambda: "\n".join(screen.lines()).count("› hello") == 2, screen.lines)  # it is back in the input
        screen.press("C-u")
        enter(screen, "/quit", "over 0")
        early = terminal(command, sign="")
        enter(early, "typed early", "Heard: typed early")
        early.press("C-d")
        early.wait_for("over 0")
        dumb = terminal(command, sign=">", TERM="dumb")
        enter(dumb, "hello", "Heard: hello")
        enter(dumb, ">1+1", "  2")
        dumb.press("C-d")
        seen = dumb.wait_for("over 0")
        assert not [line for line in seen if "\x1b" in line]
        until(lambda: len(server.requests) == 2, lambda: server.requests)


def test_a_terminal_that_is_closed_ends_the_prompt_in_order(rlm: Make, tmp_path: Path) -> None:
    """Also while something is printed."""
    code = "import time\nwhile True:\n    print('more')\n    time.sleep(0.01)"
    with Scripted(lambda _: call("ipython", code=code)) as server:
        rlm_command = rlm(server)
        said = tmp_path / "said"
        command = [str(COMMAND), f"2> {shlex.quote(str(said))}"]
        screen = Terminal(
            tmp_path / "tmux", (80, 24), command, rlm_command.cwd, rlm_command.env(TERM="screen-256color")
        )
        screen.wait_for("›")
        enter(screen, "go", "more")
        screen.close()
        until(lambda: rlm_command.session.meta["status"] == "cancelled", lambda: rlm_command.session.meta)
        until(said.read_text)
        nothing_left(rlm_command)
    resume, *more = said.read_text().splitlines()
    assert resume == f"rlm resume {rlm_command.session.meta['session_id'][:4]}"
    assert more in ([], ["rlm: stdout cannot be written: Input/output error."]), "the output had no reader"


def test_a_signal_while_the_prompt_closes_leaves_nothing_open(rlm: Make, tmp_path: Path) -> None:
    """As when a terminal is closed: the input ends, and SIGHUP follows. The cell ends slowly."""
    with Scripted(lambda _: call("ipython", code=ENDS_SLOWLY)) as server:
        command = rlm(server)
        start = ["env", "TERM=dumb", str(COMMAND)]
        screen = Terminal(tmp_path / "tmux", (80, 24), start, command.cwd, command.env())
        screen.wait_for(">")
        enter(screen, "go", "begun")
        screen.press("C-d")
        until((command.cwd / "interrupted").exists)
        os.kill(command.session.meta["pid"], signal.SIGHUP)
        screen.wait_for("rlm resume", "over 129")
        assert command.session.meta["status"] == "cancelled"
        screen.close()
        nothing_left(command)


def test_a_jupyter_client_works_on_the_kernel_of_a_running_session(rlm: Make, terminal: Open) -> None:
    """The client is jupyter_client, with the connection file that `rlm attach` prints."""
    with Scripted(lambda request: text(f"Heard: {task(request)}")) as server:
        command = rlm(server)
        assert "is running." in command("attach").err
        screen = terminal(command)
        enter(screen, ">x = 41", "✓")
        attached = terminal(command, "attach", sign="Ctrl-C ends it.")
        path = next(line.split()[-1] for line in attached.lines() if "uvx" in line)
        assert "42" == evaluated(path, "x + 1")
        attached.press("C-c")
        attached.wait_for("over 130")
        assert not Path(path).exists()
        enter(screen, ">x", "[output since the last cell]", "42", "41")
        screen.press("C-d")
        screen.wait_for("over 0")
    after_end = command("attach", command.session.meta["session_id"])
    assert (1, True) == (
        after_end.code,
        "is not running: it is cancelled" in after_end.err or "it is done" in after_end.err,
    )


def evaluated(connection_file: str, code: str) -> str:
    """As `jupyter console` does: wait until the kernel answers and its heartbeat works."""
    client = BlockingKernelClient(connection_file=connection_file)
    client.load_connection_file()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    shown: list[str] = []
    client.execute_interactive(
        code,
        timeout=60,
        allow_stdin=False,
        output_hook=lambda message: shown.append(message["content"].get("data", {}).get("text/plain", "")),
    )
    alive = client.is_alive()
    client.stop_channels()
    assert alive
    return "".join(shown)
