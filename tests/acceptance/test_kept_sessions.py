"""behaviour.md, Commands and Sessions: sessions are found from every folder and by every displayed id, and can be
removed.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from rlm.sessions import Session
from rlm_testkit.cli import Rlm
from rlm_testkit.escapes import terminal_text
from rlm_testkit.journals import KEY, ending, opening
from rlm_testkit.pseudoterminal import PseudoTerminal
from rlm_testkit.sample import Clock, sample
from rlm_testkit.scripted import Answer, Request, Scripted, call, text

Make = Callable[[Scripted], Rlm]
DAY = 86_400.0


@pytest.fixture
def user(alone: Rlm) -> Rlm:
    alone.owns_what_is_signed_with(KEY.secret)
    return alone


def create_sessions(rlm: Rlm, *days: float, home: str = ".rlm") -> list[str]:
    """Create sessions that were last used this many days ago, and return their ids."""
    return [_create_session(rlm, each, home) for each in days]


def _create_session(rlm: Rlm, days: float, home: str) -> str:
    clock = Clock(time.time() - days * DAY)
    with Session.create(
        rlm.cwd / home, model="m", cwd=rlm.cwd, prompt=f"task of {days}", clock=clock, timer=clock, key=KEY
    ) as session:
        for event in (*opening("task"), *ending("done")):
            session.record(event)
    return session.folder.name


def ids(rlm: Rlm, *words: str) -> list[str]:
    return [line["session_id"] for line in rlm("ls", "--json", *words).lines]


# ---- where they are, and what they are called


def test_sessions_are_found_from_a_subfolder_and_a_new_run_stays_where_it_is(user: Rlm) -> None:
    (id,) = create_sessions(user, 1)
    inner = user.cwd / "src" / "deep"
    inner.mkdir(parents=True)
    assert [id] == ids(user, "-C", str(inner))
    assert user("-C", "src", "show").out.startswith(id)
    assert user("-C", str(inner), "show", id).out == user("show", id).out
    assert 0 == user("-C", "src", "export", "-o", "page.html").code
    (inner / ".rlm").mkdir()
    assert [id] == ids(user, "-C", str(inner)), "a folder without sessions is ignored"
    (below,) = create_sessions(user, 2, home="src/.rlm")
    assert [below] == ids(user, "-C", str(inner)), "the nearest folder wins"
    assert [] == ids(user, "-C", "src", "--home", "none"), "a home that is named is not searched for"


def test_sessions_of_others_in_parent_folders_are_not_found(user: Rlm, tmp_path: Path) -> None:
    create_sessions(user, 1, home="../else/.rlm")
    (user.cwd / "inner").mkdir()
    (user.cwd / ".rlm").symlink_to(tmp_path / "else" / ".rlm")
    assert [] == ids(user, "-C", "inner")


def test_every_id_that_is_shown_can_be_shown_and_exported(user: Rlm) -> None:
    session = sample(user.cwd / ".rlm").name
    folder = user.cwd / ".rlm/sessions" / session
    deep = next(folder.glob("sub-*/sub-*"))
    outer, inner = deep.parent.name, deep.name
    forms = (inner, inner[4:8], f"{outer[4:8]}/{inner[4:8]}", f"root/{outer}/{inner}", f"{session[:5]}/{outer}/{inner}")
    results = [user("show", form) for form in (*forms, deep.name.upper())]
    assert {inner} == {each.out.split()[0] for each in results}, results
    exported = user("export", "--format", "chat", f"{outer[4:8]}/{inner[4:8]}")
    assert {f"root/{outer}/{inner}"} == {line["agent"] for line in exported.lines}
    assert f"{inner[4:]} is a sub-agent of session {session}" in user("rm", inner[4:]).err
    assert f"Name the session: {session}" in user("resume", inner[4:]).err
    assert 1 == user("show", "sub-ffffffff").code


def test_the_resume_line_of_the_footer_works_where_the_user_is(without_tools: Make, tmp_path: Path) -> None:
    with Scripted(lambda request: text(f"answer {len(request.messages)}")) as server:
        rlm_command = without_tools(server)
        (rlm_command.cwd / "in ner").mkdir()
        runs: Iterable[tuple[tuple[str, ...], dict[str, str]]] = (
            (("go",), {}),
            (("-C", "in ner", "go"), {}),
            (("--home", str(tmp_path / "a home"), "go"), {}),
            (("-C", "in ner", "go", "--home", "there"), {}),
            (("go",), {"RLM_HOME": "by variable"}),
            (("demo",), {"TMPDIR": str(tmp_path)}),
        )
        for words, env in runs:
            line = rlm_command(*words, **env).err
            assert "✗" not in line, "no cell of the demo fails"
            (command,) = [part for part in line.replace("\n", " · ").split(" · ") if part.startswith("rlm resume")]
            done = rlm_command(*shlex.split(command)[1:], "and more")
            assert 0 == done.code, (command, done.err)
            assert "and more" in server.requests[-1].last
            assert "Resumed" in done.err


# ---- rm, prune, stop


def test_rm_removes_only_the_named_sessions(user: Rlm, tmp_path: Path) -> None:
    first, second, third = create_sessions(user, 1, 2, 3)
    sessions = user.cwd / ".rlm/sessions"
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    (sessions / first / "outputs" / "link").symlink_to(outside)
    (sessions / first / "sub-00000000").symlink_to(outside)
    (sessions / "aaaa00000000").symlink_to(outside)
    for words, code in (
        ((), 2),
        ((second[:3],), 2),
        ((second, "ffff00000000"), 1),
        (("../../../outside",), 2),
        (("aaaa00000000",), 1),
        ((".",), 2),
        (("",), 2),
    ):
        assert code == user("rm", *words).code, words
    assert {first, second, third} == set(ids(user))
    done = user("-C", ".rlm", "rm", first[:6], third, third)
    assert (0, {first, third}) == (done.code, set(done.out.split())), done.err
    assert [second] == ids(user)
    assert "mine" == (outside / "file").read_text()
    assert (sessions / "aaaa00000000").is_symlink()


def test_a_user_at_a_terminal_is_asked(user: Rlm) -> None:
    (id,) = create_sessions(user, 1)
    for typed, left in ((b"\n", [id]), (b"no\n", [id]), (b"y\n", [])):
        with PseudoTerminal(user, "rm", id) as terminal:
            terminal.write(typed)
            assert 0 == terminal.end()
        assert b"Remove 1 session permanently?" in terminal.seen
        assert left == ids(user)


def test_prune_removes_only_old_sessions_of_this_user(user: Rlm) -> None:
    new, old, older = create_sessions(user, 0.1, 20, 40)
    (strange,) = create_sessions(user, 50)
    meta = user.cwd / ".rlm/sessions" / strange / "meta.json"
    meta.write_text(meta.read_text().replace('"model": "m"', '"model": "n"'))
    for age in ("", "30", "d", "-1d", "1y", "1e3d", "30 days"):
        assert 2 == user("prune", "--older-than", age).code
    assert 2 == user("prune").code
    assert 0 == user("prune", "--older-than", "30d", "--dry-run").code
    assert {new, old, older, strange} == set(ids(user))
    assert [older] == user("prune", "--older-than", "30d").out.split()
    assert {new, old, strange} == set(ids(user))
    assert "1 session that you did not create" in user("prune", "--older-than", "2w", "--yes").err
    assert {new, strange} == set(ids(user))
    assert "No session" in user("prune", "--older-than", "5h").err


def test_a_running_session_is_stopped_in_order_and_not_removed(rlm: Make) -> None:
    def script(request: Request) -> Answer:
        return text("went on") if request.turn else call("ipython", code="import time; time.sleep(600)")

    with Scripted(script) as server:
        command = rlm(server)
        assert "No session in" in command("stop").err
        process = command.start("slow")
        server.wait(lambda s: s.requests)
        (id,) = ids(command)
        removed, pruned = command("rm", "--yes", id), command("prune", "--older-than", "0d", "--yes")
        assert (1, True) == (removed.code, f"rlm stop {id}" in removed.err)
        assert (0, "Not removed: 1 running session.", "") == (pruned.code, pruned.err.splitlines()[0], pruned.out)
        forge = Path(command.cwd / ".rlm/sessions" / id / "meta.json")
        signed = forge.read_text()
        forge.write_text(signed.replace(f'"pid": {process.pid}', '"pid": 1'))
        assert "cannot be reached" in command("stop", id).err
        forge.write_text(signed)
        (command.cwd / "sub").mkdir()
        stopped = command("-C", "sub", "stop")
        _, err = process.communicate(timeout=60)
        assert (0, 143) == (stopped.code, process.returncode), stopped.err
        assert "interrupted · 1 turn" in err.decode()
        assert "is not running: it is cancelled" in command("stop", id).err
        assert "went on\n" == command("-C", "sub", "resume", id).out
        assert [id] == command("rm", id).out.split()


# ---- export


def test_export_on_a_terminal_writes_a_file_and_can_open_it(user: Rlm, tmp_path: Path) -> None:
    (id,) = create_sessions(user, 1)
    with PseudoTerminal(user, "export", "--format", "chat") as terminal:
        assert 0 == terminal.end()
    assert f"Written to rlm-{id}.jsonl" == terminal_text(bytes(terminal.seen)).strip()
    assert user("export", "--format", "chat").out == (user.cwd / f"rlm-{id}.jsonl").read_text()
    programs = tmp_path / "programs"
    programs.mkdir(mode=0o755)
    for name in ("xdg-open", "open"):
        (programs / name).write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\nenv >> {tmp_path}/opened\n')
        (programs / name).chmod(0o755)
    path = f"{programs}:{user.env()['PATH']}"
    done = user("export", "--open", PATH=path, RLM_API_KEY="sk-secret-secret", RLM_BASE_URL="http://127.0.0.1:9")
    assert (0, "") == (done.code, done.out)
    opened = (tmp_path / "opened").read_text()
    assert f"{user.cwd}/rlm-{id}.html" == opened.splitlines()[0]
    assert "sk-secret" not in opened
    assert "<!doctype html>" in (user.cwd / f"rlm-{id}.html").read_text()
    (programs / "xdg-open").write_text("#!/bin/sh\nexit 3\n")
    (programs / "open").write_text("#!/bin/sh\nexit 3\n")
    refused = user("export", "--open", "-o", "page.html", PATH=path)
    assert (1, True) == (refused.code, "did not open it (exit code 3)" in refused.err)
    assert (user.cwd / "page.html").exists()
