"""The tree, the lines and the frame of the screen, folded from records as the encoder writes them."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace
from rlm.core.budget import Spent, Stop
from rlm.core.events import (
    CallEnded,
    CallStarted,
    ChildEnded,
    ChildStarted,
    Delta,
    Displayed,
    Dropped,
    Event,
    Failed,
    KernelRestarted,
    OutputReceived,
    Queued,
    Replied,
    RequestStarted,
    Retried,
    Said,
    Stopped,
    Throttled,
    ToolReturned,
    Waiting,
    Writing,
)
from rlm.core.history import Summary
from rlm.core.messages import Kind, Reply, ToolCall, ToolResult, Usage, User, assistant
from rlm.present.live.frame import frame
from rlm.present.live.lines import MANY, REPORTED_RETRIES, footer, header, rows_of
from rlm.present.live.row import fit, measure, paint, wrap
from rlm.present.live.tree import AgentNow, AgentState, AgentTree, fold
from rlm.present.live.verbose import OUTPUT
from rlm.sessions.encoder import RecordEncoder
from rlm.sessions.records import Record

USAGE = Usage(prompt=1200, completion=80, cached=900)


class WatchedRun:
    """A run as the screen sees it: give it events, read its tree and its lines. Only `later` advances its clock."""

    def __init__(self) -> None:
        self.tree = AgentTree()
        self.lines: list[str] = []
        self.now = 100.0
        self.verbose = False
        self._encoders: dict[str, RecordEncoder] = {}

    def __call__(self, *events: Event, agent: str = "root") -> None:
        for event in events:
            encoder = self._encoders.setdefault(agent, RecordEncoder(timer=lambda: self.now))
            record = encoder.encode(event)
            if record is not None:
                self._take(replace(record, agent=agent))

    def _take(self, record: Record) -> None:
        rows = rows_of(self.tree, record, self.now, verbose=self.verbose)
        self.tree = fold(self.tree, record, self.now)
        self.lines += [paint(line, color=False) for row in rows if not row.picture for line in wrap(row, 90)]

    def later(self, seconds: float) -> None:
        self.now += seconds

    def reply(self, agent: str = "root", usage: Usage = USAGE, text: str = "") -> None:
        """The model calls a tool."""
        calls = [{"id": "c1", "type": "function", "function": {"name": "ipython", "arguments": "{}"}}]
        message = assistant({"role": "assistant", "content": text, "tool_calls": calls})
        self(RequestStarted(), Replied(Reply(message, usage)), agent=agent)

    def cell(self, code: str, agent: str = "root", *, text: str = "", ok: bool = True, took: float = 0.4) -> None:
        called = call(code)
        self(CallStarted(called), agent=agent)
        self.later(took)
        result = ToolResult(called, text, ok)
        self(ToolReturned(result), CallEnded(result), agent=agent)

    def start(self, folder: str, task: str, parent: str = "root") -> str:
        self(ChildStarted(folder, task), agent=parent)
        return f"{parent}/{folder}"

    def end(self, path: str, stop: Stop = Stop.DONE, error: str = "") -> None:
        parent, _, folder = path.rpartition("/")
        self(ChildEnded(folder, stop, 2, USAGE, error), agent=parent)

    @property
    def root(self) -> AgentNow:
        return self.tree.agents["root"]

    def rows(self, width: int = 90, height: int = 40) -> list[str]:
        rows = frame(self.tree, self.now, width, height)
        return [paint(fit(row, width, crop=True), color=False).rstrip() for row in rows]


def call(code: str, tool: str = "ipython") -> ToolCall:
    return ToolCall("c1", tool, json.dumps({"code": code}))


@pytest.fixture
def run() -> WatchedRun:
    return WatchedRun()


# ---- the tree


def test_an_agent_thinks_then_runs_a_cell_then_thinks_again(run: WatchedRun) -> None:
    run(Said(User("count the files")))
    assert (run.root.state, run.root.task) == (AgentState.THINKING, "count the files")
    run.reply()
    run(CallStarted(call("import os\nos.listdir()")))
    assert (run.root.state, run.root.tool, run.root.cell) == (AgentState.RUNNING, "ipython", "os.listdir()")
    run(CallEnded(ToolResult(call("…"), "")))
    assert (run.root.state, run.root.cell) == (AgentState.THINKING, "")


def test_a_parent_waits_for_as_many_agents_as_have_not_ended(run: WatchedRun) -> None:
    run.reply()
    run(CallStarted(call("await gather(…)")))
    first, second = run.start("sub-1a2b3c4d", "one"), run.start("sub-5e6f7a8b", "two")
    assert (run.root.state, run.root.children) == (AgentState.WAITING, 2)
    run.end(first)
    assert (run.root.state, run.root.children) == (AgentState.WAITING, 1)
    run.end(second, Stop.ERROR, "no route to host")
    assert run.root.state is AgentState.RUNNING
    assert run.tree.ended == {AgentState.DONE: 1, AgentState.FAILED: 1}
    assert set(run.tree.agents) == {"root"}


@pytest.mark.parametrize(
    ("stop", "state"),
    [
        (Stop.DONE, AgentState.DONE),
        (Stop.MAX_TURNS, AgentState.STOPPED),
        (Stop.CANCELLED, AgentState.CANCELLED),
        (Stop.ERROR, AgentState.FAILED),
    ],
)
def test_how_an_agent_ended_is_counted(run: WatchedRun, stop: Stop, state: AgentState) -> None:
    run.end(run.start("sub-1a2b3c4d", "one"), stop)
    assert run.tree.ended == {state: 1}


def test_an_agent_that_ends_ends_its_sub_agents(run: WatchedRun) -> None:
    child = run.start("sub-1a2b3c4d", "one")
    run.start("sub-5e6f7a8b", "two", parent=child)
    run.end(child, Stop.CANCELLED)
    assert set(run.tree.agents) == {"root"}


def test_turns_and_tokens_add_up_and_a_summary_is_not_a_turn(run: WatchedRun) -> None:
    run.reply()
    run.reply()
    run(Replied(Reply(assistant({"role": "assistant", "content": "so far"}), USAGE), aside=True))
    assert (len(run.root.turns), run.root.usage) == (2, Usage(3600, 240, 2700))


def test_a_retry_lasts_until_the_model_says_something(run: WatchedRun) -> None:
    run(Retried("429 slow down", 1, 3.0))
    assert (run.root.state, run.root.problem, run.root.until) == (AgentState.RETRYING, "429 slow down", run.now + 3)
    run(Delta("I "))
    assert run.root.state is AgentState.THINKING


def test_streamed_text_of_the_root_is_kept_until_it_is_complete(run: WatchedRun) -> None:
    run(Delta("Let me "), Delta("look"))
    run(Delta("nobody sees this"), agent="root/sub-1a2b3c4d")
    assert run.root.recent == "Let me look"
    run.reply()
    assert run.root.recent == ""
    run(CallStarted(call("print(1)")), OutputReceived("x" * 5000), OutputReceived("the end"))
    assert run.root.recent.endswith("xthe end")
    assert len(run.root.recent) <= 2000


def test_the_tree_is_gone_when_the_root_has_ended(run: WatchedRun) -> None:
    run.reply()
    run.start("sub-1a2b3c4d", "one")
    run(Stopped(Stop.DONE, "42", Spent()))
    assert run.tree == AgentTree()


def test_the_end_of_an_unknown_agent_is_ignored(run: WatchedRun) -> None:
    run.end("root/sub-1a2b3c4d/sub-5e6f7a8b")
    assert run.lines == ["  1a2b/5e6f                                          2 turns   1.2k in / 80 out  ✓        "]


@pytest.mark.parametrize("arguments", ["", "null", "42", '"s"', "[]", "{", '{"code": 3}', "[" * 100_000])
def test_arguments_that_are_not_an_object_are_shown_unchanged(run: WatchedRun, arguments: str) -> None:
    run(CallStarted(ToolCall("c1", "ipython", arguments)))
    assert run.root.cell == arguments[:500]


# ---- the lines


def test_each_cell_is_a_line_with_its_turn_its_code_and_its_time(run: WatchedRun) -> None:
    run.reply()
    run.cell("import json\njson.loads('1')")
    run.reply()
    run.cell("x = 1; " * 30, took=75)
    assert run.lines == [
        "  [1] ipython  json.loads('1')                                                   ✓   0.4 s",
        "  [2] ipython  x = 1; x = 1; x = 1; x = 1; x = 1; x = 1; x = 1; x = 1; x = 1; …  ✓  1m 15s",
    ]


def test_a_failed_cell_says_what_went_wrong(run: WatchedRun) -> None:
    run.reply()
    run.cell(
        "json.loads(open('data.json').read(), object_hook=hook)", text="Traceback\n\nNameError: no json\n", ok=False
    )
    run.cell("1/0", text="ZeroDivisionError: division by zero\n[context turns: 3/8]", ok=False, took=0.02)
    assert run.lines == [
        "  [1] ipython  json.loads(open('data.json').read(), object_hook=hook)            ✗   0.4 s",
        "      NameError: no json",
        "  [1] ipython  1/0  ZeroDivisionError: division by zero                          ✗   20 ms",
    ]


def test_sub_agents_are_shown_by_their_short_path(run: WatchedRun) -> None:
    run.reply()
    child = run.start("sub-1a2b3c4d", "Summarise the first part\nof the report")
    grandchild = run.start("sub-5e6f7a8b", "Count", parent=child)
    run.reply(grandchild)
    run.cell("len(context)", grandchild)
    run.later(11.6)
    run.end(grandchild)
    run.end(child, Stop.ERROR, "the provider failed for now: 503 overloaded")
    assert run.lines == [
        "  1a2b/5e6f  [1] ipython  len(context)                                           ✓   0.4 s",
        "  1a2b/5e6f  Count                                   2 turns   1.2k in / 80 out  ✓    12 s",
        "  1a2b  Summarise the first part …  the provider failed for now: 503 overloaded  ✗    12 s",
    ]


def test_a_child_that_reached_a_limit_names_it(run: WatchedRun) -> None:
    run.end(run.start("sub-1a2b3c4d", "Count"), Stop.MAX_TURNS)
    assert run.lines[0].split() == ["1a2b", "Count", "stopped:", "max_turns", "✗", "0", "ms"]


def test_retries_are_reported_with_the_wait_but_not_for_ever(run: WatchedRun) -> None:
    for attempt in range(1, 10):
        run(Retried("503 overloaded\nplease wait", attempt, 0.5 * attempt))
    assert run.lines == ["  retry in 0.5 s: 503 overloaded …", "  retry in 1.0 s, and so on: 503 overloaded …"]
    assert len(run.lines) == REPORTED_RETRIES


def test_a_pause_that_is_over_is_shown_as_a_try(run: WatchedRun) -> None:
    run(Retried("503 overloaded", 1, 12.0))
    run.later(11)
    assert "retry in 1.0 s: 503 overloaded" in run.rows()[0]
    run.later(1)
    assert "trying again: 503 overloaded" in run.rows()[0]


def test_a_long_wait_is_reported(run: WatchedRun) -> None:
    run(Retried("429 slow down", 9, 60.0))
    run(Waiting("no answer for 25 s", 40.0))
    assert run.lines == ["  retry in 1m 00s: 429 slow down", "  still waiting, at most 40 s: no answer for 25 s"]


def test_a_restarted_kernel_says_why_and_what_was_lost(run: WatchedRun) -> None:
    run(KernelRestarted("out of memory", tuple("abcdefghij")), KernelRestarted("asked for"))
    assert run.lines == [
        "  kernel restarted: out of memory; lost: a, b, c, d, e, f, g, h and 2 more",
        "  kernel restarted: asked for",
    ]


def test_a_compaction_is_reported_with_its_turns_and_housekeeping_is_not(run: WatchedRun) -> None:
    run(Said(User("the task")))
    for _ in range(4):
        run.reply()
        run(Said(User("go on", Kind.NOTE)))
    run(Dropped((1, 2, 3, 4, 5, 6), "compaction"))
    run(Dropped((0,), "max_turns_in_context"), Dropped((0,), "summary_call"))
    run(Dropped((7, 8), "summarize", Summary(4, 4, "all counted")), agent="root")
    run(Dropped((0,), "context_limit"), Dropped((0,), "shortened"))
    assert run.lines == [
        "  context compacted: turns 1-3 summarised",
        "  context compacted: turn 4 summarised",
        "  context too long: older turns dropped unread",
        "  context too long: the newest result was cut",
    ]


def test_an_error_that_the_run_survives_is_a_line(run: WatchedRun) -> None:
    run(Failed("the picture could not be saved: disk full"))
    assert run.lines == ["  error: the picture could not be saved: disk full"]


def test_text_of_the_model_cannot_control_the_terminal(run: WatchedRun) -> None:
    run.reply()
    evil = "\x1b]0;owned\x07\x1b[2J[bold red]x[/] \u202egnp.exe\x9b31m\r\n"
    run(Failed(evil), Retried(evil, 1, 1.0), KernelRestarted(evil, (evil,)))
    run.end(run.start("sub-\x1b[2J", evil), Stop.ERROR, evil)
    run.cell(evil, text=evil, ok=False)
    run(Delta(evil * 3), CallStarted(ToolCall("c", evil, evil)))
    rows = [*run.lines, *run.rows()]
    assert len(rows) == 7
    assert all(line.isprintable() for line in rows), rows
    assert "[bold red]x[/]" in run.lines[0]


def test_header_and_footer_show_the_important_facts() -> None:
    top = header(
        model="gpt-4o",
        cwd="/src/it",
        tools=("ipython", "bash"),
        session_id="7f3a91c2d0e4",
        sandbox="off",
        recorded=True,
    )
    assert paint(fit(top, 200), color=False) == (
        "rlm · gpt-4o (recorded) · sandbox off · ipython, bash · session 7f3a91c2d0e4 · /src/it"
    )
    bottom = footer(
        turns=12, agents=3, usage=Usage(84_321, 6_012, 71_000), resume="rlm resume 7f3a", duration=41.2, stop="done"
    )
    assert [paint(row, color=False) for row in wrap(bottom, 100)] == [
        "12 turns · 3 agents · 84k in (71k cached) / 6k out · 41 s · rlm resume 7f3a"
    ]
    assert [paint(row, color=False) for row in wrap(bottom, 60)] == [
        "12 turns · 3 agents · 84k in (71k cached) / 6k out · 41 s",
        "  rlm resume 7f3a",
    ], "a command stays on one line"


def test_a_footer_says_why_it_stopped_and_that_tokens_are_estimated() -> None:
    bottom = footer(turns=1, agents=1, usage=Usage(999, 1, estimated=True), stop="max_turns")
    assert paint(fit(bottom, 20), color=False) == "stopped: max_turns · 1 turn · 1 agent · ~999 in / ~1 out"


# ---- the frame


def test_the_frame_shows_each_agent_at_its_place_in_the_tree(run: WatchedRun) -> None:
    run.reply()
    run(CallStarted(call("await gather(…)")))
    first = run.start("sub-1a2b3c4d", "Summarise the first part")
    run.start("sub-5e6f7a8b", "Count", parent=first)
    second = run.start("sub-9c0d1e2f", "Summarise the second part")
    run(Retried("503 overloaded", 1, 12.0), agent=second)
    run.end(run.start("sub-00000000", "Done already"))
    run.later(2)
    assert run.rows(width=80) == [
        "  ⠇ root      1 of 3 done, 1 running, 1 waiting                 1 turn     2.0 s",
        "    ├ 1a2b    Summarise the f…  waiting for 1 agent                        2.0 s",
        "    │ └ 5e6f  Count             thinking · 2.0 s                           2.0 s",
        "    └ 9c0d    Summarise the s…  retry in 10 s: 503 overloa…                2.0 s",
        "    + 1 done",
    ]


def test_the_frame_shows_the_last_lines_of_streamed_text(run: WatchedRun) -> None:
    run(Delta("one\ntwo\nthree\n" + "four " * 30))
    rows = run.rows(width=80)
    assert [line.strip()[:4] for line in rows[:-1]] == ["thre", "four", "four"]
    assert "writing" in rows[-1]


def test_there_is_no_frame_before_and_after_the_run(run: WatchedRun) -> None:
    assert run.rows() == []
    run(Delta("x"), Stopped(Stop.DONE, "42", Spent()))
    assert run.rows() == []


@pytest.mark.parametrize("height", [1, 3, 5, 24, 400])
@pytest.mark.parametrize("width", [10, 40, 64, 95, 200])
def test_a_tree_of_200_agents_stays_within_the_screen(run: WatchedRun, width: int, height: int) -> None:
    paths = [run.start(f"sub-{number:08x}", "深い" * 40) for number in range(200)]
    for path in paths[:50]:
        run.end(run.start("sub-5e6f7a8b", "below", parent=path))
    run(Delta("text\n" * 9))
    rows = frame(run.tree, run.now, width, height)
    assert len(rows) <= max(1, height * 2 // 3)
    assert all(measure(fit(row, width, crop=True).spans) <= width for row in rows)
    assert "waiting for 200 agents" in "".join(run.rows(95, height))


def test_agents_not_shown_are_counted_and_working_ones_are_shown_below_their_parents(run: WatchedRun) -> None:
    parents = [run.start(f"sub-{number:04x}0000", "divide") for number in range(20)]
    for parent in parents:
        run.start("sub-beef0000", "conquer", parent=parent)
    rows = run.rows(height=12)
    assert [line[4:12].strip() for line in rows] == [
        *("root", "├ 0000", "│ └ beef", "├ 0001", "│ └ beef", "└ 0002", "└ beef"),
        "+ 34 mor",
    ]


# ---- what tells a person how the work goes


def test_text_before_a_tool_call_stays(run: WatchedRun) -> None:
    run.reply(text="I look at the tests first. " * 10)
    assert run.lines[0].startswith("  I look at the tests first. I look")
    assert len(run.lines) == 2
    assert run.lines[1].endswith("…")
    assert max(map(len, run.lines)) <= 90
    run(Replied(Reply(assistant({"role": "assistant", "content": "The answer."}), USAGE)))
    assert len(run.lines) == 2, "the answer is printed somewhere else"


def test_a_command_and_tests_that_failed_get_no_tick(run: WatchedRun) -> None:
    run.reply()
    run.cell("!ls nowhere", text="ls: cannot access 'nowhere'\n[exit code: 2]\n")
    run.cell("!pytest | tail -1", text="1 failed, 2 passed in 0.03s\n")
    run.cell("1 + 1", text="2")
    assert [line.split()[-3:-1] for line in run.lines] == [["2", "0.4"], ["failed", "0.4"], ["✓", "0.4"]]
    assert "ls: cannot access 'nowhere'" in run.lines[0]
    assert "✓" not in "".join(run.lines[:2])


def test_a_problem_that_does_not_fit_beside_the_title_is_below_it(run: WatchedRun) -> None:
    run.reply()
    run.cell("json.loads(text, object_hook=hook)", text="Traceback\nValueError: " + "it is wrong " * 12, ok=False)
    head, *rest = run.lines
    assert head == "  [1] ipython  json.loads(text, object_hook=hook)                                ✗   0.4 s"
    assert len(rest) == 2
    assert rest[0].startswith("      ValueError: it is wrong")


def test_pictures_and_tables_are_mentioned(run: WatchedRun) -> None:
    run.reply()
    run(CallStarted(call("plot()")), Displayed("out/plot.png"), Displayed(rows=5, columns=3))
    run(CallEnded(ToolResult(call("plot()"), "")))
    assert run.lines[1] == "      → out/plot.png · table 5 × 3"
    run.cell("1")
    assert len(run.lines) == 3, "the next cell shows no picture or table"


def test_tokens_are_counted_while_the_model_writes(run: WatchedRun) -> None:
    run(RequestStarted(), Writing("reasoning", 1248))
    assert "reasoning · ~312 tokens" in run.rows()[0]
    run(Writing("call", 900, 41))
    run.later(3)
    assert "writing cell · 41 lines · 3.0 s" in run.rows()[0]
    run.reply()
    assert "thinking" in run.rows()[0]
    run(Throttled(waits=True))
    assert "the provider limits concurrent requests" in run.rows()[0]
    run(Throttled(waits=False))
    assert "thinking" in run.rows()[0]


def test_queued_agents_are_shown_and_waiting_agents_do_not_count_as_running(run: WatchedRun) -> None:
    run.reply()
    run(CallStarted(call("await gather(…)")), Queued(3))
    assert "0 of 3 done, 3 queued" in run.rows()[0]
    assert run.root.state is AgentState.WAITING
    first = run.start("sub-1a2b3c4d", "one")
    run.start("sub-5e6f7a8b", "two")
    run(Queued(1))
    run(CallStarted(call("await gather(…)")), Queued(2), agent=first)
    assert "0 of 3 done, 1 running, 1 waiting, 1 queued" in run.rows()[0]


def test_each_of_many_agents_gets_one_line(run: WatchedRun) -> None:
    paths = [run.start(f"sub-{number:08x}", f"task {number}") for number in range(MANY + 1)]
    for path in paths:
        run.reply(path, text="I begin.")
        run.cell("1/0", path, text="ZeroDivisionError", ok=False)
        run(Retried("503", 1, 10.0), agent=path)
        run.end(path)
    assert len(run.lines) == len(paths)
    run(Failed("no space left"), agent=run.start("sub-ffffffff", "last"))
    assert "no space left" in run.lines[-1], "a failure is shown all the same"


def test_most_agents_may_be_in_the_queue(run: WatchedRun) -> None:
    path = run.start("sub-00000001", "task")
    run(Queued(MANY))
    run.reply(path)
    run.cell("1/0", path, text="ZeroDivisionError", ok=False)
    run.end(path)
    assert len(run.lines) == 1


def test_verbose_shows_code_and_the_end_of_the_output(run: WatchedRun) -> None:
    run.verbose = True
    run.reply()
    run.cell("import os\nos.getcwd()", text="\n".join(f"line {number}" for number in range(200)))
    assert run.lines[:3] == ["  [1] ipython", "    │ import os", "    │ os.getcwd()"]
    assert run.lines[3] == "      … the beginning is in `rlm show`"
    assert run.lines[-2] == "      line 199"
    assert len(run.lines) == 5 + OUTPUT


def test_a_diff_is_mentioned(run: WatchedRun) -> None:
    run.reply()
    run.cell("!git diff", text="--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n same\n-old\n+new\n")
    run.cell("print('no diff')", text="- one\n+ two\n")
    assert [line.strip() for line in run.lines][1] == "diff: 1 file +1 −1"
    assert len(run.lines) == 3


def test_a_retry_without_a_pause_does_not_say_0_ms(run: WatchedRun) -> None:
    run(Retried("503 overloaded", 1, 0.0))
    assert run.lines == ["  retry at once: 503 overloaded"]
    assert "0 ms: " not in run.rows()[0]


def test_the_stop_of_a_sub_agent_is_described_in_words(run: WatchedRun) -> None:
    run.end(run.start("sub-1a2b3c4d", "Count"), Stop.CANCELLED)
    assert run.lines[0].split()[:3] == ["1a2b", "Count", "interrupted"]
