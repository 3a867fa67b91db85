"""Find, list and show sessions, whatever their folder contains."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from pygments.token import Name
from rlm.core.budget import Spent, Stop
from rlm.core.events import ChildStarted, Replied, Stopped
from rlm.errors import SessionError
from rlm.present.brief import failed_agents, show_brief
from rlm.present.export.html import page
from rlm.present.export.markup import code as markup_code
from rlm.present.follow import Follower
from rlm.present.show import listed_wire, show_list, show_tree
from rlm.sessions import Session, journal
from rlm.sessions.find import find
from rlm.sessions.store import list_sessions, read_tree
from rlm.text.code_tokens import tokens
from rlm.text.styled import Canvas
from rlm_testkit.journals import KEY, cell, ending, opening, record_all, reply, turn
from rlm_testkit.sample import Clock, hostile_sample, sample


def new(home: Path, prompt: str = "the task", at: float = 1_000.0) -> Session:
    clock = Clock(at)
    return Session.create(home, model="test-model", cwd=home.parent, prompt=prompt, clock=clock, timer=clock, key=KEY)


def rename(session: Session, id: str) -> None:
    """Give a finished session an id that a test can name."""
    meta = session.folder / "meta.json"
    meta.write_text(meta.read_text().replace(session.id, id))
    session.folder.rename(session.folder.with_name(id))


def create_sessions(home: Path, *ids: str) -> None:
    """Create sessions with these ids, each used after the one before."""
    for number, id in enumerate(ids):
        session = new(home, f"task {id}", 1_000.0 + number)
        session.finish()
        rename(session, id)


# ---- find


def test_a_session_is_found_by_its_id_or_by_what_only_it_begins_with(tmp_path: Path) -> None:
    create_sessions(tmp_path, "aaaa00000000", "aaab00000000", "b00000000000")
    for wanted in ("aaaa00000000", "aaaa", "AAAA"):
        assert find(tmp_path, wanted, key=KEY).name == "aaaa00000000"
    assert find(tmp_path, "b").name == "b00000000000"


def test_the_newest_is_the_one_used_last(tmp_path: Path) -> None:
    folders = []
    for time in (1.0, 2.0, 3.0):
        with new(tmp_path, at=time) as session:
            folders.append(session.folder)
    assert find(tmp_path, key=KEY) == folders[2]
    Session.resume(folders[0], key=KEY).finish()
    assert find(tmp_path, key=KEY) == folders[0]
    assert [listed.folder for listed in list_sessions(tmp_path)] == [folders[0], folders[2], folders[1]]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("cccc", r"There is no session cccc in .*sessions. `rlm ls` lists them."),
        ("aaa", "2 sessions begin with aaa: aaaa00000000, aaab00000000. Give more of the id."),
        ("../..", "is not a session id"),
        ("aaaa000000000", "is not a session id"),
        ("sub-aaaa", "There is no agent sub-aaaa in"),
        ("aaaa/", "is not a session id"),
        ("root", "is not a session id"),
    ],
)
def test_a_session_that_cannot_be_found_is_reported_clearly(tmp_path: Path, wanted: str, reason: str) -> None:
    create_sessions(tmp_path, "aaaa00000000", "aaab00000000")
    with pytest.raises(SessionError, match=reason):
        find(tmp_path, wanted, key=KEY)


def test_without_a_session_it_says_how_to_create_one(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=r'There is no session in .* yet. `rlm "task"` creates one.'):
        find(tmp_path / "nowhere", key=KEY)
    assert list_sessions(tmp_path / "nowhere") == []


# ---- list


def test_other_files_are_ignored(tmp_path: Path) -> None:
    create_sessions(tmp_path, "aaaa00000000")
    sessions = tmp_path / "sessions"
    (sessions / "notes.txt").touch()
    (sessions / "bbbb00000000").write_text("a file")
    (sessions / "cccc00000000").symlink_to(sessions / "aaaa00000000")
    (sessions / "dddd00000000").mkdir()
    (sessions / "AAAA00000000").mkdir()
    (sessions / "eeee00000000").mkdir()
    os.mkfifo(sessions / "eeee00000000" / "meta.json")
    assert [listed.folder.name for listed in list_sessions(tmp_path)] == ["aaaa00000000"]


def lines(width: int = 120) -> tuple[Canvas, io.StringIO]:
    file = io.StringIO()
    return Canvas(file.write, width), file


def test_the_list_has_one_line_for_each_session(tmp_path: Path) -> None:
    folder = sample(tmp_path / "home")
    canvas, file = lines()
    show_list(list_sessions(tmp_path / "home", KEY), canvas, now=1_760_000_000 + 7_500)
    head, line = file.getvalue().splitlines()
    assert head.split() == ["id", "age", "status", "turns", "agents", "tokens", "time", "folder", "task"]
    assert line.split()[:7] == [folder.name, "2", "h", "done", "5", "5", "31k"]
    assert line.rstrip().endswith("Is the slope in the paper right?")


def test_the_list_fits_a_narrow_terminal(tmp_path: Path) -> None:
    sample(tmp_path / "home", task="a very long task " * 40)
    canvas, file = lines(60)
    show_list(list_sessions(tmp_path / "home"), canvas)
    assert len(file.getvalue().splitlines()) == 2
    assert max(map(len, file.getvalue().splitlines())) <= 60


def test_the_list_as_json_is_meta_json_and_the_folder(tmp_path: Path) -> None:
    folder = sample(tmp_path / "home")
    (listed,) = list_sessions(tmp_path / "home", KEY)
    written = json.loads((folder / "meta.json").read_text())
    assert listed_wire(listed) | {"mac": written["mac"]} == written | {"folder": str(folder), "foreign": False}


# ---- read and show


def test_a_tree_is_read_as_the_calls_were(tmp_path: Path) -> None:
    tree = read_tree(sample(tmp_path / "home"))
    prompts = [child.meta.prompt_preview for child in tree.children]
    assert prompts == [f"Check the {part} for wrong numbers." for part in ("intro", "data", "methods")]
    (grandchild,) = tree.children[1].children
    assert grandchild.agent == f"root/{tree.children[1].folder.name}/{grandchild.folder.name}"
    assert [each.meta.depth for each in tree.walk()] == [0, 1, 1, 2, 1]
    assert tree.child(grandchild.folder.name) is None


def test_a_torn_end_hides_no_complete_record(tmp_path: Path) -> None:
    folder = sample(tmp_path / "home")
    whole = tuple(read_tree(folder).records())
    file = folder / journal.NAME
    os.truncate(file, file.stat().st_size - 3)
    tree = read_tree(folder)
    records = tree.records()
    assert tuple(records) == whole[:-1]
    assert records.torn > 0
    canvas, shown = lines()
    show_tree(tree, canvas)
    assert "Some of this journal cannot be read." in shown.getvalue()


def test_each_agent_is_shown_under_the_cell_that_called_it(tmp_path: Path) -> None:
    tree = read_tree(sample(tmp_path / "home"))
    canvas, file = lines()
    show_tree(tree, canvas)
    shown = file.getvalue().splitlines()
    indents = [next(line for line in shown if name in line).index(name) for name in ("turn 4", "sub-", "row 17 twice")]
    assert indents == sorted(indents)
    code, *agents, after = [
        n for n, line in enumerate(shown) if "asyncio.gather" in line or " sub-" in line or "methods · fine" in line
    ]
    assert len(agents) == 4
    assert code < min(agents) < max(agents) < after


def test_a_long_output_is_cut_unless_all_of_it_is_asked_for(tmp_path: Path) -> None:
    with new(tmp_path / "home") as session:
        text = "\n".join(f"line {number}" for number in range(100))
        for event in (*opening("t"), *turn("", (cell("x"), text)), *ending("end")):
            session.record(event)
    for whole, whole_is_shown in ((False, False), (True, True)):
        canvas, file = lines()
        show_tree(read_tree(session.folder), canvas, whole=whole)
        assert ("line 50" in file.getvalue()) == whole_is_shown
        assert ("… 76 lines more …" in file.getvalue()) != whole_is_shown
        assert "line 99" in file.getvalue()


def test_no_control_character_reaches_the_terminal(tmp_path: Path) -> None:
    folder = hostile_sample(tmp_path / "home")
    canvas, file = lines(80)
    show_list(list_sessions(tmp_path / "home"), canvas)
    show_tree(read_tree(folder), canvas, whole=True)
    Follower(folder, canvas).show_new()
    shown = file.getvalue()
    shown.encode()
    assert [c for c in shown if (c < " " and c not in "\n\t") or "\x7f" <= c <= "\x9f" or c in "\u202e\u2066"] == []


def test_a_running_session_can_be_followed(tmp_path: Path) -> None:
    canvas, file = lines()
    with new(tmp_path / "home") as session:
        follower = Follower(session.folder, canvas)
        for event in (*opening("the task"), *turn("hm", (cell("first = 1"), "one output"))):
            session.record(event)
        assert follower.show_new() == 5
        assert follower.show_new() == 0
        with session.child("part") as child:
            for event in (*opening("part"), *ending("from the child")):
                child.record(event)
        assert follower.show_new() == 5
        for event in turn("more", (cell("second = 2"), "another")):
            session.record(event)
        follower.show_new()
    shown = file.getvalue()
    texts = ("the task", "turn 1", "first = 1", "one output", "from the child", "turn 2", "another")
    places = [shown.index(text) for text in texts]
    assert places == sorted(places)
    assert f"{child.folder.name} from the child" in shown


def test_columns_with_one_value_make_room_for_the_task(tmp_path: Path) -> None:
    for number in range(3):
        with new(tmp_path, f"a task with more words than fit into sixty columns {number}") as session:
            record_all(session, *opening("task"), *turn("", *[(cell("x"), "1")] * number), *ending("done"))
    canvas, file = lines(60)
    show_list(list_sessions(tmp_path, KEY), canvas)
    head, *rows = file.getvalue().splitlines()
    assert not {"folder", "agents", "status"} & set(head.split())
    assert all("a task with more words than" in row and len(row) <= 60 for row in rows)
    canvas, file = lines(200)
    show_list(list_sessions(tmp_path, KEY), canvas)
    assert {"folder", "agents", "status", "time"} < set(file.getvalue().splitlines()[0].split())


def test_long_code_is_wrapped_with_a_mark_and_nothing_is_lost(tmp_path: Path) -> None:
    code = "run('tail -60 ' + " + " + ".join(f"'part{n}'" for n in range(20)) + ")\nshort = 1"
    with new(tmp_path) as session:
        record_all(session, *opening("task"), *turn("", (cell(code), "1")))
    for width in (30, 60, 400):
        canvas, file = lines(width)
        show_tree(read_tree(session.folder), canvas)
        shown = [line.removeprefix("│ ") for line in file.getvalue().splitlines() if line.startswith("│")]
        assert len([line for line in shown if not line.startswith("↪ ")]) == 2, "a line that is not part of the code"
        assert "".join("".join(shown).replace("↪ ", "").split()) == "".join(code.split())
        assert max(map(len, shown)) <= width - 2


def test_only_failures_are_shown_and_each_agent_on_one_line(tmp_path: Path) -> None:
    tasks = ("root task", "good child", "bad child")
    with new(tmp_path) as session:
        record_all(
            session, *opening(tasks[0]), *turn("", (cell("fine()"), "fine")), Replied(reply("", cell("fan_out()")))
        )
        for task, stop, error in ((tasks[1], Stop.DONE, ""), (tasks[2], Stop.ERROR, "what went wrong")):
            with session.child(task) as child:
                record_all(session, ChildStarted(child.folder.name, task))
                record_all(child, *opening(task), Stopped(stop, "", Spent(1), error))
        record_all(session, *ending("done"))
    tree = read_tree(session.folder)
    failed = failed_agents(tree)
    assert [each.meta.prompt_preview for each in tree.walk() if each.agent in failed] == [tasks[2]]
    canvas, file = lines()
    show_tree(tree, canvas, failed=failed)
    assert all(text in file.getvalue() for text in ("fan_out", "what went wrong"))
    assert not any(text in file.getvalue() for text in ("fine()", *tasks[:2]))
    for wanted, shown in ((None, ("the task", *tasks[1:])), (failed, tasks[2:])):
        canvas, file = lines()
        assert show_brief(tree, canvas, failed=wanted) == len(shown)
        rows = file.getvalue().splitlines()
        assert all(any(task in row for row in rows) for task in shown)
    assert "what went wrong" in rows[0]


def test_a_diff_is_coloured_and_counted(tmp_path: Path) -> None:
    diff = "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n <b>\n-old\n+new\n"
    with new(tmp_path) as session:
        record_all(session, *opening("t"), *turn("", (cell("!git diff"), f"said\n{diff}- a list\n")), *ending("done"))
    tree = read_tree(session.folder)
    for whole in (False, True):
        file = io.StringIO()
        show_tree(tree, Canvas(file.write, 80, color=True), whole=whole)
        assert "  \x1b[31m-old\x1b[0m\n  \x1b[32m+new\x1b[0m\n  - a list\n" in file.getvalue()
        assert "diff: 1 file +1 −1" in file.getvalue()
    exported = "".join(page(tree))
    assert '<span class="removed">-old\n</span><span class="added">+new\n</span><span>- a list\n</span>' in exported
    assert '<span class="context"> &lt;b&gt;\n</span>' in exported
    assert "<span>diff: 1 file +1 −1</span>" in exported


@pytest.mark.parametrize(("content", "exit_status"), [("no such thing\n[exit code: 1]", 0), ("no such thing", 1)])
def test_a_command_that_failed_in_a_cell_that_did_not_is_marked_and_counts(
    tmp_path: Path, content: str, exit_status: int
) -> None:
    with new(tmp_path) as session:
        record_all(session, *opening("t"), *turn("", (cell("ran()"), content), exit_status=exit_status))
        record_all(session, *turn("", (cell("fine()"), "1")), *ending("done"))
    tree = read_tree(session.folder)
    assert failed_agents(tree) == {"root"}
    canvas, file = lines()
    show_tree(tree, canvas, failed=failed_agents(tree))
    assert "exit 1 ipython" in file.getvalue()
    assert "fine()" not in file.getvalue()
    exported = "".join(page(tree))
    assert [exported.count(f'class="cell {state}"') for state in ("warn", "ok", "bad")] == [1, 1, 0]
    assert '<span class="failure">exit 1</span>' in exported


@pytest.mark.parametrize(
    ("code", "no_python"),
    [
        ("!ls -la | head\n%time x = 5\nfiles = !ls *.py\nout = %sql select 1", 4),
        ("obj?\n?obj.name\nobj??", 3),
        ("x = 5 % 3\nif a != b: pass\ns = '''\n!no\n%no\n'''\ny = (a\n  % b)", 0),
        ("%%time\nimport os\nprint(os)", 1),
        ("%%bash\nfor i in 1 2; do echo $i; done", 2),
        ("%%html\n<b>!</b>", 1),
        ("%matplotlib inline\n!pip install 'a b'\n!'ls'\n!{command}\n!./run.sh", 5),
    ],
)
def test_commands_and_magics_are_not_coloured_as_errors(code: str, no_python: int) -> None:
    lexed = list(tokens(code, "python"))
    assert "".join(text for _, text in lexed) == code
    assert not [text for token, text in lexed if "Error" in str(token)]
    own = [text for token, text in lexed if token is Name.Builtin and text not in ("print", "import")]
    assert len(own) == no_python
    assert 'class="err"' not in markup_code(code, "python")
