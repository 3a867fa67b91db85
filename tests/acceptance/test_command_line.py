"""behaviour.md, Commands and Configuration: what the command accepts, prints and refuses."""

from __future__ import annotations

import io
import os
import pty
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rlm_testkit.cli import COMMAND, Rlm, Session
from rlm_testkit.scripted import Scripted, always, call, text
from rlm_testkit.waiting import TIMEOUT

Make = Callable[[Scripted], Rlm]


def test_the_task_is_sent_unchanged_and_the_answer_with_one_newline_is_all_of_stdout(without_tools: Make) -> None:
    """The answer is also written to a file. An empty value means unset, except for tools, where it means none."""
    task = '  Ünicode, "quotes" and\nlines '
    unset = {"RLM_MAX_TURNS": "", "RLM_MAX_OUTPUT": " ", "RLM_SYSTEM_PROMPT_PATH": ""}
    with Scripted(text("forty-two")) as server:
        done = without_tools(server)(
            "-o", "answer.txt", task, RLM_MODEL_PARAMS='{"temperature": 0.5, "reasoning_effort": "low"}', **unset
        )
    assert (0, "forty-two\n") == (done.code, done.out)
    assert "forty-two\n" == (done.cwd / "answer.txt").read_text()
    body = server.requests[0].body
    assert {"role": "user", "content": task} == server.requests[0].messages[-1]
    assert (0.5, "low") == (body["temperature"], body["reasoning_effort"])
    assert "tools" not in body


@pytest.mark.parametrize(
    "words", [("--model", "flagged", "go"), ("go", "--model", "flagged"), ("--model=flagged", "go")]
)
def test_flags_may_be_before_or_after_the_task_and_win_over_variables(
    without_tools: Make, words: tuple[str, ...]
) -> None:
    with Scripted(text("ok")) as server:
        assert 0 == without_tools(server)(*words, RLM_MODEL="variable").code
    (request,) = server.requests
    assert ("flagged", "go") == (request.body["model"], request.messages[-1]["content"])


def test_help_names_every_flag_and_its_variable(alone: Rlm) -> None:
    done = alone("--help")
    assert 0 == done.code
    for flag, variable in [("--max-turns", "RLM_MAX_TURNS"), ("--tools", "RLM_TOOLS"), ("--home", "RLM_HOME")]:
        assert flag in done.out
        assert variable in done.out


def test_the_version_is_printed(alone: Rlm) -> None:
    assert alone("--version").out.startswith("rlm 0.")


def test_without_a_task_on_a_terminal_a_short_help_and_2(alone: Rlm) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run([COMMAND], stdin=theirs, env=alone.env(), cwd=alone.cwd, capture_output=True, check=False)
    os.close(ours)
    os.close(theirs)
    assert 2 == done.returncode
    assert b"" == done.stdout
    assert b"usage: rlm" in done.stderr


@pytest.mark.parametrize("task", ["ls", "--", "-q is broken", "resume 12ab"])
def test_after_two_dashes_all_is_the_task(without_tools: Make, task: str) -> None:
    with Scripted(text("ok")) as server:
        assert 0 == without_tools(server)("--max-turns", "3", "--tools", "", "--", task).code
    assert task == server.requests[0].task


def test_after_two_dashes_a_task_needs_no_quotes(without_tools: Make) -> None:
    with Scripted(text("ok")) as server:
        assert 0 == without_tools(server)("--", "fix", "the", "--json", "flag").code
    assert "fix the --json flag" == server.requests[0].task


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lst",), "did you mean `rlm ls`? As a task: `rlm -- lst`"),
        (("exprot",), "did you mean `rlm export`? As a task: `rlm -- exprot`"),
        (("sl",), "did you mean `rlm ls`?"),
        (("--json", "Resum", "7f3a"), "did you mean `rlm resume 7f3a`? As a task: `rlm -- Resum 7f3a`"),
        (("ls", "--sandbox"), "--sandbox is not a flag of `rlm ls`"),
        (("--max-turns", "3", "show"), "--max-turns is not a flag of `rlm show`"),
        (("go", "--fork"), "--fork is not a flag of a task"),
        (("demo", "--home", "x"), "--home is not a flag of `rlm demo`"),
        (("ls", "more"), "rlm ls accepts no words, not: more"),
        (("show", "a", "b"), "rlm show accepts [ID], not: a b"),
        (("resume", "7f3a", "go", "on"), 'resume accepts [ID] ["more"], not: 7f3a go on'),
        (("export", "--format", "pdf"), "--format takes one of html, ipynb, chat, atif"),
        (("go", "--max-turns", "--json"), "--max-turns needs a value"),
        (("go", "--json=on"), "--json accepts no value"),
        (("-C", "nowhere", "ls"), "-C nowhere: No such file or directory"),
        (("help", "lst"), "There is no command lst"),
    ],
)
def test_invalid_words_are_refused_with_a_suggestion(alone: Rlm, words: tuple[str, ...], message: str) -> None:
    done = alone(*words)
    assert 2 == done.code
    assert message in done.err
    assert done.err.count("\n") <= 2
    assert bool(done.out) == ("--json" in words), "the JSON lines end with a result"
    assert not list(done.cwd.iterdir())


def test_the_first_word_that_is_not_a_flag_is_the_command_and_c_its_folder(without_tools: Make) -> None:
    with Scripted(always(text("ok"))) as server:
        command = without_tools(server)
        (command.cwd / "inner").mkdir()
        assert 0 == command("-qo", "answer.txt", "hello", "-C", "inner", "--home=mine").code
        session = next((command.cwd / "inner/mine/sessions").glob("[0-9a-f]*"))
        written = (command.cwd / "inner/answer.txt", {"RLM_OUTPUT": "inner/answer.txt"})
        assert "ok\n" == written[0].read_text()
        assert session.name == command("--home", "inner/mine", "ls", "--json").lines[0]["session_id"]
        exported = command("--home", "inner/mine", "export", "--format", "chat", "--", session.name[:8], **written[1])
        assert (0, "hello") == (exported.code, exported.lines[0]["messages"][1]["content"])
        assert "ok\n" == written[0].read_text(), "in a run, -o names the answer's file, not the file of an export"
        assert 0 == command("-C", "inner", "resume", "-q", session.name, "--home", "mine", "--", "--fork", "-").code
        assert command("help", "show").out == command("show", "-h").out != command("-h").out
    assert ["hello", "--fork -"] == [
        str(request.messages[-1]["content"]).splitlines()[-1] for request in server.requests
    ]
    assert str(command.cwd / "inner") in str(server.requests[0].messages[0]["content"])


@pytest.mark.parametrize(
    ("flag", "meant"), [("--max-turn=3", "--max-turns"), ("--sandbx", "--sandbox"), ("--jsn", "--json")]
)
def test_a_misspelt_flag_is_reported_with_a_suggestion(alone: Rlm, flag: str, meant: str) -> None:
    done = alone(flag, "go")
    assert (2, "") == (done.code, done.out)
    assert f"Did you mean {meant}?" in done.err


def test_an_unknown_variable_is_reported_once_and_the_run_continues(without_tools: Make) -> None:
    with Scripted(text("ok")) as server:
        done = without_tools(server)("go", RLM_MAX_TURN="3", RLM_XYZZY="1", RLM_EXTRA_UV_ARGS="-q")
    assert 1 == done.err.count("RLM_MAX_TURN is not a setting and has no effect: did you mean RLM_MAX_TURNS?")
    assert 1 == done.err.count("RLM_XYZZY is not a setting and has no effect.")
    assert "RLM_EXTRA_UV_ARGS" not in done.err


def test_a_limit_can_count_as_a_normal_end(rlm: Make) -> None:
    with Scripted(call("bash", command="echo 1"), text("never")) as server:
        done = rlm(server)("--limit-ok", "go", "--max-turns", "1", "--json", RLM_TOOLS="bash")
    assert (0, 0, "max_turns") == (done.code, done.lines[-1]["exit_code"], done.lines[-1]["stop_reason"])


def test_several_words_without_quotes_are_refused_with_the_right_form(alone: Rlm) -> None:
    done = alone("fix", "the", "tests")
    assert 2 == done.code
    assert 'rlm "fix the tests"' in done.err


def test_a_locale_of_another_encoding_changes_no_text(rlm: Make) -> None:
    """PYTHONUTF8 and PYTHONCOERCECLOCALE prevent Python from repairing the C locale, so it behaves like ISO-8859-1 or
    EUC-JP.
    """
    steps = [call("bash", command="echo 'ü€𝄞'"), call("ipython", code="!echo 'ü€𝄞'"), text("ü€𝄞")]
    with Scripted(*steps) as server:
        env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "RLM_TOOLS": "bash,ipython"}
        done = rlm(server)("grüße €", **env)
    assert (0, "ü€𝄞\n") == (done.code, done.out)
    assert "grüße €" == server.requests[0].task
    assert ["ü€𝄞\n"] * 2 == done.session.results


def test_cells_and_commands_inherit_the_settings_of_the_caller(rlm: Make) -> None:
    """umask, priority, and an environment of 500 kB with bytes that are not UTF-8; and a caller without stdin or
    stderr.
    """
    command = 'umask; nice; printf %s "$ODD" | od -An -tx1; echo ${#BIG4}; echo err >&2'
    with Scripted(call("bash", command=command), call("ipython", code=f"!{command}"), text("ok")) as server:
        rlm_command = rlm(server)
        big = {f"BIG{n}": "x" * 100_000 for n in range(5)}
        env = {
            os.fsencode(name): os.fsencode(value)
            for name, value in rlm_command.env(**big, RLM_TOOLS="bash,ipython").items()
        }
        words = ["bash", "-c", 'umask 027; exec nice -n 7 "$0" go 0<&- 2>&-', str(COMMAND)]
        subprocess.run(words, cwd=rlm_command.cwd, env={**env, b"ODD": b"\xff\xe9"}, stdout=subprocess.PIPE, check=True)
    (folder,) = (rlm_command.cwd / ".rlm/sessions").glob("[0-9a-f]*")
    priority = os.getpriority(os.PRIO_PROCESS, 0) + 7
    assert [f"0027\n{min(priority, 19)}\n ff e9\n100000\nerr\n"] * 2 == Session(folder).results


# ---- bad settings


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("RLM_MAX_TURNS", "0", "at least 1"),
        ("RLM_MAX_TURNS", "many", "whole number"),
        ("RLM_MAX_DEPTH", "-1", "at least 0"),
        ("RLM_EXEC_TIMEOUT", "soon", "seconds"),
        ("RLM_EXEC_TIMEOUT", "nan", "seconds"),
        ("RLM_MAX_OUTPUT", "0", "above 0"),
        ("RLM_MAX_TURNS_IN_CONTEXT", "1", "above 1"),
        ("RLM_MAX_TURNS_IN_CONTEXT", "0", "above 1"),
        ("RLM_MAX_TURNS_IN_CONTEXT", "-2", "above 1"),
        ("RLM_TOOLS", "ipython,python", "'python'"),
        ("RLM_MODEL_PARAMS", "[1]", "JSON object"),
        ("RLM_SANDBOX", "docker", "bwrap"),
        ("RLM_IMAGES", "maybe", "on or off"),
        ("RLM_SYSTEM_PROMPT_PATH", "nowhere.txt", "exists"),
        ("RLM_MAX_CONCURRENT_AGENTS", "0", "at least 1"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(rlm: Make, variable: str, value: str, allowed: str) -> None:
    with Scripted(text("never")) as server:
        done = rlm(server)("go", **{variable: value})
    assert (2, "") == (done.code, done.out)
    assert variable in done.err
    assert value in done.err
    assert allowed in done.err
    assert done.err.count("\n") <= 2
    assert [] == server.requests
    assert not (done.cwd / ".rlm").exists(), "invalid input is refused before anything is changed"


def test_tools_keep_their_order_and_repeats_and_blanks_do_not_matter(rlm: Make) -> None:
    with Scripted(text("ok")) as server:
        rlm(server)("go", RLM_TOOLS=" edit, bash ,edit,")
    assert ["edit", "bash"] == [tool["function"]["name"] for tool in server.requests[0].body["tools"]]


def test_an_unknown_flag_is_a_usage_error_in_one_line(alone: Rlm) -> None:
    done = alone("--colour", "go")
    assert 2 == done.code
    assert 1 == done.err.count("\n")
    assert "--colour" in done.err


# ---- credentials


def test_no_key_and_no_endpoint_is_4_and_says_what_to_set(alone: Rlm) -> None:
    done = alone("go")
    assert 4 == done.code
    assert "OPENAI_API_KEY" in done.err
    assert not (done.cwd / ".rlm").exists()


def test_the_openai_pair_is_used_when_ours_is_not_set(alone: Rlm) -> None:
    with Scripted(text("ok")) as server:
        assert 0 == alone("go", OPENAI_API_KEY="sk-pair", OPENAI_BASE_URL=server.url, RLM_TOOLS="").code
    assert "Bearer sk-pair" == server.requests[0].headers["authorization"]


def test_a_key_never_goes_to_the_other_pairs_url(alone: Rlm) -> None:
    """A local endpoint gets no key."""
    with Scripted(text("ok")) as ours, Scripted(text("ok")) as theirs:
        env = {"RLM_BASE_URL": ours.url, "OPENAI_BASE_URL": theirs.url, "OPENAI_API_KEY": "sk-theirs"}
        assert 0 == alone("go", RLM_TOOLS="", **env).code
    assert [] == theirs.requests
    assert "authorization" not in ours.requests[0].headers
    assert "sk-theirs" not in str(ours.requests[0].headers)


def test_no_environment_file_or_answer_of_a_cell_contains_the_key(alone: Rlm) -> None:
    cell = (
        "import os, glob\n"
        "print([n for n, v in os.environ.items() if 'sk-hidden' in v])\n"
        "print(open('/proc/self/cmdline').read().count('sk-hidden'), open('/proc/self/environ').read().count('sk-hidden'))"
    )
    with Scripted(call("ipython", code=cell), text("ok")) as server:
        done = alone("go", RLM_API_KEY="sk-hidden", RLM_BASE_URL=server.url)
    assert "[]\n0 0" in done.session.results[0]
    for path in (done.cwd / ".rlm").rglob("*"):
        assert path.is_dir() or "sk-hidden" not in path.read_text()


# ---- stdin


def test_a_task_may_come_from_stdin(without_tools: Make) -> None:
    with Scripted(text("ok"), text("ok")) as server:
        without_tools(server)(stdin="from a pipe")
        without_tools(server)("-", stdin="from a dash")
    assert ["from a pipe", "from a dash"] == [request.task for request in server.requests]


def test_stdin_beside_a_task_is_a_block_in_it(without_tools: Make, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("line 1\nline 2\n")
    with Scripted(text("ok")) as server, (tmp_path / "data.txt").open() as data:
        command = without_tools(server)
        done = subprocess.run(
            [COMMAND, "count"], stdin=data, env=command.env(), cwd=command.cwd, capture_output=True, check=True
        )
    assert "count\n\n<stdin>\nline 1\nline 2\n</stdin>" == server.requests[0].task
    assert b"\nstdin: 2 lines, 13 bytes\n" in done.stderr


@pytest.mark.parametrize("options", [(), ("--sandbox",)])
def test_long_stdin_beside_a_task_is_the_variable_context(rlm: Make, options: tuple[str, ...]) -> None:
    with Scripted(call("ipython", code="len(context), context[:6]"), text("ok")) as server:
        done = rlm(server)(*options, "count", stdin="line\n" * 50_000)
    assert "count" == server.requests[0].task.split("\n")[0]
    assert "<stdin>" not in server.requests[0].task
    assert "(249999, 'line\\nl')" in server.requests[1].last
    assert "\nstdin: 50000 lines, 250 kB, in the variable `context`\n" in done.err


def test_a_silent_pipe_is_reported_and_ignored(without_tools: Make) -> None:
    with Scripted(text("ok")) as server:
        command = without_tools(server)
        read, write = os.pipe()
        done = subprocess.run(
            [COMMAND, "go"], stdin=read, env=command.env(), cwd=command.cwd, capture_output=True, check=False
        )
        os.close(write)
        os.close(read)
    assert 0 == done.returncode
    assert b"continuing without it" in done.stderr
    assert "go" == server.requests[0].task


ENCODINGS = ["utf-16-be", "latin-1"]  # test_encodings.py has the others


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_task_from_stdin_and_a_context_may_be_in_another_encoding(rlm: Make, encoding: str) -> None:
    task = "Zähle die Wörter.\r\nGrüße"
    with Scripted(call("ipython", code="context"), text("ok")) as server:
        command = rlm(server)
        (command.cwd / "data.txt").write_bytes("größer\r\n".encode(encoding))
        done = command("--context", "data.txt", stdin=task.encode(encoding))
    assert (0, task) == (done.code, server.requests[0].task)
    assert ["'größer\\r\\n'\n"] == done.session.results
    assert "begins 'größer" in str(server.requests[0].messages[0]["content"])


def test_a_closed_stdin_is_ignored(without_tools: Make) -> None:
    with Scripted(text("ok")) as server:
        command = without_tools(server)
        words = ["bash", "-c", f"exec '{COMMAND}' go <&-"]
        done = subprocess.run(words, env=command.env(), cwd=command.cwd, capture_output=True, check=False)
    assert (0, b"ok\n") == (done.returncode, done.stdout)


def test_a_character_device_is_ignored(without_tools: Make) -> None:
    with Scripted(text("ok")) as server, Path("/dev/zero").open("rb") as zero:
        command = without_tools(server)
        done = subprocess.run(
            [COMMAND, "go"], stdin=zero, env=command.env(), cwd=command.cwd, capture_output=True, check=False
        )
    assert 0 == done.returncode


@pytest.mark.parametrize("words", [("",), ("-",)])
def test_an_empty_task_is_refused(alone: Rlm, words: tuple[str, ...]) -> None:
    done = alone(*words, stdin=" \n" if words == ("-",) else None)
    assert 2 == done.code
    assert "empty" in done.err


# ---- output


def test_quiet_prints_only_errors(rlm: Make) -> None:
    with Scripted(call("ipython", code="1"), text("ok")) as server:
        done = rlm(server)("-q", "go")
    assert ("ok\n", "") == (done.out, done.err)


def test_the_footer_has_counts_and_shows_how_to_continue(rlm: Make) -> None:
    """Without escape codes, because it is not a terminal."""
    with Scripted(call("ipython", code="print('\\x1b[31mred\\x1b[0m')"), text("ok")) as server:
        done = rlm(server)("go")
    last = done.err.rstrip().splitlines()[-1]
    assert "2 turns" in last
    assert "1 agent" in last
    assert f"rlm resume {done.session.meta['session_id'][:4]}" in last
    assert "\x1b" not in done.out + done.err


def test_an_output_that_cannot_be_written_is_refused_before_the_run(rlm: Make) -> None:
    with Scripted(text("never")) as server:
        done = rlm(server)("-o", "no/such/folder/answer.txt", "go")
    assert 2 == done.code
    assert [] == server.requests


def test_a_broken_pipe_is_quiet(without_tools: Make) -> None:
    with Scripted(text("x" * 200_000)) as server:
        command = without_tools(server)
        line = f"'{COMMAND}' -q go | head -c 1; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", line], env=command.env(), cwd=command.cwd, capture_output=True, check=False
        )
    assert b"" == done.stderr
    assert b"x" == done.stdout


def test_the_working_directory_cannot_shadow_our_modules(rlm: Make) -> None:
    names = ["json", "asyncio", "openai", "IPython", "zmq", "rlm", "random", "tempfile", "cloudpickle", "ipykernel"]
    with Scripted(
        call("ipython", code="import asyncio, json, mine\nprint(mine.value)\njson.dumps(1)"), text("ok")
    ) as server:
        command = rlm(server)
        for name in names:
            (command.cwd / f"{name}.py").write_text("raise SystemExit('shadowed')")
        (command.cwd / "mine.py").write_text("value = 'my own'")
        done = command("go")
    assert 0 == done.code
    assert "'1'" in done.session.results[0]
    assert "my own" in done.session.results[0]


def test_a_home_that_cannot_be_written_is_reported_with_the_solution(rlm: Make) -> None:
    with Scripted(text("never")) as server:
        command = rlm(server)
        (command.cwd / ".rlm").write_text("a file where the folder should be")
        done = command("go")
    assert done.code in (1, 2)
    assert "RLM_HOME" in done.err
    assert [] == server.requests


def test_a_refused_connection_is_75_and_retried_with_a_notice(alone: Rlm) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        process = alone.start("go", RLM_BASE_URL=f"http://127.0.0.1:{port}/v1")
        began = time.monotonic()
        assert isinstance(process.stderr, io.BufferedReader)
        output = b""
        while b"retry" not in output.lower() and time.monotonic() - began < TIMEOUT:
            output += process.stderr.read1(4096)
        process.terminate()
        process.communicate(timeout=TIMEOUT)
    assert b"retry" in output.lower()
    assert 143 == process.returncode
