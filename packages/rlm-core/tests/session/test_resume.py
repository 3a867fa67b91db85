"""A session continues where it stopped, whatever stopped it."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from rlm.core.agent import Agent
from rlm.core.budget import Spent, Stop, TurnLimit
from rlm.core.context import Compact
from rlm.core.conversation import UNFINISHED
from rlm.core.events import ChildStarted, Dropped, KernelRestarted, Replied, Said, Stopped
from rlm.core.history import Summary
from rlm.core.messages import Kind, ToolResult, Usage, User
from rlm.core.state import ConversationState, replay
from rlm.core.toolbox import Toolbox
from rlm.errors import SessionError
from rlm.sessions import Changes, Session, journal
from rlm.sessions import meta as metas
from rlm.sessions.decoder import decode
from rlm.sessions.meta import read as read_meta
from rlm.sessions.records import AgentEndRecord, Journalled, ResumeRecord
from rlm.sessions.resume import assigned, cells, kernel_note, names_gone
from rlm.sessions.store import list_sessions, read_tree
from rlm_testkit.fakes import ScriptedModel, says
from rlm_testkit.journals import KEY, acceptable, cell, ending, opening, record_all, reply, turn


def new(cwd: Path) -> Session:
    return Session.create(Path(".rlm"), model="test-model", cwd=cwd, prompt="the task", key=KEY)


def kill(session: Session) -> Path:
    """Leave everything as SIGKILL does: nothing is settled, and the lock is released."""
    session._close()
    return session.folder


def records(folder: Path) -> tuple[Journalled, ...]:
    return journal.read(folder).records


def replayed(folder: Path) -> ConversationState:
    return replay(decode(records(folder)))


def go_on(session: Session, *script: str) -> Agent:
    """Run the real loop on a resumed session."""
    model = ScriptedModel(*(says(text) for text in script))
    agent = Agent(
        model=model, tools=Toolbox(), context=Compact(), limits=TurnLimit(), sink=session.record, state=session.start
    )
    with session:
        asyncio.run(agent.run(User("Go on.")))
    assert all(acceptable(request.messages) for request in model.seen)
    return agent


def test_the_conversation_continues_exactly(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        record_all(session, *opening("task"), *turn("hm", (cell("x = 1"), "")), *ending("done", turns=2))
    before = replayed(session.folder)
    agent = go_on(again := Session.resume(session.folder, key=KEY), "more")
    assert again.start == before
    assert again.notes == ()
    assert replayed(session.folder) == agent.state
    assert [record.id for record in records(session.folder)] == list(range(len(records(session.folder))))


def test_numbers_continue_and_do_not_restart_from_zero(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        record_all(session, *opening("task"), *turn("hm", (cell("x = 1"), "")), *ending("done", turns=2))
        with session.child("part") as child:
            record_all(child, *opening("part"), *ending("done"))
    first = read_meta(session.folder)
    with Session.resume(session.folder, key=KEY) as again:
        assert again.start.spent.turns == 2
        assert (again.tree_usage, again.agents) == (first.tree_usage, 2)
        record_all(again, Said(User("more")), Replied(reply("so")))
    second = read_meta(session.folder)
    assert (second.turns, second.metrics["tree_turns"]) == (3, 4)
    assert second.tree_usage.prompt == first.tree_usage.prompt + 1_000
    assert second.metrics["duration"] >= first.metrics["duration"]
    assert (second.start_time, second.session_id) == (first.start_time, first.session_id)


@pytest.mark.parametrize("fork", [False, True])
def test_a_session_that_is_opened_without_a_task_ended_as_before(tmp_path: Path, fork: bool) -> None:
    with new(tmp_path) as session:
        record_all(
            session, *opening("task"), *turn("hm"), Stopped(Stop.MAX_TURNS, "the answer", Spent(1, Usage(1_000, 50)))
        )
    first = read_meta(session.folder)
    with Session.resume(session.folder, fork=fork, key=KEY) as again:
        assert read_meta(again.folder).status == metas.RUNNING
        record_all(again, Dropped((2,), "hidden"))
    second = read_meta(again.folder)
    assert [(meta.status, meta.stop_reason, meta.answer_preview) for meta in (first, second)] == [
        ("limit", "max_turns", "the answer")
    ] * 2
    with Session.resume(again.folder, key=KEY) as asked:
        record_all(asked, Said(User("more")))
    assert read_meta(asked.folder).status == "cancelled"
    kill(Session.resume(asked.folder, key=KEY))
    with Session.resume(asked.folder, key=KEY) as killed:
        pass
    assert read_meta(killed.folder).status == "cancelled"


def test_calls_left_unanswered_get_a_truthful_result(tmp_path: Path) -> None:
    session = new(tmp_path)
    record_all(session, *opening("task"), *turn("", (cell("a"), "1"), (cell("b"), "2"))[:4])
    again = Session.resume(kill(session), key=KEY)
    results = [message for message in again.start.history.messages if isinstance(message, ToolResult)]
    assert [(result.content, result.ok) for result in results] == [("1", True), (UNFINISHED, False)]
    assert replayed(again.folder) == again.start
    go_on(again, "done")


def test_an_interrupted_compaction_is_undone(tmp_path: Path) -> None:
    session = new(tmp_path)
    record_all(session, *opening("task"), *turn("", (cell("a"), "1")), Said(User("summarise", Kind.ASK)))
    record_all(session, Replied(reply("a summary"), aside=True))
    again = Session.resume(kill(session), key=KEY)
    assert again.start.history.asides() == ()
    assert replayed(again.folder) == again.start
    go_on(again, "done")


def test_sub_agents_that_were_cut_off_are_ended_with_what_they_spent(tmp_path: Path) -> None:
    session = new(tmp_path)
    record_all(session, *opening("task"), Replied(reply("", cell("…"))))
    child = session.child("part")
    record_all(session, ChildStarted(child.folder.name, "part"))
    record_all(child, *opening("part"), Replied(reply("", cell("…"))))
    grandchild = child.child("of it")
    record_all(child, ChildStarted(grandchild.folder.name, "of it"))
    record_all(grandchild, *opening("of it"), Replied(reply("x", prompt=7)))
    for each in (grandchild, child, session):
        kill(each)
    with Session.resume(session.folder, key=KEY) as again:
        assert again.notes == ("Sub-agents that were cut off: 1.",)
        assert again.tree_usage.prompt == 2_007
        assert again.agents == 3
        (ended,) = [record for record in records(session.folder) if isinstance(record, AgentEndRecord)]
        assert (ended.folder, ended.stop) == (child.folder.name, "cancelled")
        assert (ended.usage.prompt, ended.turns) == (1_007, 1)
        assert "was stopped" in ended.error
    for tree in read_tree(session.folder).walk():
        assert tree.meta.status == "cancelled"
    with Session.resume(session.folder, key=KEY) as third:
        assert third.notes == ()
        assert third.tree_usage.prompt == 2_007


def test_spending_of_sub_agents_is_counted_from_their_journals(tmp_path: Path) -> None:
    """meta.json may be older than the journal, if the disk was full."""
    with new(tmp_path) as session:
        record_all(session, *opening("task"))
        with session.child("part") as child:
            older = (child.folder / metas.NAME).read_bytes()
            record_all(child, *opening("part"), *ending("done"))
        record_all(session, *ending("done"))
    whole = read_meta(session.folder)
    (child.folder / metas.NAME).write_bytes(older)
    with Session.resume(session.folder, key=KEY) as again:
        assert (again.tree_usage, again.agents) == (whole.tree_usage, 2)
    after = read_meta(child.folder)
    assert (after.status, after.turns, after.usage.prompt) == ("done", 1, 1_000)


def test_a_torn_line_is_cut_and_the_user_is_informed(tmp_path: Path) -> None:
    session = new(tmp_path)
    record_all(session, *opening("task"), Said(User("half of this", Kind.NOTE)))
    file = kill(session) / journal.NAME
    os.truncate(file, file.stat().st_size - 5)
    with Session.resume(session.folder, key=KEY) as again:
        (note,) = again.notes
        assert note.startswith("The last record was incomplete; ")
        assert len(again.start.history.messages) == 2
    assert journal.read(session.folder).torn == 0


def test_damage_in_the_middle_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        record_all(session, *opening("task"), *ending("done"))
    file = session.folder / journal.NAME
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + b"#" * 20 + b"\n" + b"".join(lines[2:]))
    damaged = file.read_bytes()
    with pytest.raises(SessionError, match=r"Line 2 of the journal of session .* is damaged"):
        Session.resume(session.folder, trust=True)
    assert file.read_bytes() == damaged
    assert journal.read(session.folder).damaged == (2,)


def test_a_lost_meta_json_is_rebuilt_from_the_journal(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        record_all(session, *opening("the task"), *turn("", (cell("a"), "1")), *ending("done", turns=2))
    before = read_meta(session.folder)
    for content in (None, "", "{", "[]", '{"turns": "many", "usage": 3, "status": null}'):
        (session.folder / metas.NAME).unlink(missing_ok=True)
        if content is not None:
            (session.folder / metas.NAME).write_text(content)
        (listed,) = list_sessions(tmp_path / ".rlm")
        assert (listed.folder, listed.meta.turns) == (session.folder, 2)
    Session.resume(session.folder, key=KEY, trust=True).finish()
    after = read_meta(session.folder)
    assert (after.session_id, after.prompt_preview, after.model) == (session.id, "the task", "test-model")
    assert (after.turns, after.usage) == (before.turns, before.usage)


def test_an_incomplete_meta_json_of_a_killed_writer_does_not_block(tmp_path: Path) -> None:
    session = new(tmp_path)
    (session.folder / "meta.json.new").write_text("half")
    record_all(session, *opening("task"), *ending("done"))
    session.finish()
    assert read_meta(session.folder).status == "done"
    assert not (session.folder / "meta.json.new").exists()


def test_a_fork_does_not_change_the_original(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        record_all(session, *opening("task"), *ending("done"))
        (session.outputs / "1.txt").write_text("whole output")
        with session.child("part") as child:
            record_all(child, *opening("part"), *ending("done"))
    before = {path: path.read_bytes() for path in session.folder.rglob("*") if path.is_file()}
    with Session.resume(session.folder, fork=True, key=KEY) as fork:
        assert fork.folder.parent == session.folder.parent
        assert fork.id == fork.folder.name != session.id
        assert fork.start == replayed(session.folder)
        assert fork.tree_usage.prompt == 2_000
        assert (fork.outputs / "1.txt").read_text() == "whole output"
        record_all(fork, Said(User("more")))
    assert before == {path: path.read_bytes() for path in session.folder.rglob("*") if path.is_file()}
    (resumed,) = [record for record in records(fork.folder) if isinstance(record, ResumeRecord)]
    assert resumed.forked_from == session.id
    assert read_meta(fork.folder).session_id == fork.id


def test_the_sub_agents_of_a_fork_are_its_own(tmp_path: Path) -> None:
    with new(tmp_path) as session, session.child("part"):
        pass
    with Session.resume(session.folder, fork=True, key=KEY) as fork:
        (child,) = read_tree(fork.folder).children
        assert child.meta.parent == fork.id
    (child,) = read_tree(session.folder).children
    assert child.meta.parent == session.id


def test_a_forged_journal_leads_to_no_other_folder(tmp_path: Path) -> None:
    with new(tmp_path) as other:
        pass
    session = new(tmp_path)
    running = (session.folder / "meta.json").read_text()
    (other.folder / "meta.json").write_text(running)
    for name in (f"../{other.id}", str(other.folder), ".", "outputs", "sub-00000000"):
        record_all(session, ChildStarted(name, "part"))
    with Session.resume(kill(session), key=KEY) as again:
        assert again.tree_usage.prompt == 0
    assert (other.folder / "meta.json").read_text() == running


def test_a_running_session_can_be_forked(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        record_all(session, *opening("task"))
        os.mkfifo(session.outputs / "pipe")  # a file that is not a regular file must not block the copy
        with Session.resume(session.folder, fork=True, key=KEY) as fork:
            assert fork.start.history.messages == session_messages(session)
        record_all(session, *ending("done"))


def session_messages(session: Session) -> tuple[object, ...]:
    return replayed(session.folder).history.messages


def test_another_model_may_go_on(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        record_all(session, *opening("task"))
    with Session.resume(session.folder, changes=Changes("better-model"), key=KEY):
        assert read_meta(session.folder).model == "better-model"


def test_a_link_in_place_of_a_session_is_not_opened(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        record_all(session, *opening("task"))
    link = session.folder.parent / "0123456789ab"
    link.symlink_to(session.folder)
    with pytest.raises(SessionError, match="symbolic link"):
        Session.resume(link, key=KEY)
    assert [listed.folder for listed in list_sessions(tmp_path / ".rlm")] == [session.folder]


def test_a_folder_that_is_gone_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        pass
    shutil.rmtree(session.folder)
    with pytest.raises(SessionError, match="cannot be opened: No such file"):
        Session.resume(session.folder, key=KEY)


# ---- the lost kernel


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("x = 1\ny: int = 2\nz += 1", ["x", "y", "z"]),
        ("import os.path, numpy as np\nfrom json import loads as l", ["os", "np", "l"]),
        ("def f(a):\n    inner = 1\nclass C:\n    field = 1", ["f", "C"]),
        ("for i in range(3):\n    with open('f') as g: h = [k for k in g]", ["i", "g", "h"]),
        ("if (n := 3) > 2: pass\na, (b, *c) = 1, (2, 3)", ["n", "a", "b", "c"]),
        ("x = {k: [v for v in k if (w := v)] for k in f(y for y in z)}", ["x", "w"]),
        ("r = await rlm.run('x')\nasync for t in s: pass", ["r", "t"]),
        ("%timeit w = 1\n!ls -l\nfiles = !ls\nout = %sql select 1\nv = 2\nos.path?", ["files", "out", "v"]),
        ("_ = 1\n__x = 2\nprint(3)\nobj.attr = 4\nlst[0] = 5", []),
        ("this is not Python", []),
        ("%%bash\necho hi", []),
        ("%%bash\nx=1", []),
        ("%%writefile a.py\nx = 1", []),
        ("%%time\nx = 1\n%time y = 2", ["x", "y"]),
    ],
)
def test_the_names_that_a_cell_binds(code: str, names: list[str]) -> None:
    assert assigned(code) == names


def test_names_lost_with_an_earlier_kernel_are_not_reported_again(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        record_all(session, *opening("task"), *turn("", (cell("old = 1"), "")), KernelRestarted("it died"))
        record_all(session, *turn("", (cell("new = 1\nold = 2"), ""), (cell("new = 3\nlast = 4"), "")))
        record_all(session, Replied(reply("", cell("never = 'run'"))))
    assert names_gone(records(session.folder)) == ["new", "old", "last"]


def test_the_model_learns_which_names_are_gone() -> None:
    assert "a, b" in kernel_note(["a", "b"])
    assert "and 40 more" in kernel_note([f"n{i}" for i in range(100)])
    assert "fresh" in kernel_note([])


def test_the_cells_that_ran_can_be_run_again(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        record_all(
            session, *opening("task"), *turn("", (cell("a = 1"), ""), (cell("ls", "bash"), "x"), (cell("a"), "1"))
        )
        record_all(
            session, Dropped((2, 3, 4, 5), "summarize", Summary(1, 1, "notes")), Stopped(Stop.MAX_TURNS, "", Spent())
        )
    assert [(call.code, call.content, call.ok) for call in cells(records(session.folder))] == [
        ("a = 1", "", True),
        ("a", "1", True),
    ]
