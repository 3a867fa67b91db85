"""Exported sessions, each validated by a tool of its format."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import atif
import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from rlm.core.budget import Spent, Stop
from rlm.core.events import ChildStarted, Dropped, Event, ParametersChanged, Replied, Said, Stopped, ToolReturned
from rlm.core.history import Summary
from rlm.core.messages import ToolResult, User, Wire
from rlm.core.state import replay
from rlm.errors import SessionError
from rlm.present.export import Arguments, Format, export, subtree
from rlm.present.export.markup import pieces
from rlm.present.export.portable_json import portable
from rlm.present.export.table_markup import table_markup
from rlm.present.export.timing import IDLE, Activity, Axis, merged, times
from rlm.present.show import show_tree
from rlm.sessions import Session
from rlm.sessions.store import SessionTree, read_tree
from rlm.text.styled import Canvas
from rlm_testkit.journals import cell, conversations, ending, opening, record_all, reply, turn
from rlm_testkit.sample import QUEUED, hostile_sample, sample


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> SessionTree:
    return read_tree(sample(tmp_path_factory.mktemp("export") / "home"))


def session_of(cwd: Path, *events: Event) -> SessionTree:
    with Session.create(Path("home"), model="test-model", cwd=cwd, prompt="the task") as session:
        record_all(session, *events)
    return read_tree(session.folder)


def exported(tree: SessionTree, format: Format, *options: Arguments) -> str:
    return "".join(export(tree, format, *options))


# ---- a notebook


def test_a_notebook_is_valid_and_holds_the_cells_in_order(tree: SessionTree) -> None:
    notebook = nbformat.reads(exported(tree, Format.IPYNB), as_version=4)
    nbformat.validate(notebook)
    code = [each for each in notebook.cells if each.cell_type == "code"]
    setup, *code = code
    assert "rlm = RecordedAgents(" in setup.source
    assert [each.execution_count for each in code] == [1, 2, 3, 4, 5]
    assert code[0].outputs[0].text == "2.0285714285714285"
    assert (code[1].outputs[0].output_type, code[1].outputs[0].ename) == ("error", "AssertionError")
    assert code[2].outputs[-1].data["image/png"].startswith("iVBOR")
    assert code[3].source == "%%bash\nls -l | head -3"
    assert "**look**" in notebook.cells[2].source
    assert [each.metadata.get("tags") for each in code[:2]] == [None, ["raises-exception"]]


def test_a_notebook_declares_python_so_that_others_convert_it_to_a_py_file(tree: SessionTree) -> None:
    metadata = nbformat.reads(exported(tree, Format.IPYNB), as_version=4).metadata
    assert (metadata.language_info.name, metadata.language_info.file_extension) == ("python", ".py")
    assert metadata.kernelspec.name == "python3"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[no output]", ""),
        ("[no output]\n[context turns: 3/9]", ""),
        ("42\n[context turns: 3/9]", "42"),
        ("before\n[picture: {folder}/outputs/gone.png]\nafter", "before\n[picture: gone.png]\nafter"),
        ("[picture: /elsewhere/outputs/gone.png]", "[picture: gone.png]"),
        ("[… 9 characters left out; the full text is in {folder}/outputs/1.txt …]", "[… 9 characters left out; the full text is in outputs/1.txt …]"),
        ("it prints [no output] itself", "it prints [no output] itself"),
    ],
)  # fmt: skip
def test_a_notebook_contains_the_output_of_cells_and_no_path_of_this_machine(
    tmp_path: Path, content: str, expected: str
) -> None:
    with Session.create(Path("home"), model="m", cwd=tmp_path, prompt="t") as session:
        for event in turn("", (cell("x"), content.format(folder=session.folder))):
            session.record(event)
    (code,) = json.loads(exported(read_tree(session.folder), Format.IPYNB))["cells"]
    assert [output["text"] for output in code["outputs"]] == ([expected] if expected else [])


def test_a_hostile_session_is_a_valid_notebook_too(tmp_path: Path) -> None:
    notebook = nbformat.reads(exported(read_tree(hostile_sample(tmp_path / "home")), Format.IPYNB), as_version=4)
    nbformat.validate(notebook)
    nbformat.writes(notebook).encode()


def test_a_notebook_runs_again(tmp_path: Path) -> None:
    runs = [(cell("x = 6"), ""), (cell("echo $((40 + 2)) > answer", "bash"), ""), (cell("assert x == 6"), "")]
    file = tmp_path / "again.ipynb"
    file.write_text(exported(session_of(tmp_path, *opening("t"), *turn("", *runs), *ending("42")), Format.IPYNB))
    command: list[str | Path] = [sys.executable, "-m", "IPython", "--no-banner", "--ipython-dir", tmp_path, file]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    assert (tmp_path / "answer").read_text() == "42\n"


USES = """
results = await asyncio.gather(*(rlm.run(task) for task in ("good", "bad")), return_exceptions=True)
first, again = results[0], await rlm("good")
with open("seen", "w") as file:
    print(first.answer, first.ok, first.usage.prompt, again, context, isinstance(results[1], rlm.AgentError), results[1], file=file)
"""


def test_a_notebook_of_a_run_with_a_context_and_sub_agents_runs(tmp_path: Path) -> None:
    """The sub-agents answer as in the run: the first one, the second one, and the second one again."""
    (tmp_path / "data.txt").write_text("the data")
    with Session.create(
        tmp_path / "home", model="m", cwd=tmp_path, prompt="t", settings={"context": "data.txt"}
    ) as session:
        response = reply("", cell(USES))
        record_all(session, *opening("t"), Replied(response))
        ends = (
            ("good", Stop.DONE, "one 'answer'", ""),
            ("good", Stop.DONE, "two", ""),
            ("bad", Stop.ERROR, "", "no key"),
        )
        for task, stop, answer, error in ends:
            with session.child(task) as child:
                record_all(session, ChildStarted(child.folder.name, task))
                record_all(child, *opening(task), Stopped(stop, answer, Spent(1), error))
        record_all(session, ToolReturned(ToolResult(response.message.calls[0], "")), *ending("42"))
    file = tmp_path / "again.ipynb"
    tree = read_tree(session.folder)
    file.write_text(exported(tree, Format.IPYNB))
    command: list[str | Path] = [sys.executable, "-m", "IPython", "--no-banner", "--ipython-dir", tmp_path, file]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    assert (tmp_path / "seen").read_text() == "one 'answer' True 0 two the data True no key\n"
    assert "no key" in exported(tree, Format.HTML)
    assert "no key" in exported(subtree(tree, "root"), Format.IPYNB)


def test_a_table_keeps_its_html_in_a_notebook(tmp_path: Path) -> None:
    """The table replaces its text each time the text occurs. A file without a table is ignored."""
    table, html = "   a\n0  1", "<table><tr><td>1</td></tr></table>"
    with Session.create(tmp_path / "home", model="m", cwd=tmp_path, prompt="t") as session:
        bundle = json.dumps({"text/plain": table, "text/html": html})
        for name, text in (("cell-1-table.json", bundle), ("cell-1-table-2.json", "{}"), ("x-table.json", "[[[")):
            (session.outputs / name).write_text(text)
        runs = [(cell("x"), f"before\n{table}\nafter\n{table}"), (cell("y"), f"not {table}"), (cell("z"), table)]
        record_all(session, *opening("t"), *turn("", *runs), *ending("42"))
    notebook = nbformat.reads(exported(read_tree(session.folder), Format.IPYNB), as_version=4)
    nbformat.validate(notebook)
    outputs = [[each.get("text") or each.data for each in c.outputs] for c in notebook.cells if c.cell_type == "code"]
    shown = {"text/plain": table, "text/html": html}
    assert [["before\n", shown, "after\n", shown], [f"not {table}"], [shown]] == [
        [each if isinstance(each, str) else dict(each) for each in every] for every in outputs
    ]


def test_a_table_is_generated_again_in_the_page(tmp_path: Path) -> None:
    """With a table as pandas writes it: its style sheet is dropped; heading, spans and sizes are kept."""
    html = (
        "<div><style scoped>td { color: red }</style><table border=1 class=dataframe><thead><tr style='text-align: right'><th></th>"
        "<th colspan=2 onclick='pwn()'>a &lt;b&gt;</th></tr></thead><tbody><tr><th>0</th><td>1<td><a href=javascript:pwn()>x</a>"
        "<script>pwn()</script></td></tr></tbody></table><p>120 rows × 8 columns</p></div>"
    )
    with Session.create(tmp_path / "home", model="m", cwd=tmp_path, prompt="t") as session:
        for number, (text, shown) in enumerate((("   a\n0  1", html), ("no table", "<p>none</p>"))):
            bundle = json.dumps({"text/plain": text, "text/html": shown})
            (session.outputs / f"cell-{number}-table.json").write_text(bundle)
        record_all(
            session,
            *opening("t"),
            *turn("", (cell("x"), "before\n   a\n0  1\nafter"), (cell("y"), "no table")),
            *ending("42"),
        )
    page = exported(read_tree(session.folder), Format.HTML)
    assert (
        '<pre class="out">before</pre><div class="frame" tabindex="0"><table><thead><tr><th></th>'
        '<th colspan="2">a &lt;b&gt;</th></tr></thead><tbody><tr><th>0</th><td>1</td><td>x</td></tr></tbody></table>'
        '<p class="soft">120 rows × 8 columns</p></div><pre class="out">after</pre>'
    ) in page
    assert '<pre class="out">no table</pre>' in page


@pytest.mark.parametrize(
    ("html", "shown"),
    [
        ("<table><tr><td rowspan=99999999999 colspan=-1>a", "<tr><td>a</td></tr>"),
        ("<table><tr><td>a<table><tr><td>b</table><td>c", "<tr><td>a</td></tr><tr><td>b</td><td>c</td></tr>"),
        ("<table><td>lost<tr><td>a<br>b</td>", "<tr><td>a\nb</td></tr>"),
    ],
)
def test_a_table_with_uneven_rows_is_completed(html: str, shown: str) -> None:
    assert f"<table><tbody>{shown}</tbody></table>" in "".join(pieces(table_markup(html)))


def test_an_invalid_or_large_table_is_ignored() -> None:
    assert table_markup("<p>text</p>") is None
    assert table_markup("<table><tr>" + "<td>x" * 20_001) is None


def test_an_edit_is_a_diff_and_a_resumed_run_shows_all_its_answers(tmp_path: Path) -> None:
    change = {"path": "a.py", "old_str": "x = 1\ny = 2\n", "new_str": "x = 1\ny = 3\n"}
    call = {"id": "c", "type": "function", "function": {"name": "edit", "arguments": json.dumps(change)}}
    with Session.create(tmp_path / "home", model="m", cwd=tmp_path, prompt="t") as session:
        record_all(session, *opening("t"), *turn("", (call, "changed")), *ending("the first answer"))
        record_all(session, Said(User("more")), *ending("the second answer"))
    tree = read_tree(session.folder)
    page, notebook = exported(tree, Format.HTML), exported(tree, Format.IPYNB)
    assert '<span class="gd">-y = 2</span>' in page
    assert '<span class="gi">+y = 3</span>' in page
    assert "```diff\\n--- a.py\\n+++ a.py\\n x = 1\\n-y = 2\\n+y = 3\\n```" in notebook
    canvas: list[str] = []
    show_tree(tree, Canvas(canvas.append))
    assert ["│  x = 1\n", "│ -y = 2\n", "│ +y = 3\n"] == [line for line in canvas if line.startswith("│")][2:]
    answers = page[: page.index("Time and tokens")]
    assert answers.index("the first answer") < answers.index("run 2") < answers.index("the second answer")
    assert all(name in page for name in ("prompt tokens", "cached ones", "completion tokens"))


# ---- training data


def lines(tree: SessionTree) -> list[dict[str, Any]]:
    return [json.loads(line) for line in exported(tree, Format.CHAT).splitlines()]


def test_each_completion_has_the_models_input_before_it(tmp_path: Path) -> None:
    check_segments(tmp_path, [
        *opening("task"), *turn("a", (cell("1"), "1")), *turn("b", (cell("2"), "2")), *turn("c", (cell("3"), "3")),
        Dropped((2, 3), "summarize", Summary(1, 1, "notes")), *turn("d", (cell("4"), "4")), *ending("e"),
    ])  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(conversations())
def test_the_segments_of_any_conversation_are_those_requests(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event]
) -> None:
    check_segments(tmp_path_factory.mktemp("any"), events)


def check_segments(cwd: Path, events: list[Event]) -> None:
    reported = [
        json.loads(line) for line in exported(session_of(cwd, *events), Format.CHAT, Arguments.TEXT).splitlines()
    ]
    replied = [n for n, event in enumerate(events) if isinstance(event, Replied)]
    requests = [[message.wire() for message in replay(events[:n]).history.messages] for n in replied]
    answers = [event.reply.message.wire() for event in events if isinstance(event, Replied)]
    saw = [without_weights(line["messages"][: each["index"]]) for line in reported for each in line["completions"]]
    completions = [line["messages"][each["index"]] for line in reported for each in line["completions"]]
    assert saw == json.loads(json.dumps(portable(requests)))
    assert without_weights(completions) == json.loads(json.dumps(portable(answers)))
    assert {message["weight"] for message in completions} <= {1}
    assert all(line["completions"][-1]["index"] == len(line["messages"]) - 1 for line in reported)


def without_weights(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in message.items() if key != "weight"} for message in messages]


def test_a_conversation_that_only_grows_is_one_segment(tmp_path: Path) -> None:
    (line,) = lines(session_of(tmp_path, *opening("t"), *turn("a", (cell("1"), "1")), *ending("b")))
    assert [each["index"] for each in line["completions"]] == [2, 4]
    assert line["usage"]["prompt_tokens"] == 2_000
    assert [tool["function"]["name"] for tool in json.loads(line["tools"])] == ["ipython"]
    assert (line["agent"], line["segment"], line["reward"], line["params"]) == ("root", 0, None, '{"temperature": 0}')


def call_with(arguments: str) -> Wire:
    return cell("") | {"function": {"name": "ipython", "arguments": arguments}}


@pytest.mark.parametrize(
    "text",
    ["{}", '{"code": "1", "timeout": null}', '{"a": {"b": [1, {"c": 0.5}]}, "ü": "\\u2028"}', '{"n": 9223372036854775807}'],
)  # fmt: skip
def test_arguments_are_an_object_as_the_model_gave_it(tmp_path: Path, text: str) -> None:
    (line,) = lines(session_of(tmp_path, *opening("t"), *turn(None, (call_with(text), "1"))))
    message = line["messages"][-1]
    assert message["tool_calls"][0]["function"]["arguments"] == json.loads(text)
    assert (message["content"], message["weight"]) == ("", 1), "many chat templates concatenate the content with a text"


@pytest.mark.parametrize(
    "text",
    ["", '{"code": "print(1', "[1]", "null", '"x"', '{"n": NaN}', '{"n": -Infinity}', '{"n": 9223372036854775808}',
     '{"s": "\\ud83d"}', '{"deep": ' + "[" * 500 + "]" * 500 + "}", '{"deep": ' + "[" * 99_999, '{"n": ' + "9" * 5_000 + "}"],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_arguments_that_are_no_object_for_every_reader_are_kept_as_text_and_not_trained_on(
    tmp_path: Path, text: str
) -> None:
    calls = [(call_with('{"code": "1"}'), "1"), (call_with(text), "no JSON")]
    tree = session_of(tmp_path, *opening("t"), *turn("", *calls), *ending("end"))
    (line,) = lines(tree)
    reported = [message for message in line["messages"] if message["role"] == "assistant"]
    arguments = [call["function"]["arguments"] for call in reported[0]["tool_calls"]]
    assert arguments == [{"code": "1"}, {"arguments": text}]
    assert [message["weight"] for message in reported] == [0, 1]
    for format in Format:
        exported(tree, format).encode()
    trajectory = atif.Trajectory.model_validate_json(exported(tree, Format.ATIF))
    steps = [call for step in trajectory.steps for call in step.tool_calls or []]
    assert [call.arguments for call in steps] == [{"code": "1"}, {}]


def test_text_of_an_earlier_segment_is_not_trained_on_again(tmp_path: Path) -> None:
    whole = [*opening("t"), *turn("a", (cell("1"), "1")), Dropped((1,), "context"), *ending("b")]
    reported = [[message.get("weight") for message in line["messages"]] for line in lines(session_of(tmp_path, *whole))]
    assert reported == [[None, None, 1], [None, 0, None, 1]]


def test_a_drop_begins_a_new_segment_and_a_shortened_result_does_not(tmp_path: Path) -> None:
    response = reply("", cell("fat"))
    (call,) = response.message.calls
    shortened: list[Event] = [
        Replied(response),
        ToolReturned(ToolResult(call, "fat")),
        Dropped((3,), "shortened"),
        ToolReturned(ToolResult(call, "f")),
    ]
    whole = session_of(
        tmp_path, *opening("t"), *shortened, *turn("a", (cell("1"), "1")), Dropped((2, 4), "compaction"), *ending("b")
    )
    first, second = lines(whole)
    assert [message.get("content") for message in first["messages"]] == ["You are rlm.", "t", "", "f", "a"]
    assert [message.get("content") for message in second["messages"]] == ["You are rlm.", "t", "a", "1", "b"]
    assert [each["index"] for each in second["completions"]] == [4]


def test_other_tools_begin_a_new_segment(tmp_path: Path) -> None:
    first, second = lines(
        session_of(tmp_path, *opening("t"), Replied(reply("a")), ParametersChanged("test-model"), Replied(reply("b")))
    )
    assert [len(json.loads(each["tools"])) for each in (first, second)] == [1, 0]


def test_every_agent_has_its_segments(tree: SessionTree) -> None:
    agents = [line["agent"] for line in lines(tree)]
    assert agents[0] == "root"
    assert len(set(agents)) == 5
    assert {line["session"] for line in lines(tree) if line["agent"] == "root"} == {tree.meta.session_id}


# ---- trajectories


def test_a_trajectory_is_valid_and_its_sub_agents_are_nested(tree: SessionTree) -> None:
    whole = atif.Trajectory.model_validate_json(exported(tree, Format.ATIF))
    assert whole.subagent_trajectories is not None
    assert len(whole.subagent_trajectories) == 3
    refs = [
        ref.trajectory_id
        for step in whole.steps
        if step.observation
        for result in step.observation.results
        for ref in result.subagent_trajectory_ref or []
    ]
    assert refs == [each.trajectory_id for each in whole.subagent_trajectories]
    nested = whole.subagent_trajectories[1].subagent_trajectories
    assert nested is not None
    assert nested[0].steps[-1].message == "Yes."
    assert whole.final_metrics is not None
    assert whole.final_metrics.total_prompt_tokens == tree.meta.usage.prompt
    assert whole.has_multimodal_content()


def test_a_hostile_session_is_a_valid_trajectory_too(tmp_path: Path) -> None:
    text = exported(read_tree(hostile_sample(tmp_path / "home")), Format.ATIF)
    text.encode()
    atif.Trajectory.model_validate_json(text)


# ---- parts of a session


def test_one_agent_can_be_exported_by_the_end_of_its_path(tree: SessionTree) -> None:
    child = tree.children[1]
    (grandchild,) = child.children
    assert subtree(tree, grandchild.agent) is grandchild
    assert subtree(tree, grandchild.folder.name) is grandchild
    assert len(lines(subtree(tree, child.agent))) == 2
    for wanted, said in (("root/sub-00000000", "no agent"), ("", "no agent"), ("nobody", "no agent")):
        with pytest.raises(SessionError, match=said):
            subtree(tree, wanted)


@pytest.mark.parametrize("format", Format)
def test_an_agent_that_never_began_can_be_exported(tmp_path: Path, format: Format) -> None:
    text = exported(session_of(tmp_path), format)
    assert (text == "") == (format is Format.CHAT)


@pytest.mark.parametrize("format", Format)
def test_every_format_is_text_that_can_be_written(tmp_path: Path, format: Format) -> None:
    exported(read_tree(hostile_sample(tmp_path / "home")), format).encode()


# ---- the time of an agent


def test_the_time_of_an_agent_is_divided_into_model_cells_and_waiting(tree: SessionTree) -> None:
    reported = times(tree)
    assert reported.total(Activity.MODEL) == pytest.approx(2 + 2 + 4 + 2 + 2)
    assert reported.total(Activity.TOOL) == pytest.approx(4 * 0.4, abs=0.2)
    assert reported.total(Activity.WAIT) == pytest.approx(
        [*tree.children[2].records()][-1].ts - next(iter(tree.children[0].records())).ts + QUEUED, abs=0.01
    ), "agents in the queue are waited for, too"
    assert reported.end - reported.start == pytest.approx(tree.meta.metrics["duration"], abs=0.1)


def test_idle_time_between_two_runs_is_shortened() -> None:
    axis = Axis([(start, start + 5) for start in (0.0, 2.0, 3_600.0)])
    assert axis.length == 7 + IDLE + 5
    assert axis.left_out == 3_605 - axis.length
    assert [round(axis.place(time), 3) for time in (0, 7, 3_600, 3_605)] == [0, round(7 / 22, 3), round(17 / 22, 3), 1]
    assert Axis([]).place(3) == 0


def test_overlapping_times_are_one() -> None:
    assert merged([(5, 6), (0, 2), (1, 3), (3, 4)]) == [(0, 4), (5, 6)]
