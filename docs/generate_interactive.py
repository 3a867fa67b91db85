"""Takes the screens of docs/interactive.md from a real terminal (tmux), with a scripted model. `just docs` runs it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rlm_testkit.cli import COMMAND, Rlm
from rlm_testkit.scripted import Answer, Request, Scripted, call, hang, text
from rlm_testkit.tmux import Terminal

PAGE = Path(__file__).with_name("interactive.md")
SIZE = (100, 54)

FIT = """\
from statistics import linear_regression
fit = linear_regression(hours, score)
print(f'slope {fit.slope:.2f}, intercept {fit.intercept:.2f}')"""
FOLDED = "for step in range(120): print('step', step)\nbest = 119"


WAITING = "import time, pathlib\nwhile not pathlib.Path('go').exists(): time.sleep(0.1)"
ANSWERS = {
    "fit a line": call("ipython", code=FIT),
    "slope 4.20, intercept 48.00": text("Each hour adds **4.2 points**; `fit` has the line."),
    "try all steps": call("ipython", code=FOLDED),
    "wait for the file": call("ipython", code=WAITING),
    "have the report read": call("ipython", code="read = await rlm.run('Read the report', tools=())"),
    "Read the report": hang(),
    "clean up": call("ipython", code="import shutil\nshutil.rmtree('data')"),
    "Not run: the user did not allow it: keep the data": text("Then I leave `data` as it is."),
}


def script(request: Request) -> Answer:
    return ANSWERS.get(request.last.rpartition("\n\n")[2].strip(), text("Done: the best step is 119."))


@dataclass(frozen=True)
class Play:
    """The input of a screen, and the texts that it must show. `working`: the agent works, and its turn must be stopped."""

    enter: Callable[[Terminal], None]
    seen: tuple[str, ...]
    flags: tuple[str, ...] = ()
    working: bool = False


def shared(screen: Terminal) -> None:
    enter(screen, ">hours, score = [1, 2, 3, 4], [52, 57, 60, 65]", "✓")
    enter(screen, "fit a line", "4.2 points", "2 turns")
    enter(screen, ">fit.slope * 10", "  42.0\n✓")
    enter(screen, "try all steps", "Alt-1 opens", "Done: the best step", "4 turns")


def steering(screen: Terminal) -> None:
    enter(screen, "wait for the file", "ipython ▏ import time")
    enter(screen, "stop after ten steps", "after the current cell")
    screen.press("-l", "then write the report")
    screen.press("M-Enter")


def beside(screen: Terminal) -> None:
    enter(screen, "have the report read", "└ ", "thinking")
    enter(screen, ">6 * 7", "  42\n✓")


def confirm(screen: Terminal) -> None:
    enter(screen, "clean up", "Run this?")
    enter(screen, "n keep the data", "Then I leave", "2 turns")


PLAYS = {
    "shared": Play(shared, ("· 4 turns ·", "400 in (160 cached) / 40 out · sandbox off")),
    "steering": Play(steering, ("after this turn", "root  ipython", "· 1 queued"), working=True),
    "beside": Play(beside, ("waiting for 1 agent", "thinking"), ("--max-depth", "1"), working=True),
    "confirm": Play(confirm, ("· 2 turns ·", "/ 20 out · sandbox off · asks before each cell"), ("--confirm",)),
}


def enter(screen: Terminal, line: str, *seen: str) -> None:
    screen.press("-l", line)
    screen.press("Enter")
    screen.wait_for(*seen)


def take(play: Play) -> str:
    with tempfile.TemporaryDirectory() as temporary, Scripted(script) as server:
        folder = Path(temporary)
        rlm = Rlm(folder, {"RLM_BASE_URL": server.url, "RLM_MODEL": "gpt-4o"})
        screen = Terminal(folder / "tmux", SIZE, [str(COMMAND), *play.flags], rlm.cwd, rlm.env())
        try:
            screen.wait_for("/help lists the rest")
            play.enter(screen)
            shown = "\n".join(line.rstrip() for line in screen.settled(*play.seen))
            leave(screen, working=play.working)
        finally:
            screen.close()
    shown = re.sub(r"session [0-9a-f]{12}", "session 7f3ab2c41d90", shown.replace(str(rlm.cwd), "/home/you/work"))
    return re.sub(r"\n{3,}", "\n\n", shown).strip("\n")


def leave(screen: Terminal, *, working: bool) -> None:
    """Ctrl-D leaves only if the input is empty; undelivered messages of a stopped turn return to the input."""
    if working:
        screen.press("C-c")
        screen.wait_for("interrupted; the session continues")
    screen.press("C-c")
    screen.press("C-d")
    screen.wait_for("over 0")


def main() -> None:
    page = PAGE.read_text()
    for name, play in PLAYS.items():
        screen = f"<!-- screen: {name} -->\n```\n{take(play)}\n```\n<!-- end -->"
        page = re.sub(
            rf"<!-- screen: {name} -->\n.*?<!-- end -->", lambda _, screen=screen: screen, page, flags=re.DOTALL
        )
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
