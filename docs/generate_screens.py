"""Takes screens of real runs, with a scripted model, in a real terminal (tmux). `just docs` runs it.

It draws three of them (docs/screen-*.svg). `python docs/generate_screens.py FOLDER COMMAND KIND` writes all of them as
text, `NAME.KIND.txt`. COMMAND can be any `rlm`, such as that of an earlier commit.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from generate_demo import draw
from rlm_testkit.cli import COMMAND, Rlm
from rlm_testkit.sample import PICTURE
from rlm_testkit.scripted import Answer, Request, Script, Scripted, by_turn, call, calls, text
from rlm_testkit.tmux import Terminal

HERE = Path(__file__).parent
DRAWN = ("fix", "agents", "answer")

# ---- a small repository with a bug

MODULE = '''\
"""Sizes of files for people."""


def human(size: int) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size} {unit}"
        size = size // 1024
    return f"{size} GB"
'''
TESTS = """\
import unittest
from filesize import human

class Sizes(unittest.TestCase):
    def test_units(self):
        self.assertEqual(human(999), "999 B")
        self.assertEqual(human(5_000_000), "5 MB")
"""
LOOK = "from pathlib import Path\nimport re\n\n# what is here\nprint(Path('filesize.py').read_text())"
RUN = "!python3 -m unittest -q test_filesize 2>&1"
FIX = """\
from pathlib import Path

path = Path("filesize.py")
path.write_text(path.read_text().replace("size // 1024", "size // 1000"))
Path("NOTES.md").write_text("Units are powers of 1000.\\n")"""
FIXED = """\
The units were mixed: the limit was **1000**, the divisor **1024**.

| size | before | now |
|---|---:|---:|
| 999 | 999 B | 999 B |
| 5,000,000 | 4 MB | 5 MB |

```python
size = size // 1000
```

- `test_units` passes now.
- `NOTES.md` says which units are meant."""


def repository(folder: Path) -> None:
    (folder / "filesize.py").write_text(MODULE)
    (folder / "test_filesize.py").write_text(TESTS)
    (folder / ".gitignore").write_text("__pycache__/\n")
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=you", "-c", "user.email=you@home", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)


fix = by_turn(
    calls(("ipython", {"code": LOOK}), content="I read the module first, then I run its tests to see what fails."),
    call("ipython", code=RUN),
    calls(("ipython", {"code": FIX}), content="The limit is 1000 and the divisor 1024. I take 1000 for both."),
    call("ipython", code="!git diff"),
    call("ipython", code=RUN),
    text(FIXED),
)
limit = by_turn(
    calls(("ipython", {"code": LOOK}), content="I read the module first, then I run its tests to see what fails."),
    call("ipython", code=RUN),
    text("The limit is 1000 and the divisor 1024. Nothing is changed yet."),
)

# ---- many agents, nested ones, ends, data

READERS = 30
GATHER = "import asyncio\nfound = await asyncio.gather(*(rlm.run(f'Read part {n} of the report', tools=()) for n in range(%d)))\nlen(found)"


def agents(held: bool) -> Script:
    """With `held`, seven sub-agents answer and the others continue."""
    asked: list[int] = []

    def answer(request: Request) -> Answer:
        if not request.depth:
            if request.turn:
                return text("All parts agree but two: 4 and 17 name another year.")
            return calls(
                ("ipython", {"code": GATHER % READERS}), content="The report has thirty parts. One reader for each."
            )
        asked.append(1)
        late = held and len(asked) > 7
        return replace(text("fine"), delay=600) if late else text("The year is 2024.")

    return answer


def nested(request: Request) -> Answer:
    if request.depth == 2:
        return replace(text("fine"), delay=600)
    return call("ipython", code=GATHER.replace(", tools=()", "") % (2 if request.depth else 6))


ROWS = "\n".join(f"row_{n} = load(part={n})" for n in range(60))


def slow() -> Script:
    """A cell that stops at about the middle of its 25th line."""
    pieces: set[bytes] = set()

    def gate(piece: bytes) -> bool:
        pieces.add(piece)
        return len(pieces) <= 50

    return by_turn(replace(call("ipython", code=ROWS), pause=0.05, piece=12, gate=gate))


data = by_turn(
    calls(
        (
            "ipython",
            {
                "code": f"from IPython.display import HTML, Image, display\n\ndisplay(HTML('<table><tr><td>1</td><td>2</td></tr></table>'))\nImage({PICTURE!r}, format='png')"
            },
        ),
        content="I draw the values.",
    ),
    text("The values rise by two a month; see the picture."),
)
failing = by_turn(
    call("ipython", code="!ls no-such-folder"),
    call("ipython", code="%%bash\nset -e\ncd .\nmake all"),
    call("ipython", code="import subprocess\n\nmade = subprocess.run(['make', 'all'], capture_output=True)"),
    call("ipython", code="import json\njson.loads('{\"broken\": ')"),
    text("Nothing could be built."),
)


@dataclass(frozen=True)
class Screen:
    """`seen`: the texts to wait for before the screen is taken. `keys` are pressed first."""

    script: Callable[[Request], Answer]
    words: tuple[str, ...] = ("go",)
    seen: tuple[str, ...] = ("over",)
    size: tuple[int, int] = (100, 40)
    env: dict[str, str] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    prepare: Callable[[Path], None] = lambda _: None
    pipe: str = ""


DEEP = {"RLM_MAX_DEPTH": "2"}
SCREENS = {
    "fix": Screen(fix, ("Sizes of files are wrong.",), prepare=repository),
    "fix-60-columns": Screen(fix, ("Sizes of files are wrong.",), size=(60, 60), prepare=repository),
    "answer": Screen(by_turn(text(FIXED)), ("What was wrong?",)),
    "agents": Screen(agents(held=True), seen=("7 of 30",), env=DEEP | {"RLM_MAX_CONCURRENT_AGENTS": "6"}, size=(100, 24)),
    "agents-at-the-end": Screen(agents(held=False), env=DEEP, size=(100, 60)),
    "interrupted-queue": Screen(nested, seen=("leaf", ), env=DEEP | {"RLM_MAX_CONCURRENT_AGENTS": "2"}, keys=("C-c",)),
    "writing": Screen(slow(), seen=("root",), size=(100, 12)),
    "failing": Screen(failing, size=(80, 30)),
    "data": Screen(data),
    "limit": Screen(limit, ("Sizes of files are wrong.", "--max-turns", "2"), prepare=repository),
    "stdin": Screen(by_turn(text("They are names.")), ("what are these?",), pipe="printf 'anna\\nbert\\ncleo\\n' | "),
    "dumb": Screen(fix, ("Sizes of files are wrong.",), env={"TERM": "dumb"}, prepare=repository),
}  # fmt: skip


def take(screen: Screen, *options: str, command: Path = COMMAND) -> str:
    """Return the text on the terminal. `options`: arguments of `tmux capture-pane`."""
    with tempfile.TemporaryDirectory() as temporary, Scripted(screen.script, strict=False) as server:
        rlm = Rlm(Path(temporary), {"RLM_BASE_URL": server.url, "RLM_MODEL": "gpt-4o", **screen.env}, command)
        screen.prepare(rlm.cwd)
        line = [f"{screen.pipe}{shlex.quote(str(command))}", *map(shlex.quote, screen.words)]
        terminal = Terminal(Path(temporary) / "tmux", screen.size, line, rlm.cwd, rlm.env())
        try:
            if screen.keys:
                terminal.wait_for("2 waiting, 4 queued") if command == COMMAND else terminal.wait_for(
                    "waiting for 2 agents"
                )
                server.wait(lambda s: sum(request.depth == 2 for request in s.requests) >= 2)
            for key in screen.keys:
                terminal.press(key)
            ours = command == COMMAND
            if screen.seen == ("root",):
                server.wait(lambda s: len(s.requests) == 1)
                terminal.settled("writing cell · 2" if ours else "thinking")
            elif screen.seen == ("7 of 30",):
                server.wait(lambda s: len(s.requests) == 1 + 7 + 6)
                terminal.settled("7 of 30" if ours else "waiting for")
            else:
                terminal.settled("\nover ")
            shown = "\n".join(each.rstrip() for each in terminal.lines(*options))
        finally:
            if "over" not in "\n".join(terminal.lines()):
                terminal.press("C-c")
                terminal.wait_for("over")
            terminal.close()
    shown = re.sub(
        r"session(\s+)[0-9a-f]{12}", r"session\g<1>7f3ab2c41d90", shown.replace(str(rlm.cwd), "/home/you/work")
    )
    shown = re.sub(r"rlm resume [0-9a-f]{4}", "rlm resume 7f3a", shown)
    return re.sub(r"\n?over \d+\n*$", "\n", shown).strip("\n") + "\n"


def write_texts(folder: Path, command: Path, kind: str) -> None:
    folder.mkdir(exist_ok=True)
    for name, screen in SCREENS.items():
        (folder / f"{name}.{kind}.txt").write_text(take(screen, command=command))


def main() -> None:
    for name in DRAWN:
        screen = SCREENS[name]
        task = " ".join(map(shlex.quote, screen.words))
        (HERE / f"screen-{name}.svg").write_text(draw(take(screen, "-e"), f"rlm {task}"))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        write_texts(Path(sys.argv[1]), Path(sys.argv[2]).absolute(), sys.argv[3])
    else:
        main()
