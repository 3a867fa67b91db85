"""Keep a session while the disk fails once at each system call, and print the outcome. Run it with `failing.c`
preloaded.

python failing_disk.py LIBRARY FOLDER ERRNO FOREVER
"""

from __future__ import annotations

import ctypes
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace
from rlm.core.budget import Stop
from rlm.core.events import ChildEnded, ChildStarted
from rlm.errors import SessionError
from rlm.sessions import Session, journal
from rlm.sessions.records import Journalled, Record
from rlm.sessions.store import list_sessions, read_tree
from rlm_testkit.journals import KEY, acceptable, cell, ending, opening, turn

EVENTS = [*opening("task"), *turn("hm", (cell("a = 1"), "x" * 5_000)), *ending("done", turns=2)]


@dataclass
class Outcome:
    """The records that the session reported after it had written them."""

    reported: list[Record] = field(default_factory=list)
    error: str = ""


def keep_session(home: Path) -> Outcome:
    """Keep a short session with a child."""
    outcome = Outcome()
    try:
        with Session.create(
            home, model="m", cwd=home.parent, prompt="task", watch=outcome.reported.append, key=KEY
        ) as session:
            for event in EVENTS[:5]:
                session.record(event)
            with session.child("part") as child:
                session.record(ChildStarted(child.folder.name, "part"))
                for event in EVENTS:
                    child.record(event)
            session.record(ChildEnded(child.folder.name, Stop.DONE, 2, child.meta.tree_usage))
            for event in EVENTS[5:]:
                session.record(event)
    except SessionError as error:
        outcome.error = str(error)
    return outcome


def check_session(home: Path, outcome: Outcome) -> None:
    """Once the disk works again, no reported record is missing, and the session can be read and resumed."""
    listed = list_sessions(home)
    reported = [record for record in outcome.reported if record.agent == "root" and isinstance(record, Journalled)]
    assert reported == [] or listed, "a session that reported records is gone"
    for each in listed:
        tree = read_tree(each.folder)
        here = [replace(record, agent="root") for record in tree.records()]
        assert here[: len(reported)] == reported, "a record that was reported is missing"
        # The result of the root is not reported.
        assert len(here) <= len(reported) + 2, "a record whose write failed is in the journal"
        assert tree.meta.status in ("done", "error", "lost", "cancelled"), tree.meta.status
        begun = (each.folder / "meta.json").exists()  # without it there is no record either
        with Session.resume(each.folder, key=KEY, trust=not begun) as session:
            assert acceptable(session.start.history.messages)
        assert journal.read(each.folder).torn == 0
        assert read_tree(each.folder).meta.status != "running"


def main(library: str, folder: str, errno: str, forever: str) -> None:
    disk = ctypes.CDLL(library)
    errors: set[str] = set()
    for number in range(10_000):
        home = Path(folder) / str(number) / "home"
        home.parent.mkdir()
        disk.arm(number, int(errno), int(forever))
        outcome = keep_session(home)
        calls = disk.disarm()
        if calls <= number:  # the session has no call with this number, so all succeeded
            assert not outcome.error
            print(json.dumps({"calls": number, "errors": sorted(errors)}))
            return
        assert outcome.error or forever == "0", f"call {number} failed, and no error was reported"
        errors.add(outcome.error)
        check_session(home, outcome)


if __name__ == "__main__":
    main(*sys.argv[1:])
