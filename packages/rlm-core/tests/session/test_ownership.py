"""A session is resumed only if this user created all of it, in this place and in this order."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rlm.core.events import ChildStarted, Replied, Said
from rlm.core.messages import User
from rlm.errors import ConfigError
from rlm.sessions import Changes, Session, journal
from rlm.sessions.lines import line_of, read_line
from rlm.sessions.ownership import why_foreign
from rlm.sessions.signing_key import SigningKey, open_key
from rlm.sessions.store import list_sessions
from rlm_testkit.journals import KEY, cell, ending, opening, record_all, reply, turn

ANOTHER = SigningKey(b"the key of another user, 32 bytes")


def new(cwd: Path, key: SigningKey | None = KEY, **settings: str) -> Session:
    return Session.create(Path(".rlm"), model="m", cwd=cwd, prompt="the task", settings=settings, key=key)


def finished(cwd: Path, key: SigningKey | None = KEY, task: str = "task", **settings: str) -> Path:
    """A session with a sub-agent, which has a sub-agent itself."""
    with new(cwd, key, **settings) as session:
        record_all(session, *opening(task), *turn("", (cell("a = 1"), "")))
        with session.child("part") as child:
            record_all(session, ChildStarted(child.folder.name, "part"))
            record_all(child, *opening("part"))
            with child.child("of it") as grandchild:
                record_all(grandchild, *opening("of it"), *ending("done"))
            record_all(child, *ending("done"))
        record_all(session, *ending("done", turns=2))
    return session.folder


def children(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("sub-*") if path.is_dir())


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_refused(folder: Path, fork: bool = False) -> None:
    """Check that the session is refused, and that nothing has changed."""
    before, folders = content(folder), set(folder.parent.iterdir())
    with pytest.raises(ConfigError, match=f"You did not create session {folder.name} on this machine: .*--trust"):
        Session.resume(folder, fork=fork, key=KEY)
    assert content(folder) == before
    assert set(folder.parent.iterdir()) == folders


# ---- forgeries

Forge = Callable[[Path, Path], Path | None]
"""Changes a session; gets a second session of the same user. Returns the folder if it is another one."""


def changed(field: str, value: object) -> Forge:
    def forge(folder: Path, _: Path) -> None:
        meta = folder / "meta.json"
        meta.write_text(json.dumps(json.loads(meta.read_text()) | {field: value}))

    return forge


def journalled(change: Callable[[list[bytes]], list[bytes]], where: Callable[[Path], Path] = lambda it: it) -> Forge:
    def forge(folder: Path, _: Path) -> None:
        file = where(folder) / journal.NAME
        file.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True))))

    return forge


def grandchild(folder: Path) -> Path:
    return max(children(folder), key=lambda path: len(path.parts))


def unsigned(line: bytes) -> bytes:
    return line_of(read_line(line))


def without_signature(folder: Path, _: Path) -> None:
    for meta in folder.rglob("meta.json"):
        wire = json.loads(meta.read_text())
        del wire["mac"]
        meta.write_text(json.dumps(wire))


def of_another(folder: Path, other: Path) -> None:
    shutil.copy(other / journal.NAME, folder)


def meta_of_another(folder: Path, other: Path) -> None:
    shutil.copy(other / "meta.json", folder)


def all_of_another(folder: Path, other: Path) -> None:
    meta_of_another(folder, other)
    of_another(folder, other)


def under_another_name(folder: Path, _: Path) -> Path:
    return folder.rename(folder.with_name("0123456789ab"))


def child_of_another(folder: Path, other: Path) -> None:
    shutil.copytree(children(other)[0], folder / children(other)[0].name)


def child_elsewhere(folder: Path, _: Path) -> None:
    deep = grandchild(folder)
    deep.rename(folder / deep.name)


def child_as_root(folder: Path, _: Path) -> Path:
    return children(folder)[0].rename(folder.with_name("0123456789ab"))


def forged_child(folder: Path, _: Path) -> None:
    fake = folder / "sub-00000000"
    shutil.copytree(children(folder)[0], fake, ignore=shutil.ignore_patterns("sub-*"))


def child_without_meta(folder: Path, _: Path) -> None:
    (grandchild(folder) / "meta.json").unlink()


def child_without_journal(folder: Path, _: Path) -> None:
    (grandchild(folder) / journal.NAME).unlink()


def linked_meta(folder: Path, other: Path) -> None:
    copied = shutil.copy(folder / "meta.json", other / "kept.json")
    (folder / "meta.json").unlink()
    (folder / "meta.json").symlink_to(copied)


def linked_journal(folder: Path, other: Path) -> None:
    copied = shutil.copy(folder / journal.NAME, other / "kept.jsonl")
    (folder / journal.NAME).unlink()
    (folder / journal.NAME).symlink_to(copied)


def a_pipe(name: str) -> Forge:
    def forge(folder: Path, _: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return forge


FORGERIES: dict[str, Forge] = {
    "cwd": changed("cwd", "/"),
    "model": changed("model", "replay:evil.jsonl"),
    "sandbox": changed("settings", {"sandbox": "off"}),
    "status": changed("status", "running"),
    "pid": changed("pid", 1),
    "an extra field": changed("more", 1),
    "no signatures": without_signature,
    "no signature": lambda folder, _: without_signature(grandchild(folder), folder),
    "no meta.json": lambda folder, _: (folder / "meta.json").unlink(),
    "a record in the middle": journalled(lambda lines: [*lines[:3], lines[3].replace(b"a = 1", b"a = 2"), *lines[4:]]),
    "a missing record": journalled(lambda lines: [*lines[:2], *lines[3:]]),
    "an additional record": journalled(lambda lines: [*lines, unsigned(lines[-1])]),
    "a duplicate signed record": journalled(lambda lines: [*lines, lines[-1]]),
    "records in another order": journalled(lambda lines: [lines[1], lines[0], *lines[2:]]),
    "unsigned records": journalled(lambda lines: [unsigned(line) for line in lines]),
    "a truncated journal": journalled(lambda lines: lines[:-1]),
    "empty": journalled(lambda lines: []),
    "a journal of a sub-agent": journalled(lambda lines: [*lines, unsigned(lines[0])], grandchild),
    "a truncated sub-agent": journalled(lambda lines: lines[:-1], grandchild),
    "the journal of another session": of_another,
    "the meta.json of another session": meta_of_another,
    "everything of another session": all_of_another,
    "another folder name": under_another_name,
    "a sub-agent of another session": child_of_another,
    "a sub-agent in another folder": child_elsewhere,
    "a sub-agent as a root": child_as_root,
    "an invented sub-agent": forged_child,
    "a sub-agent without meta.json": child_without_meta,
    "a sub-agent without journal": child_without_journal,
    "meta.json is a link": linked_meta,
    "the journal is a link": linked_journal,
    "meta.json is a pipe": a_pipe("meta.json"),
    "the journal is a pipe": a_pipe(journal.NAME),
}


@pytest.mark.attack("forged sessions")
@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_session_is_not_resumed(tmp_path: Path, forge: Forge) -> None:
    folder, other = finished(tmp_path), finished(tmp_path, task="another")
    Session.resume(folder, key=KEY).finish()  # the unchanged session belongs to the user
    folder = forge(folder, other) or folder
    assert why_foreign(folder, KEY)
    if not any(path.is_symlink() or path.is_fifo() for path in folder.rglob("*")):
        check_refused(folder)
        check_refused(folder, fork=True)


def test_an_older_meta_json_does_not_go_with_a_newer_journal(tmp_path: Path) -> None:
    folder = finished(tmp_path, sandbox="off")
    older = (folder / "meta.json").read_bytes()
    with Session.resume(folder, changes=Changes(settings={"sandbox": "bwrap"}), key=KEY) as session:
        record_all(session, Said(User("more")), *ending("more"))
    assert session.meta.settings == {"sandbox": "bwrap"}
    (folder / "meta.json").write_bytes(older)
    check_refused(folder)


@pytest.mark.parametrize("key", [ANOTHER, None], ids=["another key", "no key"])
def test_the_session_of_another_user_is_foreign(tmp_path: Path, key: SigningKey | None) -> None:
    foreign, own = finished(tmp_path, key), finished(tmp_path)
    check_refused(foreign)
    assert {listed.folder: listed.foreign for listed in list_sessions(tmp_path / ".rlm", KEY)} == {
        foreign: True,
        own: False,
    }
    assert all(listed.foreign for listed in list_sessions(tmp_path / ".rlm", None))


@pytest.mark.parametrize("fork", [False, True])
def test_a_trusted_session_belongs_to_the_user_with_all_its_sub_agents(tmp_path: Path, fork: bool) -> None:
    folder = finished(tmp_path, ANOTHER)
    before = content(folder)
    with Session.resume(folder, fork=fork, trust=True, key=KEY) as session:
        record_all(session, Said(User("more")), *ending("more"))
    assert why_foreign(session.folder, KEY) == ""
    if fork:
        assert content(folder) == before
    Session.resume(session.folder, key=KEY).finish()
    Session.resume(session.folder, key=KEY, fork=True).finish()


# ---- not a forgery


def test_a_session_that_was_killed_at_any_moment_belongs_to_the_user(tmp_path: Path) -> None:
    """A kill before and during each write of the host: in a first run, in a resumed one and in a fork."""
    script = (
        "import os, sys; from pathlib import Path; from rlm_testkit.journals import KEY, ending; from rlm.sessions import Session\n"
        "from rlm.core.events import Said; from rlm.core.messages import User\n"
        "session = Session.resume(Path(sys.argv[1]), key=KEY, fork=sys.argv[2] == 'fork')\n"
        "print(session.folder, flush=True)\n"
        "for event in (Said(User('more')), *ending('more')): session.record(event)\n"
        "session.finish()\n"
    )
    rounds = random.Random(3)
    folder = finished(tmp_path)
    for number in range(6):
        kind = ("resume", "fork")[number % 2]
        with subprocess.Popen(
            [sys.executable, "-c", script, folder, kind],
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            started = process.stdout.readline()
            for _ in range(rounds.randint(0, 20_000)):
                pass
            process.kill()
        assert why_foreign(Path(started.decode().strip()), KEY) == ""


def test_each_state_between_two_writes_belongs_to_the_user(tmp_path: Path) -> None:
    states: list[str] = []

    def look(_: object) -> None:
        states.append(why_foreign(next((tmp_path / ".rlm" / "sessions").glob("[0-9a-f]*")), KEY))

    session = Session.create(Path(".rlm"), model="m", cwd=tmp_path, prompt="p", key=KEY, watch=look)
    with session:
        record_all(session, *opening("task"), Replied(reply("", cell("a"))))
        with session.child("part") as child:
            look(None)
            record_all(child, *opening("part"), *ending("done"))
        record_all(session, *ending("done"))
    Session.resume(session.folder, key=KEY, watch=look).finish()
    assert len(states) > 10
    assert set(states) == {""}


def test_a_torn_end_is_cut_and_is_not_a_forgery(tmp_path: Path) -> None:
    session = new(tmp_path)
    record_all(session, *opening("task"), Said(User("half of this")))
    session._close()
    file = session.folder / journal.NAME
    os.truncate(file, file.stat().st_size - 5)
    with Session.resume(session.folder, key=KEY) as again:
        assert "was incomplete" in again.notes[0]
    Session.resume(session.folder, key=KEY).finish()


def test_without_a_key_sessions_are_still_written_and_read(tmp_path: Path) -> None:
    folder = finished(tmp_path, None)
    assert "mac" not in json.loads((folder / "meta.json").read_text())
    with pytest.raises(ConfigError, match="You did not create"):
        Session.resume(folder)
    Session.resume(folder, trust=True).finish()


# ---- the key


def test_the_key_is_created_once_for_its_user_alone(tmp_path: Path) -> None:
    state = tmp_path / "of" / "user"
    key = open_key(state, make=True)
    file = state / "rlm" / "session-key"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert open_key(state) == open_key(state, make=True) == key
    assert list(file.parent.iterdir()) == [file]
    assert len(key.secret) == 32
    assert key.secret.hex() not in repr(key)
    assert open_key(tmp_path / "other", make=True) != key


def test_two_processes_that_create_it_at_once_get_the_same_key(tmp_path: Path) -> None:
    make = "import sys; from pathlib import Path; from rlm.sessions.signing_key import open_key\nsys.stdin.read()\nprint(open_key(Path(sys.argv[1]), make=True).secret.hex())"
    processes = [
        subprocess.Popen([sys.executable, "-c", make, tmp_path / "s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    keys = {process.communicate(timeout=60)[0] for process in processes}
    assert len(keys) == 1
    assert keys.pop().strip().decode() == open_key(tmp_path / "s").secret.hex()


def readable(state: Path) -> None:
    (state / "rlm" / "session-key").chmod(0o640)


def writable_folder(state: Path) -> None:
    (state / "rlm").chmod(0o770)


def linked(state: Path) -> None:
    (state / "rlm" / "session-key").rename(state / "kept")
    (state / "rlm" / "session-key").symlink_to(state / "kept")


def linked_folder(state: Path) -> None:
    (state / "rlm").rename(state / "kept")
    (state / "rlm").symlink_to(state / "kept")


def short(state: Path) -> None:
    os.truncate(state / "rlm" / "session-key", 7)


def piped(state: Path) -> None:
    (state / "rlm" / "session-key").unlink()
    os.mkfifo(state / "rlm" / "session-key")


def not_a_folder(state: Path) -> None:
    shutil.rmtree(state / "rlm")
    (state / "rlm").touch()


@pytest.mark.parametrize("harm", [readable, writable_folder, linked, linked_folder, short, piped, not_a_folder])
def test_a_key_that_another_user_may_have_created_or_read_is_not_used(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    open_key(tmp_path, make=True)
    harm(tmp_path)
    for make in (False, True):
        with pytest.raises(Exception, match="session-key: "):
            open_key(tmp_path, make=make)


def test_without_a_folder_for_a_key_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="HOME and XDG_STATE_HOME are not set"):
        open_key(None, make=True)
    (tmp_path / "file").touch()
    with pytest.raises(Exception, match="session-key: "):
        open_key(tmp_path / "file", make=True)
    with pytest.raises(Exception, match="No such file"):
        open_key(tmp_path / "nowhere")
