"""behaviour.md, `--json` and the SDK; and the effect of --deltas, -q and colours on stdout and stderr."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest
from rlm_testkit import law
from rlm_testkit.cli import Done, Json, Rlm
from rlm_testkit.scripted import Scripted, call, calls, error, text

Make = Callable[[Scripted], Rlm]

FIELDS = {
    "type",
    "agent",
    "ts",
    "status",
    "stop_reason",
    "answer",
    "usage",
    "usage_by_agent",
    "turns",
    "agents",
    "duration",
    "session_id",
    "session_dir",
    "exit_code",
}
"""The fields of every `result`; there may also be an `error`."""


def ending(done: Done) -> Json:
    """Return the last line. Check that it agrees with the end of the command."""
    last = done.lines[-1]
    assert "result" == last["type"]
    assert set(last) - {"error"} == FIELDS
    assert done.code == last["exit_code"]
    return last


def test_lines_are_the_journal_and_what_happens_between(rlm: Make) -> None:
    turn = calls(("ipython", {"code": "print('hi')"}), content="Let me look.")
    with Scripted(turn, text("end")) as server:
        done = rlm(server)("--json", "go")
    law.check(done.session, server)
    last = ending(done)
    session, *lines = done.lines
    assert "session" == session["type"]
    assert done.session.meta["session_id"] == session["session_id"] == last["session_id"]
    assert str(done.session.folder) == session["session_dir"] == last["session_dir"]
    assert done.session.unsigned[:-1] == [without(line, "agent") for line in lines if "id" in line]
    assert {"root"} == {line["agent"] for line in done.lines}
    between = [line["type"] for line in lines if "id" not in line]
    assert ["cell_start", "cell_output", "cell_end", "result"] == between
    started, printed, ended = (line for line in lines if line["type"].startswith("cell_"))
    assert ("ipython", {"code": "print('hi')"}) == (started["tool"], json.loads(started["arguments"]))
    assert "hi\n" == printed["text"]
    assert (True, "ipython") == (ended["ok"], ended["tool"])
    assert started["call_id"] == printed["call_id"] == ended["call_id"]
    assert ("done", "done", "end", 2, 1) == tuple(
        last[name] for name in ("status", "stop_reason", "answer", "turns", "agents")
    )
    assert {"root": last["usage"]} == last["usage_by_agent"]
    assert (200, 20) == (last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"])
    assert last["duration"] > 0
    assert "hi" not in done.out.splitlines()[-1]
    assert done.err.startswith("rlm · "), "stderr still has the lines for people"


def without(record: Json, name: str) -> Json:
    return {key: value for key, value in record.items() if key != name}


def test_streamed_text_is_reported_only_with_deltas(without_tools: Make) -> None:
    words = "a text that comes in more than one piece, for it is longer than twenty letters"
    with Scripted(text(words), text(words)) as server:
        plain = without_tools(server)("--json", "go")
        streamed = without_tools(server)("--json", "--deltas", "go")
    assert [] == [line for line in plain.lines if line["type"] == "delta"]
    deltas = [line["text"] for line in streamed.lines if line["type"] == "delta"]
    assert len(deltas) > 1
    assert words == "".join(deltas)
    assert [False, True] == [request.streamed for request in server.requests]
    assert words == streamed.lines[-1]["answer"] == plain.lines[-1]["answer"]


def test_a_partial_answer_is_reported_as_one(rlm: Make) -> None:
    with Scripted(calls(("ipython", {"code": "1"}), content="So far.")) as server:
        last = ending(rlm(server)("--json", "go", RLM_MAX_TURNS="1"))
    assert (3, "limit", "max_turns", "So far.") == tuple(
        last[name] for name in ("exit_code", "status", "stop_reason", "answer")
    )


def test_an_error_of_the_provider_is_reported_in_the_last_line(without_tools: Make) -> None:
    with Scripted(error(400, "no such thing")) as server:
        done = without_tools(server)("--json", "go")
    last = ending(done)
    assert (1, "error", "400 Bad Request: no such thing.") == (last["exit_code"], last["status"], last["error"])
    assert done.session.meta["session_id"] == last["session_id"]


@pytest.mark.parametrize(
    ("words", "env", "code"),
    [
        (("--json", "go"), {}, 4),
        (("go",), {"RLM_JSON": "on"}, 4),
        (("--json", "--max-turns", "0", "go"), {}, 2),
        (("--json", "go"), {"RLM_TOOLS": "python"}, 2),
        (("--json", "--no-such-flag", "go"), {}, 2),
        (("--json", "two", "words"), {}, 2),
        (("--json", "-"), {}, 2),
        (("--json", "go", "-o", "no/such/folder/file"), {"RLM_BASE_URL": "http://127.0.0.1:9/v1"}, 2),
        (("--json", "go", "--sandbox", "docker"), {}, 2),
        (("resume", "--json", "0123456789ab"), {"RLM_BASE_URL": "http://127.0.0.1:9/v1"}, 1),
    ],
)
def test_an_error_without_a_session_is_reported_in_the_only_line(
    alone: Rlm, words: tuple[str, ...], env: dict[str, str], code: int
) -> None:
    done = alone(*words, **env)
    last = ending(done)
    assert [last] == done.lines
    assert (code, "error", None) == (last["exit_code"], last["status"], last["session_id"])
    assert done.err == f"rlm: {last['error']}\n"


def test_an_interrupted_run_ends_with_its_result(without_tools: Make) -> None:
    with Scripted(text("never").after(600)) as server:
        command = without_tools(server)
        process = command.start("--json", "go")
        server.wait(lambda s: s.requests)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    last = ending(Done(process.returncode, out.decode(), err.decode(), command.cwd))
    assert (143, "cancelled", "cancelled") == (last["exit_code"], last["status"], last["stop_reason"])


def test_quiet_leaves_nothing_but_the_answer_and_errors(rlm: Make) -> None:
    with Scripted(call("ipython", code="1/0"), error(503, "Overloaded"), text("ok"), error(400, "no")) as server:
        good = rlm(server)("-q", "go")
        bad = rlm(server)("-q", "go")
    assert (0, "ok\n", "") == (good.code, good.out, good.err)
    assert (1, "", "rlm: 400 Bad Request: no.\n") == (bad.code, bad.out, bad.err)


def test_colours_where_they_are_asked_for(without_tools: Make) -> None:
    with Scripted(*[text("ok")] * 3) as server:
        command = without_tools(server)
        always = command("--color", "always", "go")
        never = command("--color", "always", "go", RLM_COLOR="never")
        none = command("go", NO_COLOR="1")
    assert "\x1b[" in always.err
    assert "\x1b[" in never.err, "the flag wins"
    assert "\x1b" not in none.err
    assert "\x1b" not in always.out
