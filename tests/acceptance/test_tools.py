"""behaviour.md, The model's tools: the results of its calls. test_shell_and_files.py has bash and edit."""

from __future__ import annotations

import base64
import json
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from rlm_testkit import law
from rlm_testkit.cli import BY_RESPONSES, Done, Rlm
from rlm_testkit.leftovers import processes
from rlm_testkit.scripted import Answer, Request, Scripted, call, calls, message, text, tool_call
from rlm_testkit.waiting import until

Make = Callable[[Scripted], Rlm]

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
PICTURE = f"from IPython.display import Image, display\nimport base64\ndisplay(Image(base64.b64decode('{PIXEL}')))"


def play(rlm: Make, *answers: Answer, **env: str) -> tuple[Done, Scripted]:
    """A run with these answers that ends with an answer, and whose journal obeys the law."""
    with Scripted(*answers, text("end")) as server:
        done = rlm(server)("go", **env)
    assert (0, "end\n") == (done.code, done.out), done.err
    law.check(done.session, server)
    return done, server


def cells(rlm: Make, *codes: str, **env: str) -> list[str]:
    """The results of these cells, each in a separate turn."""
    done, _ = play(rlm, *(call("ipython", code=code) for code in codes), **env)
    return done.session.results


# ---- ipython: what a cell shows. One run for all.

EXPECTED_OUTPUTS = {
    "stdout and stderr in order, then the last value": (
        "import sys\nprint('out')\nprint('err', file=sys.stderr)\nprint('out again')\n6 * 7",
        "out\nerr\nout again\n42\n",
    ),
    "a cell that prints nothing says so": ("x = 1", "[no output]"),
    "variables stay": ("x", "1\n"),
    "a value is shown, None is not": ("None", "[no output]"),
    "displays": (
        "from IPython.display import HTML, Markdown, display\ndisplay({'a': 1}, HTML('<b>b</b>'), Markdown('# c'))",
        "{'a': 1}\nb\n# c\n",
    ),
    "colour codes are removed": ("print('\\x1b[31mred\\x1b[0m')", "red\n"),
    "repaints are removed": ("for i in range(3): print(f'\\r{i}0%', end='')\nprint()", "20%\n"),
    "a command": ("!echo hi", "hi\n"),
    "a command that fails tells its exit code": ("!echo hi; exit 3", "hi\n[exit code: 3]\n"),
    "a silent command that fails tells its exit code": ("!false", "[exit code: 1]\n"),
    "an exit code is not reported twice": ("1", "1\n"),
    "a script that fails tells its exit code": ("%%bash\necho a\nfalse || exit 7", "a\n[exit code: 7]\n"),
    "a command has no stdin to wait for": ("!cat; read line; echo over", "over\n"),
    "background processes of a command do not block": ("!sleep 1000 & echo on", "on\n"),
    "output that bypasses Python": (
        "import os\nos.system('echo system'); os.write(1, b'raw\\n'); None",
        "system\nraw\n",
    ),
    "top-level await": ("import asyncio\nawait asyncio.sleep(0, 'slept')", "'slept'\n"),
    "asyncio.run, as in a script": ("asyncio.run(asyncio.sleep(0, 'ran'))", "'ran'\n"),
    "a cell that closes stdout": ("import sys\nsys.stdout.close()", "[no output]"),
    "is repaired for the next": ("print('open')", "open\n"),
    "a reset takes the user's names": ("%reset -f", "[no output]"),
    "but not rlm's": ("'x' in globals(), 'rlm' in globals()", "(False, True)\n"),
    "a lone surrogate": ("print('a\\ud83db')", "a\ufffdb\n"),
    "bytes that are not text": ("import os\nos.write(1, b'a\\xffb\\n'); None", "a\ufffdb\n"),
    "2,000 flushed lines": (
        "for i in range(2_000): print(i, flush=True)",
        "".join(f"{i}\n" for i in range(2_000)),
    ),
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The result of each of `EXPECTED_OUTPUTS`, in one kernel."""
    folder = tmp_path_factory.mktemp("shown")
    with Scripted(*(call("ipython", code=code) for code, _ in EXPECTED_OUTPUTS.values()), text("end")) as server:
        done = Rlm(folder, {"RLM_BASE_URL": server.url, "RLM_MAX_TURNS": "99"})("go")
    law.check(done.session, server)
    return dict(zip(EXPECTED_OUTPUTS, done.session.results, strict=True))


@pytest.mark.parametrize("sentence", EXPECTED_OUTPUTS)
def test_each_cell_shows_what_the_table_says(shown: dict[str, str], sentence: str) -> None:
    assert EXPECTED_OUTPUTS[sentence][1] == shown[sentence]


def test_an_error_shows_its_traceback_and_help_its_page(rlm: Make) -> None:
    error, _, page, syntax, asked = cells(
        rlm,
        "def f(x):\n    return 1 / x\n\nf(0)",
        "def g(x):\n    'Doubles.'\n    return 2 * x",
        "g?",
        "this is no python",
        "input('name? ')",
    )
    assert error.startswith("-----")
    assert "----> 4 f(0)" in error
    assert error.endswith("ZeroDivisionError: division by zero\n")
    assert "Signature: g(x)\nDocstring: Doubles.\n" in page
    assert "SyntaxError: invalid syntax" in syntax
    assert "input() cannot work here: nobody can answer." in asked, "input fails at once"


def test_the_journal_says_which_calls_failed(rlm: Make) -> None:
    done, _ = play(rlm, call("ipython", code="1/0"), call("ipython", code="1"), call("python", code="1"))
    reported = [(record["tool"], record["ok"]) for record in done.session.records if "tool" in record]
    assert [("ipython", False), ("ipython", True), ("python", False)] == reported


def test_late_output_of_a_thread_is_put_before_the_next_result(rlm: Make, tmp_path: Path) -> None:
    """The thread may print when the cell has ended; the next cell comes when it has printed."""
    go, gone = tmp_path / "go", tmp_path / "gone"
    cell = (
        "import threading, time, pathlib\ndef late():\n"
        f"    while not pathlib.Path('{go}').exists(): time.sleep(0.01)\n"
        f"    print('late', flush=True)\n    pathlib.Path('{gone}').touch()\n"
        "threading.Thread(target=late).start()\nprint('first')"
    )

    def script(request: Request) -> Answer:
        if request.turn == 1:
            go.touch()
            until(gone.exists)
        return (call("ipython", code=cell), call("ipython", code="print('second')"), text("end"))[request.turn]

    with Scripted(script) as server:
        done = rlm(server)("go")
    law.check(done.session, server)
    first, second = done.session.results
    assert "first\n" == first
    assert "[output since the last cell]\nlate\n[this cell]\nsecond\n" == second


# ---- ipython: pictures


def test_a_picture_is_saved_and_its_path_reported(rlm: Make) -> None:
    done, server = play(rlm, call("ipython", code=PICTURE))
    path = Path(done.session.results[0].partition("[picture: ")[2].partition("]")[0])
    assert done.session.folder / "outputs" == path.parent
    assert base64.b64decode(PIXEL) == path.read_bytes()
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert ["system", "user", "assistant", "tool"] == [message["role"] for message in server.requests[-1].messages]


def test_pictures_are_sent_after_all_results_of_the_turn_when_switched_on(rlm: Make) -> None:
    turn = calls(("ipython", {"code": PICTURE}), ("ipython", {"code": "'no picture'"}))
    done, server = play(rlm, turn, RLM_IMAGES="on")
    assert "[picture: " in done.session.results[0]
    *_, first, second, shown = server.requests[-1].messages
    assert ["tool", "tool", "user"] == [first["role"], second["role"], shown["role"]]
    assert [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}] == shown["content"]


# ---- ipython: what ends badly


def test_a_timeout_interrupts_and_keeps_kernel_variables_and_what_was_printed(rlm: Make) -> None:
    busy, awaiting, kept = cells(
        rlm,
        "x = 1\nprint('before')\nwhile True: pass",
        "import asyncio\ny = 2\nprint('before')\nawait asyncio.sleep(1000)",
        "print(x, y)",
        RLM_EXEC_TIMEOUT="3",
    )
    for result in (busy, awaiting):
        assert result.startswith("before\n")
        assert result.endswith("[timed out after 3 s: interrupted; the kernel and its variables are kept]")
    assert "1 2\n" == kept


def test_only_a_cell_that_ignores_the_interrupt_loses_the_kernel_and_lost_names_are_reported(rlm: Make) -> None:
    deaf = (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('before')\n"
        "while True:\n    try:\n        time.sleep(1000)\n    except BaseException: pass"
    )
    done, _ = play(
        rlm,
        call("ipython", code="first, second = 1, 2"),
        call("ipython", code=deaf),
        call("ipython", code="print('alive', 'first' in globals())"),
        RLM_EXEC_TIMEOUT="3",
    )
    _, killed, after = done.session.results
    assert killed.startswith("before\n")
    assert "ignored the interrupt, so the kernel was killed. A fresh kernel is ready. Lost: first, second" in killed
    assert "alive False\n" == after
    (record,) = [record for record in done.session.records if record["type"] == "kernel"]
    assert {"first", "second"} <= set(record["lost"])
    assert "ignored the interrupt" in record["why"]
    assert "kernel restarted: timed out after 3 s and ignored the interrupt" in done.err


DEATHS = [
    ("import os\nos._exit(3)", "its process exited with code 3"),
    ("import os\nos.kill(os.getpid(), 9)", "it was killed by SIGKILL, as the system does when memory runs out"),
    ("import ctypes\nctypes.string_at(0)", "it crashed with SIGSEGV"),
    ("exit()", "the cell called exit()"),
    ("quit()", "the cell called exit()"),
]


def test_a_kernel_that_dies_is_reported_with_the_reason_and_a_fresh_one_is_ready(rlm: Make, tmp_path: Path) -> None:
    """The cell is never run again."""
    ran = tmp_path / "ran"
    note = f"open('{ran}', 'a').write('x')\nprint('last words')\n"
    results = cells(rlm, *(code for death, _ in DEATHS for code in ("name = 1", note + death)), "name")
    for (death, reason), result in zip(DEATHS, results[1::2], strict=False):
        assert result.startswith("last words\n"), death
        assert reason in result
        assert "A fresh kernel is ready. Lost: name" in result
    assert ["[no output]"] * len(DEATHS) == results[:-1:2], "the next cell has a kernel"
    assert "NameError" in results[-1]
    assert "x" * len(DEATHS) == ran.read_text()


def test_all_output_of_a_cell_before_the_death_of_its_kernel_is_kept(rlm: Make) -> None:
    """Also directly before, although the thread that sends the output dies with the kernel."""
    lines = "".join(f"{n}\n" for n in range(2_000))
    deaths = ["os._exit(3)", "os.kill(os.getpid(), 9)"]
    results = cells(rlm, *(f"import os\nfor n in range(2_000): print(n)\n{death}" for death in deaths))
    assert [lines] * 2 == [result[: len(lines)] for result in results]
    assert all(result[len(lines) :].startswith("[the kernel died: ") for result in results)


def test_a_kernel_that_dies_between_two_cells_is_reported_with_the_next(rlm: Make, tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    def script(request: Request) -> Answer:
        if request.turn == 1:
            os.kill(int(pid.read_text()), signal.SIGKILL)
            (journal,) = (tmp_path / "work/.rlm/sessions").glob("*/messages.jsonl")
            until(lambda: '"type": "kernel"' in journal.read_text())
        cells_ = [f"import os\nname = 1\nopen('{pid}', 'w').write(str(os.getpid())); None", "print('next')"]
        return call("ipython", code=cells_[request.turn]) if request.turn < 2 else text("end")

    with Scripted(script) as server:
        done = rlm(server)("go")
    law.check(done.session, server)
    reported = done.session.results[1]
    assert "the kernel died after the last cell: it was killed by SIGKILL" in reported
    assert "Lost: name, os" in reported
    assert reported.endswith("next\n")


def test_a_call_may_take_longer_than_the_default_or_less(rlm: Make) -> None:
    done, server = play(
        rlm,
        call("ipython", code="import time\ntime.sleep(2)\nprint('slept')", timeout=100),
        call("ipython", code="time.sleep(1000)", timeout=0.5),
        call("ipython", code="1", timeout="soon"),
        RLM_EXEC_TIMEOUT="1",
    )
    longer, shorter, wrong = done.session.results
    assert "slept\n" == longer
    assert "[timed out after 0.5 s" in shorter
    assert "'timeout' must be of type number" in wrong
    assert "at most 600" in json.dumps(server.requests[0].body["tools"])


def test_the_limit_of_a_call_is_that_of_the_setting_where_it_is_larger(rlm: Make) -> None:
    _, server = play(rlm, RLM_EXEC_TIMEOUT="7200")
    assert "at most 7200" in json.dumps(server.requests[0].body["tools"])


# ---- ipython: much output, and few turns


def test_a_long_result_is_head_and_tail_and_the_whole_is_kept(rlm: Make) -> None:
    done, _ = play(rlm, call("ipython", code="print('a' * 300 + 'z' * 300)"), RLM_MAX_OUTPUT="100")
    path = done.session.folder / "outputs" / "cell-1.txt"
    assert "a" * 300 + "z" * 300 + "\n" == path.read_text()
    expected = f"{'a' * 50}\n[… 501 characters left out; the full text is in {path} …]\n{'z' * 49}\n"
    assert expected == done.session.results[0]


def test_above_ten_million_characters_it_is_head_and_tail_whatever_the_setting(rlm: Make) -> None:
    done, _ = play(rlm, call("ipython", code="print('ab' * 6_000_000)"))
    (result,) = done.session.results
    assert 10_000_000 < len(result) < 10_001_000
    assert "2,000,001 characters left out; the full text is in " in result
    assert 12_000_001 == (done.session.folder / "outputs" / "cell-1.txt").stat().st_size


def test_stored_outputs_of_a_run_take_a_bounded_part_of_the_disk(rlm: Make) -> None:
    """Also without a sandbox, and for every tool."""
    picture = "from IPython.display import display\ndisplay({'image/png': 'A' * 1_600_000}, raw=True)"
    done, _ = play(
        rlm,
        call("ipython", code="print('x' * 1_200_000)"),
        call("bash", command="head -c 1200000 /dev/zero | tr '\\0' x"),
        call("ipython", code="raise ValueError('\\n' * 1_200_000)"),
        call("ipython", code=picture),
        call("ipython", code="print('y' * 700_000)"),
        call("ipython", code="print('z' * 700_000)"),
        RLM_TOOLS="ipython,bash",
        RLM_MAX_OUTPUT="1000",
        RLM_SANDBOX_FILE_SIZE="1",
    )
    first, second, third, fourth, fits, last = done.session.results
    for result in (first, second, third, fourth):
        assert "the limit of a file is 1,000,000 bytes" in result
    assert "the full text is in" in fits
    assert "the limit of all outputs together is 1,000,000 bytes" in last
    kept = sum(path.stat().st_size for path in (done.session.folder / "outputs").iterdir())
    assert 700_000 <= kept <= 1_000_000


def test_the_context_contains_a_limited_number_of_turns_and_results_report_it(rlm: Make) -> None:
    done, server = play(rlm, *(call("ipython", code=f"print({n})") for n in range(4)), RLM_MAX_TURNS_IN_CONTEXT="2")
    assert [f"{n}\n[context turns: {min(n + 1, 2)}/2]" for n in range(4)] == done.session.results
    last = server.requests[-1].messages
    assert ["system", "user", "assistant", "tool", "assistant", "tool"] == [message["role"] for message in last]
    assert {"role": "user", "content": "go"} == last[1]
    assert last[3]["content"].startswith("2\n")


# ---- summarize


def test_summarize_drops_the_oldest_turns_and_returns_all_summaries(rlm: Make) -> None:
    done, server = play(
        rlm,
        *(call("bash", command=f"echo {n}") for n in (1, 2, 3)),
        call("summarize", num_turns=2, summary="the first two"),
        call("summarize", num_turns=2, summary="the third and a summary"),
        RLM_TOOLS="bash,summarize",
    )
    assert "[turns 1-2] the first two" == done.session.results[3]
    assert "[turns 1-2] the first two\n[turns 3-4] the third and a summary" == done.session.results[4]
    contents = [message["content"] for message in server.requests[-1].messages if message["role"] == "tool"]
    assert [done.session.results[4]] == contents
    assert "go" == server.requests[-1].messages[1]["content"]
    assert "context compacted: turns 1-2 summarised" in done.err


def test_a_bad_number_of_turns_drops_nothing(rlm: Make) -> None:
    """The calling turn cannot be dropped."""
    bad = [("summarize", {"num_turns": number, "summary": "s"}) for number in (0, -1, 2, 99)]
    done, server = play(rlm, call("bash", command="echo 1"), calls(*bad), RLM_TOOLS="bash,summarize")
    assert ["[no-op] num_turns must be 1 to 1; nothing was dropped."] * 4 == done.session.results[1:]
    assert 5 + 4 == len(server.requests[-1].messages)


def test_summarize_can_restart_the_kernel(rlm: Make) -> None:
    done, _ = play(
        rlm,
        call("ipython", code="x = 1"),
        call("summarize", num_turns=1, summary="x was 1", flush_repl_state=True),
        call("ipython", code="'x' in globals()"),
    )
    assert "False\n" == done.session.results[-1]
    (record,) = [record for record in done.session.records if record["type"] == "kernel"]
    assert ["x"] == record["lost"]


def test_without_ipython_there_is_no_kernel_to_restart(rlm: Make) -> None:
    done, server = play(
        rlm, call("summarize", num_turns=1, summary="s", flush_repl_state=True), RLM_TOOLS="summarize,bash"
    )
    assert "flush_repl_state" not in json.dumps(server.requests[0].body["tools"])
    assert "unknown argument 'flush_repl_state'" in done.session.results[0]


# ---- any tool


@pytest.mark.parametrize("tools", ["", "bash,edit", "summarize"])
def test_without_ipython_no_kernel_is_started(rlm: Make, tools: str) -> None:
    running: list[list[str]] = []

    def script(request: Request) -> Answer:
        running.append([" ".join(process.cmdline()) for process in processes(rlm_command)])
        return text("end") if request.turn else call("bash", command="true")

    with Scripted(script) as server:
        rlm_command = rlm(server)
        assert 0 == rlm_command("go", RLM_TOOLS=tools).code
    assert 2 == len(running)
    assert not [command for commands in running for command in commands if "rlm.inside" in command]


def test_several_calls_in_a_turn_run_in_order_and_each_gets_its_result(rlm: Make) -> None:
    """Calls without ids, or with equal ones, are distinguished. A message is sent back unchanged: with its reasoning,
    and without text beside the call.
    """
    three = (("ipython", {"code": f"n = {code}; n"}) for code in ("1", "n + 1", "n + 1"))
    turn = calls(*three, content=None, reasoning_content="hm", vendor={"a": [1]})
    twice = [tool_call("ipython", {"code": code}, "same") for code in ("4", "5")]
    nameless = [tool_call("ipython", {"code": code}, None) for code in ("6", "7")]
    more = [message({"content": None, "tool_calls": each}, "tool_calls") for each in (twice, nameless)]
    done, server = play(rlm, turn, *more)
    assert [f"{n}\n" for n in range(1, 8)] == done.session.results
    asked, *answered = server.requests[1].messages[2:]
    assert [wanted["id"] for wanted in asked["tool_calls"]] == [message["tool_call_id"] for message in answered]
    assert ("hm", None) == (asked["reasoning_content"], asked["content"])
    if not BY_RESPONSES:  # its items have no such field; the server checks that all of an item is sent back
        assert {"a": [1]} == asked["vendor"]
    for turn_of_two in [m for m in server.requests[-1].messages if m["role"] == "assistant"][1:]:
        assert 2 == len({wanted["id"] for wanted in turn_of_two["tool_calls"]})


WRONG = [
    ("python", {"code": "1"}, "There is no tool 'python'. The tools are: ipython, summarize."),
    ("bash", {"command": "ls"}, "There is no tool 'bash'. The tools are: ipython, summarize."),
    *(("ipython", written, "must be one JSON object") for written in ("null", "42", "[]", '"s"')),
    ("ipython", '{"code": "1"}{"code": "2"}', "are not JSON"),
    ("ipython", '{"code": "1', "are not JSON"),
    ("ipython", "", "the argument 'code' is missing"),
    ("ipython", {"cod": "1"}, "unknown argument 'cod', did you mean 'code'?"),
    ("ipython", {"code": 1}, "'code' must be of type string, not int"),
    ("summarize", {"num_turns": True, "summary": "s"}, "'num_turns' must be of type integer, not bool"),
]


def test_an_invalid_call_gets_a_result_with_the_right_form_and_the_run_continues(rlm: Make) -> None:
    done, _ = play(rlm, calls(*((name, written) for name, written, _ in WRONG), ("ipython", {"code": "'right'"})))
    *wrong, right = done.session.results
    for (name, written, says), result in zip(WRONG, wrong, strict=True):
        assert says in result, (name, written)
        assert "The tools are" in result or f"It takes {name}(" in result
    assert "'right'\n" == right
