"""Truncate a session's journal at a byte, as a kill does, and check that the session can be resumed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from rlm.core.agent import Agent
from rlm.core.budget import Stop, TurnLimit
from rlm.core.context import Compact
from rlm.core.events import ChildEnded, ChildStarted, Dropped, Event, Replied, Said, ToolReturned
from rlm.core.history import Summary
from rlm.core.messages import Kind, ToolResult, User
from rlm.core.state import replay
from rlm.core.toolbox import Toolbox
from rlm.sessions import Session, journal
from rlm.sessions.decoder import decode
from rlm.sessions.journal import parse
from rlm.sessions.store import list_sessions

from rlm_testkit.fakes import ScriptedModel, says
from rlm_testkit.journals import KEY, acceptable, answer, cell, ending, opening, reply, session_folder, turn


def eventful(session: Session) -> None:
    """A short session with every event that a journal can contain."""
    events: list[Event] = [*opening("tâche"), *turn("hm", (cell("a"), "1"), (cell("b"), "2"))]
    fat = reply("", cell("fat"))
    (call,) = fat.message.calls
    events += [Replied(fat), ToolReturned(ToolResult(call, "f" * 99)), Dropped((6,), "shortened")]
    events += [ToolReturned(ToolResult(call, "f")), Dropped((2, 3, 4), "summarize", Summary(1, 1, "notes"))]
    events += [Said(User("summarise", Kind.ASK)), Replied(reply("all"), aside=True), Dropped((8, 9), "summary_call")]
    events += [Said(User("all", Kind.SUMMARY)), Replied(waits := reply("", cell("await rlm.run('part')")))]
    for event in events:
        session.record(event)
    with session.child("part") as child:
        session.record(ChildStarted(child.folder.name, "part"))
        for event in (*opening("part"), *ending("done")):
            child.record(event)
    session.record(ChildEnded(child.folder.name, Stop.DONE, 1, child.meta.tree_usage))
    (call,) = waits.message.calls
    for event in (*answer(call, "done"), *ending("done", turns=4)):
        session.record(event)


def check_torn(whole: bytes) -> None:
    """Whatever byte a kill comes at: the records before it are whole, and the rest is the torn end that resuming cuts."""
    for size in range(len(whole) + 1):
        kept = parse(whole[:size])
        valid = whole.rfind(b"\n", 0, size) + 1
        assert (len(kept.records), kept.valid, kept.torn) == (whole.count(b"\n", 0, size), valid, size - valid)
        assert kept.damaged == ()


def kill_at(folder: Path, sizes: Iterable[int], running: str) -> int:
    """Truncate the journal to each of these sizes, as a kill does, and resume the session. Return the number of sizes.

    The session must be finished; it is changed. `running` is its meta.json from when it began.
    """
    whole = (folder / journal.NAME).read_bytes()
    done = 0
    for size in sizes:
        (folder / journal.NAME).write_bytes(whole[:size])
        (folder / "meta.json").write_text(running)
        check_resumes(folder.parent.parent, torn=not whole[:size].endswith(b"\n") and size > 0)
        done += 1
    return done


def check_resumes(home: Path, torn: bool) -> None:
    """Resume the only session with the real loop.

    Check that nothing is lost, and that request and journal are valid.
    """
    before = journal.read(session_folder(home)).records
    session = Session.resume(session_folder(home), key=KEY)
    assert any("was incomplete" in note for note in session.notes) == torn, "a cut must be reported, and nothing else"
    model = ScriptedModel(says("went on"))
    agent = Agent(
        model=model,
        tools=Toolbox(),
        context=Compact(),
        limits=TurnLimit(10**9),
        sink=session.record,
        state=session.start,
    )
    with session:
        asyncio.run(agent.run(User("Go on.")))
    after = journal.read(session.folder)
    assert after.records[: len(before)] == before
    assert (after.torn, after.damaged) == (0, ())
    assert acceptable(model.seen[0].messages)
    assert replay(decode(after.records)) == agent.state
    (listed,) = list_sessions(home)
    assert listed.meta.status == "done"
