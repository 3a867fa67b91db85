"""A session with many kinds of events, written by the real library with a fake clock: for show and export."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlm.core.budget import Spent, Stop
from rlm.core.events import (
    CallEnded,
    CallStarted,
    ChildEnded,
    ChildStarted,
    Dropped,
    Event,
    Failed,
    KernelRestarted,
    Replied,
    RequestStarted,
    Retried,
    Said,
    Stopped,
    ToolReturned,
)
from rlm.core.messages import Kind, Reply, ToolCall, ToolResult, User, Wire
from rlm.sessions import Session

from rlm_testkit.hostile import CORPUS
from rlm_testkit.journals import KEY, answer, cell, ending, opening, reply
from rlm_testkit.png import GREY, png

TRACEBACK = """---------------------------------------------------------------------------
AssertionError                            Traceback (most recent call last)
Cell In[2], line 1
----> 1 assert slope([1, 2], [2, 4]) == 2

AssertionError: got 2.0000000004"""

FIT = '''import numpy as np

def slope(xs, ys):
    """Least squares, through the origin."""
    xs, ys = np.asarray(xs), np.asarray(ys)
    return float((xs * ys).sum() / (xs * xs).sum())

slope([1, 2, 3], [2.1, 3.9, 6.2])'''

FAN_OUT = """parts = ["intro", "data", "methods"]
reports = await asyncio.gather(*(rlm.run(f"Check the {part} for wrong numbers.") for part in parts))
for part, report in zip(parts, reports):
    print(part, "·", report.answer)"""

ANSWER = """The slope is **2.05 ± 0.04**, and two of the three parts hold.

| part | verdict |
|---|---|
| intro | fine |
| data | row 17 is a duplicate |
| methods | fine |

```python
slope(xs, ys)  # 2.05
```
"""


def _picture(width: int = 320, height: int = 120) -> bytes:
    """A PNG: a rising line on white."""
    rows = (
        b"\0" + bytes(40 if abs(height - y - x * height // width) < 3 else 250 for x in range(width))
        for y in range(height)
    )
    return png(width, rows, GREY)


PICTURE = _picture()
PICTURE_URL = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"


@dataclass
class Clock:
    now: float = 1_760_000_000.0

    def __call__(self) -> float:
        return self.now


class Player:
    """Plays agents with a fake clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    def play(self, session: Session, *events: Event) -> None:
        for event in events:
            session.record(event)

    def ask(self, session: Session, received: Reply, seconds: float = 2.0) -> tuple[ToolCall, ...]:
        self.play(session, RequestStarted())
        self.wait(seconds)
        self.play(session, Replied(received))
        return received.message.calls

    def run(self, session: Session, call: ToolCall, content: str, seconds: float = 0.4, ok: bool = True) -> None:
        result = ToolResult(call, content, ok)
        self.play(session, CallStarted(call))
        self.wait(seconds)
        self.play(session, ToolReturned(result), CallEnded(result))

    def turn(
        self, session: Session, text: str | None, *runs: tuple[Wire, str], ok: bool = True, prompt: int = 2_000
    ) -> None:
        calls = self.ask(session, reply(text, *(wire for wire, _ in runs), prompt=prompt))
        for call, (_, content) in zip(calls, runs, strict=True):
            self.run(session, call, content, ok=ok)

    def end(self, session: Session, text: str, stop: Stop = Stop.DONE, prompt: int = 3_000) -> None:
        self.ask(session, reply(text, prompt=prompt, completion=120, reasoning_content="Nearly there."))
        self.play(session, Stopped(stop, text, Spent(3)))


def sample(home: Path, clock: Clock | None = None, task: str = "Is the slope in the paper right?") -> Path:
    """Create a session with five agents, and return its folder."""
    clock = clock or Clock()
    player = Player(clock)
    with Session.create(
        home, model="test-model-large", cwd=home.parent, prompt=task, version="0.1.0", clock=clock, timer=clock, key=KEY
    ) as session:
        player.play(session, *opening(task))
        player.turn(session, "Let me **look** at the data first.", (cell(FIT), "2.0285714285714285"))
        player.turn(session, None, (cell("assert slope([1, 2], [2, 4]) == 2"), TRACEBACK), ok=False, prompt=2_600)
        (session.outputs / "1.png").write_bytes(PICTURE)
        player.play(session, RequestStarted(), Retried("429 too many requests", 1, 4.0))
        player.wait(4.0)
        runs = [
            (cell("plt.plot(xs, ys)"), "[picture: /elsewhere/outputs/1.png]"),
            (cell("ls -l | head -3", "bash"), "total 12\n-rw-r--r-- 1 me me 812 data.csv\n"),
        ]
        player.play(
            session, Replied(received := reply("The plot, and the files.", *(wire for wire, _ in runs), prompt=3_100))
        )
        for call, (_, content) in zip(received.message.calls, runs, strict=True):
            player.run(session, call, content)
        player.play(session, Said(User([{"type": "image_url", "image_url": {"url": PICTURE_URL}}], Kind.NOTE)))
        _fan_out(player, session)
        player.play(session, Dropped((2, 3), "compaction"), Said(User("Your summary: the slope is 2.", Kind.SUMMARY)))
        player.play(session, KernelRestarted("out of memory", ("xs", "ys")))
        player.end(session, ANSWER, prompt=9_000)
    return session.folder


QUEUED = 0.3
"""Seconds in the queue."""


def _fan_out(player: Player, session: Session) -> None:
    """Three children at once, which first wait in the queue; one of them has a child itself."""
    (call,) = player.ask(session, reply("Three readers see more than one.", cell(FAN_OUT), prompt=4_000))
    player.play(session, CallStarted(call))
    children = []
    player.wait(QUEUED)
    for part in ("intro", "data", "methods"):
        task = f"Check the {part} for wrong numbers."
        child = session.child(task, model="test-model-small")
        player.play(session, ChildStarted(child.folder.name, task, QUEUED))
        player.play(child, *opening(task))
        children.append(child)
        player.wait(0.05)
    for number, child in enumerate(children):
        player.turn(child, "Reading.", (cell(f"len(open('part{number}.md').read())"), "8123"), prompt=900)
    _deeper(player, children[1])
    for child, text in zip(children, ("fine", "row 17 is a duplicate", "fine"), strict=True):
        player.end(child, text, prompt=1_200)
        child.finish()
        meta = child.meta
        player.play(session, ChildEnded(child.folder.name, Stop.DONE, meta.turns, meta.tree_usage))
    result = ToolResult(call, "intro · fine\ndata · row 17 is a duplicate\nmethods · fine\n")
    player.play(session, ToolReturned(result), CallEnded(result))


def _deeper(player: Player, child: Session) -> None:
    (call,) = player.ask(child, reply(None, cell("(await rlm.run('Is row 17 twice there?')).answer"), prompt=1_000))
    player.play(child, CallStarted(call))
    with child.child("Is row 17 twice there?") as grandchild:
        player.play(child, ChildStarted(grandchild.folder.name, "Is row 17 twice there?"))
        player.play(grandchild, *opening("Is row 17 twice there?"))
        player.turn(grandchild, None, (cell("rows.count(rows[17])"), "2"), prompt=700)
        player.end(grandchild, "Yes.", prompt=800)
    player.play(child, ChildEnded(grandchild.folder.name, Stop.DONE, 2, grandchild.meta.tree_usage))
    player.play(child, *answer(call, "'Yes.'")[1:])


def hostile_sample(home: Path, corpus: Sequence[str] = CORPUS) -> Path:
    """Create a session with every hostile string in every place for text, and return its folder."""
    whole = "\n\n".join(corpus)
    with Session.create(home, model=whole, cwd=home.parent, prompt=whole, key=KEY) as session:
        player = Player(Clock())
        player.play(session, *opening(whole))
        for number, text in enumerate(corpus):
            if number % 2:
                _hostile_table(session, f"{number:03}", text)
            _hostile_turn(player, session, text)
        for text in (whole, "<script>pwn()</script>", '"><img src=x onerror=pwn()>'):
            with session.child(text, model=text) as child:
                player.play(child, *opening(text), *ending(text))
        player.play(session, Stopped(Stop.ERROR, whole, Spent(), whole))
    return session.folder


def _hostile_table(session: Session, name: str, text: str) -> None:
    """Save a table with this text, as if a cell had displayed it."""
    html = f"<table><tr {text}><td {text}>{text}</td>{text}<th onclick=pwn() style=color:red>{text}<tr><td>{text}"
    bundle = json.dumps({"text/plain": text, "text/html": html})
    (session.outputs / f"cell-{name}-table.json").write_text(bundle)


def _hostile_turn(player: Player, session: Session, text: str) -> None:
    received = reply(text, cell(text), cell(text, text or "x"), cell(text, "bash"), reasoning_content=text)
    first, second, _ = received.message.calls
    player.play(session, Replied(received), *answer(first, text))
    player.play(session, ToolReturned(ToolResult(second, f"[picture: {text}outputs/{text}.png]", ok=False)))
    player.play(session, Retried(text, 1, 1.0), Failed(text), KernelRestarted(text, (text,)), Dropped((), text))
    for content in (text, [{"type": "image_url", "image_url": {"url": text}}]):
        player.play(session, Said(User(content, Kind.NOTE)))
