"""behaviour.md, Sessions: ls, show and resume, with the real command."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from rlm_testkit.cli import Rlm
from rlm_testkit.escapes import terminal_text
from rlm_testkit.pseudoterminal import PseudoTerminal
from rlm_testkit.scripted import Answer, Request, Scripted, call, text

Make = Callable[[Scripted], Rlm]


def test_ls_lists_each_session_newest_first(without_tools: Make) -> None:
    with Scripted(text("one"), text("two")) as server:
        command = without_tools(server)
        command("the first task")
        command("the second task")
    rows = [json.loads(line) for line in command("ls", "--json").out.splitlines()]
    assert ["the second task", "the first task"] == [row["prompt_preview"] for row in rows]
    assert {"done"} == {row["status"] for row in rows}
    listed = command("ls").out
    assert listed.index("second") < listed.index("first")


def test_ls_without_sessions_shows_how_to_create_one(alone: Rlm) -> None:
    done = alone("ls")
    assert (0, "") == (done.code, done.out)
    assert 'rlm "task"' in done.err


def test_show_prints_a_session_with_its_children_under_their_cell(rlm: Make) -> None:
    def script(request: Request) -> Answer:
        if request.depth:
            return text("the child's answer")
        return (
            call("ipython", code="print((await rlm.run('the child task')).answer)") if not request.turn else text("end")
        )

    with Scripted(script) as server:
        command = rlm(server)
        done = command("go", RLM_MAX_DEPTH="1")
    shown = command("show", done.session.folder.name[:5]).out
    assert (
        shown.index("rlm.run") < shown.index("the child task") < shown.index("the child's answer") < shown.index("end")
    )


def test_a_long_session_goes_through_the_pager_which_lets_colours_through(without_tools: Make) -> None:
    with Scripted(text("line\n" * 30)) as server:
        command = without_tools(server)
        command("go")
    for pager, words in (("sh -c 'echo \"[$LESS]\"; cat'", "[FRX]"), ("no-such-pager", ""), ("'", ""), (" ", "")):
        with PseudoTerminal(command, "show", lines=20, PAGER=pager) as terminal:
            assert terminal.end() == 0
        output = terminal_text(bytes(terminal.seen), colours=True)
        assert output.count("line") == 30
        assert output.startswith(words)


def test_an_unknown_id_is_an_error_with_a_solution(alone: Rlm) -> None:
    done = alone("show", "abcd")
    assert 1 == done.code
    assert "rlm ls" in done.err


def test_resume_continues_exactly_and_reports_that_the_kernel_is_fresh(rlm: Make) -> None:
    with Scripted(call("ipython", code="value = 5"), text("first"), text("second")) as server:
        command = rlm(server)
        command("start")
        done = command("resume", "and now?")
    assert "second\n" == done.out
    before, after = server.requests[1].messages, server.requests[2].messages
    assert before == after[: len(before)]
    answer, resumed = after[len(before) :]
    assert ("assistant", "first") == (answer["role"], answer["content"])
    note, task = resumed["content"].split("\n\n")
    assert ("user", "and now?") == (resumed["role"], task), "joined to one message: strict templates do not accept two"
    assert "fresh" in note
    assert "value" in note
    assert 1 == len(done.sessions)
    assert "fresh kernel; gone: value; `--replay` runs the cells again" in done.err
    assert "fresh kernel; gone: value" in command("show").out


def test_resume_by_id_by_text_and_with_both(rlm: Make) -> None:
    with Scripted(*[text(str(n)) for n in range(6)]) as server:
        command = rlm(server)
        first = command("one").session.folder.name
        command("two")
        command("resume", first[:6])
        assert "Go on with the task." == newest(server)
        assert "one" == server.requests[-1].messages[1]["content"]
        command("resume", "more text")
        assert "more text" == newest(server)
        command("resume", first[:6], "both")
        assert "both" == newest(server)
    assert 1 == command("resume", "ffff0000").code


def newest(server: Scripted) -> str:
    """What the resumed session added, without the note about the kernel before it."""
    note, task = server.requests[-1].last.split("\n\n")
    assert note.startswith("This session was resumed. The kernel is fresh")
    return task


def test_fork_does_not_change_the_old_session(without_tools: Make) -> None:
    with Scripted(text("one"), text("two")) as server:
        command = without_tools(server)
        old = command("start").session
        before = (old.folder / "messages.jsonl").read_bytes()
        done = command("resume", "--fork", "other")
    assert before == (old.folder / "messages.jsonl").read_bytes()
    assert 2 == len(done.sessions)


def test_limits_of_the_tree_continue_where_they_were(without_tools: Make) -> None:
    with Scripted(text("one"), text("two"), text("three")) as server:
        command = without_tools(server)
        command("start")
        done = command("resume", "more", RLM_MAX_TOKENS="10")
    assert 3 == done.code
    assert 1 == len(server.requests), "10 tokens were spent before"


def test_a_session_that_runs_elsewhere_is_not_resumed(without_tools: Make) -> None:
    with Scripted(text("late").after(600)) as server:
        command = without_tools(server)
        process = command.start("slow")
        server.wait(lambda s: s.requests)
        done = command("resume")
        process.terminate()
        process.communicate(timeout=60)
    assert 1 == done.code
    assert str(process.pid) in done.err


def test_a_killed_run_is_lost_and_can_be_resumed(rlm: Make) -> None:
    with Scripted(call("ipython", code="import time\ntime.sleep(60)"), text("went on")) as server:
        command = rlm(server)
        process = command.start("go")
        server.wait(lambda s: s.requests)
        journal = next((command.cwd / ".rlm").rglob("messages.jsonl"))
        server.wait(lambda _: "tool_calls" in journal.read_text())
        process.kill()
        process.communicate(timeout=60)
        assert "lost" == json.loads(command("ls", "--json").out)["status"]
        done = command("resume")
    assert (0, "went on\n") == (done.code, done.out)
    roles = [message["role"] for message in server.requests[-1].messages]
    assert "tool" == roles[roles.index("assistant") + 1]
    assert "done" == done.session.meta["status"]


def test_replay_runs_the_cells_again_and_shows_where_results_differ(rlm: Make) -> None:
    cells = ["value = 5", "import os\nos.getpid()", "value + 1"]
    script = [
        *(call("ipython", code=cell) for cell in cells),
        text("first"),
        call("ipython", code="value"),
        text("end"),
    ]
    with Scripted(*script) as server:
        command = rlm(server)
        command("start")
        done = command("resume", "--replay", "and now?")
    assert 0 == done.code
    assert "fresh kernel; 3 cells run again; other results: 2" in done.err
    assert "  [5] ipython  value" in done.err, "turn numbers continue"
    assert 1 == done.err.count("now has another result"), "only the process id has changed"
    note = next(m["content"] for m in server.requests[-1].messages if "run again" in str(m["content"]))
    assert ": 2." in note
    assert "5" == done.session.results[-1].strip()
    assert [True, False, True] == [record["same"] for record in done.session.records if record["type"] == "rerun"]


def test_a_checkpoint_restores_the_variables_and_reports_those_that_could_not_be_saved(rlm: Make) -> None:
    """Only the user's variables; also if one replaces a name of the kernel."""
    cells = (
        "import threading, collections\nvalue = {'a': [1]}\ndef double(x): return 2 * x\nlock = threading.Lock()",
        "n = len(context)\nawait say('used')\nimport asyncio, rlm\nIn, Out, exit",
        "context = 'mine'",
    )
    script = [*(call("ipython", code=cell) for cell in cells), text("first")]
    script.append(call("ipython", code="print(value, double(4), collections, context)"))
    with Scripted(*script, text("end")) as server:
        command = rlm(server)
        (command.cwd / "data.txt").write_text("data")
        command("start", RLM_CHECKPOINT="1", RLM_CONTEXT="data.txt")
        done = command("resume", "and now?", RLM_CHECKPOINT="1")
    note = next(m["content"] for m in server.requests[-1].messages if "Restored" in str(m["content"]))
    match = re.search(r"Restored: (.*?)\. Not restored: (.*?)\.(?: |\n|$)", " ".join(note.split()))
    assert match is not None, note
    kept, lost = match.groups()
    assert {"collections", "context", "double", "n", "threading", "value"} == set(kept.split(", "))
    assert f"fresh kernel; Restored: {kept}." in done.err
    assert lost.startswith("lock (TypeError")
    assert ";" not in lost
    assert re.match(r"\{'a': \[1\]\} 8 <module 'collections'.* mine\n", done.session.results[-1])
    saved = done.session.folder / "variables.pickle"
    assert 0o600 == saved.stat().st_mode & 0o777


def test_a_kernel_that_dies_while_it_saves_is_reported_and_no_output_is_lost(rlm: Make) -> None:
    """`__reduce__` runs when the variable is saved."""
    talks = (
        "class Talks:\n    def __reduce__(self): print('while saving'); return (int, ())\nt = Talks()\nprint('cell')"
    )
    dies = "class Dies:\n    def __reduce__(self): __import__('os')._exit(9)\nd = Dies()\nprint('cell 2')"
    script = [call("ipython", code=code) for code in (talks, dies, "print('goes on')")]
    with Scripted(*script, text("end")) as server:
        done = rlm(server)("start", RLM_CHECKPOINT="1")
    assert 0 == done.code
    first, second, third = done.session.results
    assert "cell\n" == first
    assert second.startswith("[output since the last cell]\nwhile saving\n[this cell]\ncell 2\n")
    assert (
        "\n[saving the variables after the cell:]\nwhile saving\n[the kernel died: its process exited with code 9"
        in second
    )
    assert "Lost: Dies, Talks, d, t." in second
    assert "goes on\n" == third


def test_export_writes_each_format_to_stdout_or_a_file(rlm: Make) -> None:
    with Scripted(call("ipython", code="print('in the cell')"), text("the answer")) as server:
        command = rlm(server)
        command("start")
    assert "in the cell" in command("export").out
    notebook = json.loads(command("export", "--format", "ipynb").out)
    assert any("in the cell" in "".join(cell["source"]) for cell in notebook["cells"])
    (line,) = (
        command("export", "--format", "chat", "-o", "chat.jsonl", "*")
        .cwd.joinpath("chat.jsonl")
        .read_text()
        .splitlines()
    )
    (asked,) = (m["tool_calls"][0]["function"] for m in json.loads(line)["messages"] if m.get("tool_calls"))
    assert {"code": "print('in the cell')"} == asked["arguments"], "the format of chat templates"
    verbatim = json.loads(command("export", "--format", "chat", "--arguments", "text").out)["messages"]
    received = [{name: value for name, value in m.items() if name != "weight"} for m in verbatim]
    assert server.requests[-1].messages == received[:-1]
    assert json.loads(command("export", "--format", "atif").out)


def test_export_of_an_unknown_session_is_an_error(without_tools: Make) -> None:
    with Scripted(text("a"), text("b")) as server:
        command = without_tools(server)
        command("one")
        command("two")
    assert 1 == command("export", "--format", "chat", "ffff*x").code
    assert 1 == command("export", "--agent", "root/sub-00000000").code
    assert 2 == command("export", "*").code
    assert 2 == command("export", "-o", "no/such/folder/x.html").code


def test_ls_shows_everything_except_the_folder_on_a_terminal_of_80_columns(without_tools: Make) -> None:
    with Scripted(text("one")) as server:
        command = without_tools(server)
        done = command("a task with more words than there is room for on a line that also has a folder")
    head, row = command("ls", COLUMNS="80").out.splitlines()
    assert ["id", "age", "status", "turns", "agents", "tokens", "time", "task"] == head.split()
    assert row.startswith(f"{done.session.folder.name}  now  done")
    assert ["1", "1", "110"] == row.split()[3:6]
    assert len(row) <= 80


def test_a_key_that_a_cell_prints_is_in_no_file_of_the_session(alone: Rlm) -> None:
    cell = "print('k' * 500 + open('key.env').read() + 'k' * 500)"
    with Scripted(call("ipython", code=cell), text("ok")) as server:
        (alone.cwd / "key.env").write_text("sk-hidden-in-a-file")
        done = alone("go", RLM_BASE_URL=server.url, RLM_API_KEY="sk-hidden-in-a-file", RLM_MAX_OUTPUT="100")
    files = [path for path in done.session.folder.rglob("*") if path.is_file()]
    assert any(path.parent.name == "outputs" for path in files)
    assert not [path for path in files if b"sk-hidden-in-a-file" in path.read_bytes()]
    assert not [request for request in server.requests if "sk-hidden-in-a-file" in str(request.body)]
