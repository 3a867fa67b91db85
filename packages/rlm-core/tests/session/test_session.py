"""A session's folder from creation to end: who may read it, and what it contains."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec.structs import replace
from rlm.core.budget import Spent, Stop
from rlm.core.events import (
    ChildEnded,
    ChildStarted,
    Delta,
    Dropped,
    Event,
    KernelRestarted,
    Replied,
    RequestStarted,
    Retried,
    Said,
    Stopped,
)
from rlm.core.messages import Reply, User, assistant
from rlm.errors import ModelError, SessionError
from rlm.sessions import Session, journal
from rlm.sessions.meta import process_start, with_true_status
from rlm.sessions.meta import read as read_meta
from rlm.sessions.records import Journalled, Record, ResultRecord, wire
from rlm.text.redact import Redactor
from rlm_testkit.journals import KEY, cell, ending, opening, record_all, reply, session_folder, turn


def new(cwd: Path, home: str | Path = ".rlm", **options: Any) -> Session:
    return Session.create(Path(home), model="test-model", cwd=cwd, prompt="the task", key=KEY, **options)


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}


# ---- the folder


def test_a_session_has_its_folder_and_each_child_one_inside_it(tmp_path: Path) -> None:
    with new(tmp_path) as session, session.child("part") as child, child.child("part of it") as grandchild:
        assert re.fullmatch(r"[0-9a-f]{12}", session.id)
        assert session.folder == tmp_path / ".rlm" / "sessions" / session.id
        assert re.fullmatch(r"sub-[0-9a-f]{8}", child.folder.name)
        assert (child.folder.parent, grandchild.folder.parent) == (session.folder, child.folder)
        assert grandchild.agent_path == f"root/{child.folder.name}/{grandchild.folder.name}"
        assert (grandchild.meta.parent, grandchild.meta.depth) == (child.id, 2)
        assert session.outputs.is_dir()
        assert {path.name for path in child.folder.iterdir()} == {
            "meta.json", "messages.jsonl", "outputs", grandchild.folder.name
        }  # fmt: skip


def test_nobody_else_can_read_it_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with new(tmp_path) as session, session.child("part") as child:
            record_all(child, *opening("part"), *ending("done"))
    finally:
        os.umask(old)
    every = modes(tmp_path / ".rlm")
    files = {name for name in every if (tmp_path / ".rlm" / name).is_file()}
    assert {every[name] for name in files} == {0o600}
    assert {every[name] for name in set(every) - files} == {0o700}


def test_a_relative_home_stays_where_it_was_when_the_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with new(Path(), "deep/er/home") as session:
        monkeypatch.chdir("/")
        record_all(session, *opening("task"))
        with session.child("part") as child:
            assert child.folder.is_relative_to(tmp_path / "deep" / "er" / "home")


def test_sessions_are_not_for_version_control(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    with new(tmp_path):
        pass
    status = subprocess.run(["git", "status", "--porcelain"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert status.stdout == ""


def test_a_home_that_holds_other_things_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "code.py").touch()
    with new(tmp_path, "."), new(tmp_path, "."):
        pass
    assert not (tmp_path / ".gitignore").exists()
    assert (tmp_path / "sessions" / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("planted", [".rlm", ".rlm/sessions", "deep", "deep/home"])
def test_a_link_planted_in_the_working_directory_is_refused(tmp_path: Path, planted: str) -> None:
    elsewhere, cwd = tmp_path / "elsewhere", tmp_path / "cwd"
    elsewhere.mkdir()
    (cwd / planted).parent.mkdir(parents=True)
    (cwd / planted).symlink_to(elsewhere)
    with pytest.raises(SessionError, match="symbolic link"):
        new(cwd, ".rlm" if "rlm" in planted else "deep/home")
    assert list(elsewhere.iterdir()) == []


def test_a_link_that_dangles_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / ".rlm").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SessionError, match="symbolic link"):
        new(tmp_path)


def test_a_home_outside_may_be_reached_through_the_user_s_own_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "cwd").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with new(tmp_path / "cwd", tmp_path / "link" / "home") as session:
        assert session.folder.resolve().is_relative_to(tmp_path / "disk")


def test_a_session_that_was_moved_is_not_written_through_its_replacement(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        (tmp_path / ".rlm").rename(tmp_path / "moved")
        (tmp_path / "trap" / "sessions" / session.id).mkdir(parents=True)
        (tmp_path / ".rlm").symlink_to("trap")
        record_all(session, *opening("task"))
        session.child("part").finish()
    assert list((tmp_path / "trap" / "sessions" / session.id).iterdir()) == []
    assert read_meta(session_folder(tmp_path / "moved")).status == "cancelled"


def test_a_home_that_cannot_be_created_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", "file", "file/home", "/proc/home"):
        with pytest.raises(SessionError, match=r"cannot be stored in .*: .*\. Set RLM_HOME to a folder that you can"):
            new(tmp_path, home)


def test_a_home_without_write_permission_says_what_to_do(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from rlm.sessions import Session
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
try:
    Session.create(Path(".rlm"), model="m", cwd=Path({str(tmp_path)!r}), prompt="p")
except Exception as error:
    print(type(error).__name__, error)
"""
    for folder in (tmp_path, *list(tmp_path.parents)[:-2]):
        folder.chmod(0o755)  # an ordinary user must be able to reach the folder that refuses it
    tmp_path.chmod(0o555)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(
        f"SessionError Sessions cannot be stored in {tmp_path}/.rlm: Permission denied. Set RLM"
    )


# ---- the contents


def test_the_journal_and_listeners_get_the_same_records(tmp_path: Path) -> None:
    watched: list[Record] = []
    with new(tmp_path, watch=watched.append) as session:
        record_all(session, *opening("task"), *turn("", (cell("1"), "1")), Delta("so"))
        with session.child("part") as child:
            record_all(child, *opening("part"), *ending("done"))
        record_all(session, *ending("end"))
    assert wire(watched[0]) == {
        "type": "session", "ts": wire(watched[0])["ts"], "session_id": session.id, "session_dir": str(session.folder),
        "model": "test-model", "cwd": str(tmp_path), "version": "", "agent": "root",
    }  # fmt: skip
    assert [wire(r)["type"] for r in watched if not isinstance(r, Journalled)] == [
        "session",
        "cell_start",
        "cell_end",
        "delta",
    ]
    for agent, folder in ((("root"), session.folder), (child.agent_path, child.folder)):
        written = [replace(record, agent=agent) for record in journal.read(folder).records]
        reported = [record for record in watched if record.agent == agent and isinstance(record, Journalled)]
        assert reported == (
            written if agent != "root" else written[:-1]
        )  # only `result` reports the root's result, at the very end
    assert isinstance(written[-1], ResultRecord)


def test_the_result_covers_the_whole_tree(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        record_all(
            session, *opening("task"), Replied(reply("", cell("await rlm.run('part')"), prompt=100, completion=1))
        )
        with session.child("part") as child:
            record_all(child, *opening("part"), Replied(reply("half", prompt=10, completion=2)))
        record_all(session, *ending("end", turns=2))
    result = wire(session.result())
    assert result["usage_by_agent"].keys() == {"root", child.agent_path}
    assert result["usage_by_agent"][child.agent_path]["prompt_tokens"] == 10
    assert result["usage"]["prompt_tokens"] == 1_110
    expected = {
        name: result[name] for name in ("type", "status", "stop_reason", "answer", "turns", "agents", "session_id")
    }
    assert expected == {
        "type": "result", "status": "done", "stop_reason": "done", "answer": "end", "turns": 2, "agents": 2,
        "session_id": session.id,
    }  # fmt: skip
    assert result["session_dir"] == str(session.folder)


def test_meta_json_counts_what_happened(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        record_all(
            session, *opening("task"), *turn("", (cell("1"), "1"), (cell("ls", "bash"), "x"), (cell("?", "b c"), ""))
        )
        record_all(session, *turn("", (cell("1/0"), "ZeroDivisionError"), ok=False))
        record_all(session, Retried("busy", 1, 2.0), KernelRestarted("out of memory"), Dropped((2, 3), "compaction"))
        with session.child("part") as child, child.child("of it") as grandchild:
            record_all(grandchild, *opening("of it"), *turn("", (cell("2"), "2")), *ending("done"))
        record_all(session, *ending("end", turns=3))
    metrics = read_meta(session.folder).metrics
    assert all(type(value) in (int, float) for value in metrics.values())
    counted = {
        "turns": 3, "tool_calls": 4, "tool_calls_ipython": 2, "tool_calls_bash": 1, "tool_calls_other": 1,
        "failed_calls": 1, "cells": 2, "kernel_restarts": 1, "model_calls": 0, "retries": 1, "compactions": 1, "dropped_messages": 2,
        "errors": 0, "prompt_tokens": 3_000, "completion_tokens": 150, "cached_tokens": 1_500, "reasoning_tokens": 0,
        "tree_turns": 5, "tree_tool_calls": 5, "tree_cells": 3, "tree_prompt_tokens": 5_000,
        "agents": 3, "depth": 0, "max_depth": 2,
    }  # fmt: skip
    assert {name: metrics[name] for name in counted} == counted
    assert read_meta(grandchild.folder).metrics["depth"] == 2


def test_usage_of_the_tree_is_there_when_a_child_has_ended(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        record_all(session, *opening("task"), Replied(reply("", cell("…"), prompt=100)))
        with session.child("part") as child:
            record_all(session, ChildStarted(child.folder.name, "part"))
            record_all(child, *opening("part"), Replied(reply("x", prompt=7)))
        record_all(session, ChildEnded(child.folder.name, Stop.CANCELLED, 1, child.meta.tree_usage))
        meta = read_meta(session.folder)
        assert (meta.usage.prompt, meta.tree_usage.prompt, session.agents) == (100, 107, 2)


def test_previews_are_short_and_one_line(tmp_path: Path) -> None:
    with Session.create(Path(".rlm"), model="m", cwd=tmp_path, prompt="a\n\tb " * 99, key=KEY) as session:
        record_all(session, *ending("c\nd " * 99))
    meta = read_meta(session.folder)
    assert meta.prompt_preview.startswith("a b a b ")
    assert (len(meta.prompt_preview), len(meta.answer_preview)) == (200, 200)


# ---- secrets

SECRET = "sk-very-secret-0123456789"


def test_a_secret_is_written_nowhere(tmp_path: Path) -> None:
    watched: list[Record] = []
    quoted = 'pass"word\\0123'
    with Session.create(
        Path(".rlm"),
        model="m",
        cwd=tmp_path,
        prompt=f"use {SECRET}",
        redactor=Redactor([SECRET, quoted]),
        watch=watched.append,
    ) as session:
        record_all(session, *opening(f"use {SECRET}"), *turn("", (cell(f"key = {SECRET!r}"), f"{SECRET} and {quoted}")))
        record_all(session, Replied(Reply(assistant({"role": "assistant", "content": None, SECRET: [SECRET]}))))
        with session.child(f"also {SECRET}") as child:
            record_all(child, *ending(SECRET))
        record_all(session, Stopped(Stop.ERROR, SECRET, Spent(), f"refused {SECRET}"))
    for file in session.folder.rglob("*.json*"):
        assert SECRET not in file.read_text()
        assert quoted not in file.read_text()
        assert "[redacted]" in file.read_text()
    assert SECRET not in json.dumps([*map(wire, watched)])
    assert 'pass\\"word' not in json.dumps([*map(wire, watched)])


def test_a_placeholder_for_a_key_is_an_ordinary_word(tmp_path: Path) -> None:
    with Session.create(
        Path(".rlm"), model="m", cwd=tmp_path, prompt="x", redactor=Redactor(["x", "EMPTY", ""])
    ) as session:
        record_all(session, *opening("EMPTY boxes"))
    assert "EMPTY boxes" in (session.folder / journal.NAME).read_text()


# ---- how it ends


def end_of(session: Session) -> tuple[str, str | None, str]:
    """Return status and reason from meta.json, and the type of the last record."""
    meta = read_meta(session.folder)
    assert meta.end_time is not None or meta.status == "running"
    return meta.status, meta.stop_reason, wire(journal.read(session.folder).records[-1])["type"]


def fail(session: Session, error: BaseException, *events: Event) -> None:
    with session:
        record_all(session, *events)
        raise error


def test_it_is_running_until_it_ends(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        assert read_meta(session.folder).status == "running"
        record_all(session, *opening("task"), *ending("end"))
        assert end_of(session) == ("done", "done", "result")


def test_a_further_task_makes_it_run_again(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        record_all(
            session, *opening("task"), *ending("end"), Said(User("more")), RequestStarted(), Replied(reply("well"))
        )
        assert end_of(session)[0] == "running"
    assert end_of(session) == ("cancelled", "cancelled", "result")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ModelError("it said no"), "error"),
        (ZeroDivisionError(), "error"),
        (asyncio.CancelledError(), "cancelled"),
        (KeyboardInterrupt(), "cancelled"),
        (SystemExit(3), "cancelled"),
    ],
)
def test_every_exception_leaves_the_right_status(tmp_path: Path, error: BaseException, status: str) -> None:
    session = new(tmp_path)
    with pytest.raises(type(error)):
        fail(session, error, *opening("task"))
    assert end_of(session) == (status, status, "result")
    (result,) = [r for r in journal.read(session.folder).records if isinstance(r, ResultRecord)]
    assert result.error == ("" if status == "cancelled" else str(error) or "ZeroDivisionError")


def test_the_runs_own_report_of_its_end_wins(tmp_path: Path) -> None:
    session = new(tmp_path)
    with pytest.raises(ModelError):
        fail(session, ModelError("later"), *opening("task"), Stopped(Stop.MAX_TURNS, "half", Spent(3)))
    assert end_of(session) == ("limit", "max_turns", "result")


def test_an_abandoned_child_has_the_right_status_too(tmp_path: Path) -> None:
    with new(tmp_path) as session:
        child = session.child("part")
        with pytest.raises(asyncio.CancelledError):
            fail(child, asyncio.CancelledError(), *opening("part"), Replied(reply("partial text", cell("1"))))
    assert end_of(child) == ("cancelled", "cancelled", "result")
    assert read_meta(child.folder).answer_preview == "partial text"


def test_finishing_twice_is_finishing_once(tmp_path: Path) -> None:
    session = new(tmp_path)
    session.finish(Stop.ERROR, "why")
    session.finish()
    assert end_of(session) == ("error", "error", "result")
    assert len(journal.read(session.folder).records) == 1


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = psutil.Process().num_fds()
    (tmp_path / "sessions").symlink_to("/")
    with pytest.raises(SessionError):
        new(tmp_path, ".")
    with new(tmp_path) as session:
        for _ in range(20):
            with session.child("part"):
                pass
        with pytest.raises(SessionError):
            Session.resume(session.folder, key=KEY)
    Session.resume(session.folder, key=KEY).finish()
    assert psutil.Process().num_fds() == before


RUN = """
import sys, time
from pathlib import Path
from rlm_testkit.journals import KEY, opening
from rlm.sessions import Session
session = Session.create(Path(".rlm"), model="m", cwd=Path(sys.argv[1]), prompt="p", key=KEY)
for event in opening("task"):
    session.record(event)
print(session.folder, flush=True)
sys.stdin.read()
"""


def start(cwd: Path) -> tuple[subprocess.Popen[str], Path]:
    other = subprocess.Popen(
        [sys.executable, "-c", RUN, str(cwd)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    return other, Path(other.stdout.readline().strip())


def test_a_session_whose_process_was_killed_is_lost_and_one_that_runs_is_refused(tmp_path: Path) -> None:
    other, folder = start(tmp_path)
    with other:
        meta = read_meta(folder)
        assert with_true_status(meta, folder).status == "running"
        with pytest.raises(SessionError, match=f"is running in process {other.pid}. Stop it first, or fork it."):
            Session.resume(folder, key=KEY)
        other.kill()
        other.wait()
    assert with_true_status(meta, folder).status == "lost"
    with Session.resume(folder, key=KEY) as session:
        assert with_true_status(read_meta(folder), folder).status == "running"
        assert [message.wire()["role"] for message in session.start.history.messages] == ["system", "user"]


def test_a_later_process_with_the_same_number_is_not_mistaken_for_it() -> None:
    assert process_start(os.getpid()) == process_start(os.getpid()) != ""
    with subprocess.Popen(["sleep", "60"]) as other:
        assert process_start(other.pid) != process_start(os.getpid())
        other.kill()
        other.wait()
        assert process_start(other.pid) == ""
