"""behaviour.md, Sessions: the law of the journal, its records, meta.json, and the system prompt."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rlm_testkit import law
from rlm_testkit.cli import BY_RESPONSES, Done, Json, Rlm
from rlm_testkit.scripted import Answer, Request, Script, Scripted, call, calls, error, in_order, reset, text, usage
from rlm_testkit.watched import watched

Make = Callable[[Scripted], Rlm]

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
PICTURE = f"from IPython.display import Image, display\nimport base64\ndisplay(Image(base64.b64decode('{PIXEL}')))"


def play(rlm: Make, *script: Answer | Script, failed: int = 0, **env: str) -> tuple[Done, Scripted]:
    """A run with any end, whose journal obeys the law."""
    with Scripted(*script) as server:
        done = rlm(server)("go", **env)
    law.check(done.session, server, failed=failed)
    return done, server


# ---- the law for every type of conversation


def tour() -> Script:
    """Several calls, wrong ones, pictures, a cut-off text, a summary by the model, faults, a result that must be cut, a
    compaction, a lost kernel.
    """
    rest = in_order(
        calls(("ipython", {"code": "1"}), ("python", {"code": "1"}), ("ipython", "null"), content="Ünï ☃ \ud83d"),
        calls(("ipython", {"code": PICTURE}), ("ipython", {"code": "1/0"}), reasoning_content="hm"),
        error(503, "Overloaded"),
        text("cut ", "length"),
        reset(),
        call("ipython", code="import os\nos._exit(1)"),
        call("summarize", num_turns=1, summary="one"),
        call("ipython", code="print('x' * 50_000)"),
        calls(("ipython", {"code": "2"}), usage=usage(9_000, 1)),
        text("what was done"),  # the compaction
        call("bash", command="echo hi; exit 3"),
        calls(("edit", {"path": "no", "old_str": "a", "new_str": "b"}), usage=None),
        text("end"),
    )
    return lambda request: error(413, "too large") if len(request.last) > 20_000 else rest(request)


TOOLS = {"RLM_TOOLS": "ipython,summarize,bash,edit", "RLM_IMAGES": "on"}


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"RLM_SUMMARIZE_AT_TOKENS": "5000"},
        {"RLM_MAX_TURNS_IN_CONTEXT": "2"},
        {"RLM_MAX_TURNS_IN_CONTEXT": "3", "RLM_SUMMARIZE_AT_TOKENS": "5000", "RLM_MAX_OUTPUT": "300"},
        {"RLM_MODEL_PARAMS": '{"temperature": 0.5, "metadata": {"a": "\\n\\n"}}', "RLM_MAX_TURNS": "6"},
    ],
)
def test_every_request_can_be_rebuilt_from_the_journal(rlm: Make, env: dict[str, str]) -> None:
    with Scripted(tour()) as server:
        done = rlm(server)("go", **TOOLS, **env)
    answered = sum(message["role"] == "assistant" for message in done.session.messages)
    assert answered >= 6
    law.check(done.session, server, failed=len(server.requests) - answered)


def test_the_law_holds_for_sub_agents_too(rlm: Make) -> None:
    cell = "import asyncio\nrs = await asyncio.gather(*(rlm.run(f'task {n}') for n in range(3)))\nlen(rs)"

    def script(request: Request) -> Answer:
        if request.depth == 0:
            return text("end") if request.turn else call("ipython", code=cell)
        return text("done") if request.turn else call("ipython", code="print(1)")

    done, _ = play(rlm, script, RLM_MAX_DEPTH="1")
    assert "3\n" == done.session.results[0]
    assert 3 == len(done.session.children)


def test_the_result_is_the_last_record_also_when_children_are_left_running(rlm: Make) -> None:
    cell = (
        "import asyncio, pathlib\ntasks = [asyncio.ensure_future(rlm.run(str(n))) for n in range(3)]\n"
        "while len(list(pathlib.Path().glob('begun-*'))) < 3: await asyncio.sleep(0.01)"
    )

    def script(request: Request) -> Answer:
        if request.depth:
            return call("ipython", code=f"import time\nopen('begun-{request.task}', 'w')\ntime.sleep(1000)")
        return text("end") if request.turn else call("ipython", code=cell)

    done, _ = play(rlm, script, RLM_MAX_DEPTH="1")
    types = [record["type"] for record in done.session.records]
    assert (3, "result") == (types.count("agent_end"), types[-1])
    assert ["cancelled"] * 3 == [child.meta["status"] for child in done.session.children]
    assert ("done", 4) == (done.session.meta["status"], done.session.meta["metrics"]["agents"])


def test_the_law_holds_across_a_resume(rlm: Make) -> None:
    with Scripted(call("ipython", code="x = 1"), text("first"), call("ipython", code="2"), text("second")) as server:
        command = rlm(server)
        command("go")
        done = command("resume", "and now?")
    assert "second\n" == done.out
    law.check(done.session, server)
    go, more = [m["content"] for m in server.requests[-1].messages if m["role"] == "user"]
    assert "go" == go
    note, _, said = more.rpartition(
        "\n\n"
    )  # joined to one message, because many chat templates refuse two user messages in a row
    assert ("and now?", True) == (said, "The kernel is fresh" in note)


@pytest.mark.parametrize("when", ["the model thinks", "a cell runs"])
def test_the_law_holds_for_a_run_that_was_cancelled(rlm: Make, when: str) -> None:
    turn = calls(("ipython", {"code": "print('in it', flush=True)\nwhile True: pass"}), ("ipython", {"code": "2"}))
    with Scripted(call("ipython", code="1"), turn if when == "a cell runs" else text("late").after(600)) as server:
        command = rlm(server)
        process = command.start("--json", "go")
        assert process.stdout is not None
        while b"in it" not in (line := process.stdout.readline()):
            if when == "the model thinks" and b'"ok": true' in line:
                server.wait(lambda s: len(s.requests) == 2)
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert 130 == process.returncode
    done = Done(130, out.decode(), err.decode(), command.cwd)
    law.check(done.session, server, failed=when == "the model thinks")
    assert ("cancelled", "cancelled") == (done.session.meta["status"], done.session.meta["stop_reason"])
    if when == "a cell runs":
        assert all("Not run, or not finished" in result for result in done.session.results[1:])


def test_a_streamed_run_leaves_the_same_journal(rlm: Make) -> None:
    """The model's text is streamed if someone can see it."""
    answers = (
        calls(("ipython", {"code": "print('hi')"}), ("ipython", {"code": "2"}), content="Lét me look. " * 9),
        calls(("ipython", {"code": "1/0"}), reasoning_content="hm, hm, " * 9),
        text("cut ", "length"),
        text("end", usage=usage(None, 5)),
    )
    with Scripted(*answers, *answers) as server:
        command = rlm(server)
        whole = command("go").session
        streamed = watched(command, "go")
    (other,) = [session for session in streamed.sessions if session.folder != whole.folder]
    assert [False] * 4 + [True] * 4 == [request.streamed for request in server.requests]
    assert "cut end\n" == streamed.out
    assert [timeless(record) for record in whole.unsigned] == [timeless(record) for record in other.unsigned]
    assert list(map(law.sent, server.requests[:4])) == list(map(law.sent, server.requests[4:]))


def timeless(record: Json) -> Json:
    return {name: value for name, value in record.items() if name not in ("ts", "duration")}


def test_a_line_is_complete_on_disk_before_the_next_request_leaves(rlm: Make, tmp_path: Path) -> None:
    seen: list[bool] = []

    def script(request: Request) -> Answer:
        (journal,) = (tmp_path / "work/.rlm/sessions").glob("*/messages.jsonl")
        written = journal.read_text()
        newest = [r["message"] for r in map(json.loads, written.splitlines()) if r["type"] == "message"][-1]
        seen.append(written.endswith("\n") and newest == request.messages[-1])
        return call("ipython", code=f"print({request.turn})") if request.turn < 3 else text("end")

    play(rlm, script)
    assert [True] * 4 == seen


# ---- records


def test_records_contain_what_happened(rlm: Make) -> None:
    cell = "import os\nname = 1\ntry:\n    await rlm.run('child')\nexcept rlm.AgentError: pass\nos._exit(1)"

    def script(request: Request) -> Answer:
        if request.depth:
            return error(400, "no")
        return rest(request)

    rest = in_order(error(503, "Overloaded"), call("ipython", code=cell), text("end"))
    with Scripted(script) as server:
        session = rlm(server)("go", RLM_MAX_DEPTH="1", RLM_MODEL_PARAMS='{"temperature": 0}').session
    system, user, request, retry, assistant, start, end, kernel, tool, answer, result = session.unsigned
    assert all(re.fullmatch("[0-9a-f]{32}", record["mac"]) for record in session.records)
    (child,) = session.children
    assert re.fullmatch("[0-9a-f]{12}", session.folder.name)
    assert re.fullmatch("sub-[0-9a-f]{8}", child.folder.name)
    assert [{"role": "system"}, {"role": "user", "content": "go"}] == [
        {"role": system["message"]["role"]},
        user["message"],
    ]
    assert {"type", "id", "ts", "model", "tools", "params", *(["api"] if BY_RESPONSES else [])} == set(request)
    assert ("scripted", {"temperature": 0}) == (request["model"], request["params"])
    assert server.requests[0].body["tools"] == request["tools"]
    assert {"type", "id", "ts", "reason", "attempt", "wait"} == set(retry)
    of_a_reply = {"type", "id", "ts", "message", "usage", "finish_reason", "duration"}
    assert of_a_reply | ({"items"} if BY_RESPONSES else set()) == set(assistant) == set(answer)
    assert "tool_calls" == assistant["finish_reason"]
    assert {"prompt_tokens": 100, "completion_tokens": 10, "cached_tokens": 40, "reasoning_tokens": 3} == answer[
        "usage"
    ]
    assert ("agent_start", child.folder.name, "child") == (start["type"], start["folder"], start["prompt"])
    assert ("agent_end", child.folder.name, "error") == (end["type"], end["folder"], end["stop"])
    assert {"type", "id", "ts", "folder", "stop", "turns", "usage", "error"} == set(end)
    assert ("kernel", "its process exited with code 1") == (kernel["type"], kernel["why"])
    assert {"type", "id", "ts", "message", "tool", "ok", "duration"} == set(tool)
    assert ("ipython", False) == (tool["tool"], tool["ok"])
    assert {"type", "id", "ts", "status", "stop_reason", "answer", "turns", "usage"} == set(result)
    assert ("done", "done", "end", 2) == tuple(result[n] for n in ("status", "stop_reason", "answer", "turns"))


def test_the_request_is_reported_again_when_it_changes(rlm: Make) -> None:
    turns = [calls(("ipython", {"code": str(n)}), usage=usage(9_000 * (n == 2) or 100, 1)) for n in range(3)]
    done, _ = play(rlm, *turns, text("a summary"), text("end"), RLM_SUMMARIZE_AT_TOKENS="5000")
    params = [record["params"] for record in done.session.records if record["type"] == "request"]
    assert [{}, {"tool_choice": "none"}, {}] == params
    drops = [record for record in done.session.records if record["type"] == "drop"]
    # the request for a summary, and the summary, are part of the newest result, so this result is recorded again each
    # time
    assert ["joined", "summary_call", "joined", "compaction"] == [record["reason"] for record in drops]


def test_an_assistant_message_is_journalled_as_received(rlm: Make) -> None:
    odd: dict[str, Any] = {"reasoning_content": "hm"}
    if not BY_RESPONSES:  # its messages have no such fields
        odd |= {"vendor": {"signature": "s=="}, "annotations": []}
    done, _ = play(rlm, calls(("ipython", {"code": "1"}), content="x", **odd), text("end"))
    message = next(message for message in done.session.messages if message["role"] == "assistant")
    assert odd == {name: message[name] for name in odd}
    assert {"role", "content", "tool_calls", *odd} == set(message)


# ---- meta.json


def test_meta_describes_the_session_and_its_end(rlm: Make) -> None:
    done, _ = play(rlm, call("ipython", code="1/0"), text("the answer"))
    meta = done.session.meta
    assert (None, 0, "scripted", "done", "done", "go", "the answer", 2) == tuple(
        meta[name]
        for name in (
            "parent",
            "depth",
            "model",
            "status",
            "stop_reason",
            "prompt_preview",
            "answer_preview",
            "turns",
        )
    )
    assert (done.session.folder.name, str(done.cwd)) == (meta["session_id"], meta["cwd"])
    assert meta["start_time"] <= meta["end_time"]
    assert meta["pid"] > 0
    assert meta["version"].startswith("0.")
    assert (
        {"prompt_tokens": 200, "completion_tokens": 20, "cached_tokens": 80, "reasoning_tokens": 6}
        == meta["usage"]
        == meta["tree_usage"]
    )
    reported = {"turns": 2, "tool_calls": 1, "failed_calls": 1, "cells": 1, "agents": 1, "prompt_tokens": 200}
    assert reported.items() <= meta["metrics"].items()


def test_meta_of_a_child_names_its_parent_and_the_parent_sums_the_tree(rlm: Make) -> None:
    def script(request: Request) -> Answer:
        return text("end") if request.depth or request.turn else call("ipython", code="await rlm.run('child')\nNone")

    done, _ = play(rlm, script, RLM_MAX_DEPTH="1")
    (child,) = done.session.children
    assert (done.session.meta["session_id"], 1) == (child.meta["parent"], child.meta["depth"])
    assert (20, 30) == tuple(done.session.meta[name]["completion_tokens"] for name in ("usage", "tree_usage"))
    assert (2, 1) == tuple(done.session.meta["metrics"][name] for name in ("agents", "max_depth"))


def test_meta_is_correct_while_the_run_continues(rlm: Make, tmp_path: Path) -> None:
    seen: list[Json] = []

    def script(request: Request) -> Answer:
        (meta,) = (tmp_path / "work/.rlm/sessions").glob("*/meta.json")
        seen.append(json.loads(meta.read_text()))
        return text("end") if request.turn else call("ipython", code="1")

    play(rlm, script)
    assert [("running", None, None, 0), ("running", None, None, 1)] == [
        (meta["status"], meta["stop_reason"], meta["end_time"], meta["turns"]) for meta in seen
    ]


@pytest.mark.parametrize(
    ("answer", "env", "status"),
    [
        (text("ok"), {}, "done"),
        (call("ipython", code="1"), {"RLM_MAX_TURNS": "1", "RLM_NO_FINAL_ANSWER": "1"}, "limit"),
        (error(400, "no"), {}, "error"),
    ],
)
def test_the_status_says_how_it_ended(rlm: Make, answer: Answer, env: dict[str, str], status: str) -> None:
    done, _ = play(rlm, answer, failed=status == "error", **env)
    assert status == done.session.meta["status"]


def test_a_session_that_was_killed_is_shown_as_lost(without_tools: Make) -> None:
    with Scripted(text("never").after(600)) as server:
        command = without_tools(server)
        process = command.start("go")
        server.wait(lambda s: s.requests)
        running = command("ls", "--json").lines
        process.kill()
        process.communicate(timeout=60)
        lost = command("ls", "--json").lines
    assert (["running"], ["lost"]) == ([row["status"] for row in running], [row["status"] for row in lost])


# ---- attempts of a cell


def test_a_cell_that_changes_the_directory_does_not_move_the_session(rlm: Make, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    away = call("ipython", code=f"import os\nos.chdir('{tmp_path}/away')\nprint('x' * 500)")
    done, _ = play(rlm, away, call("ipython", code="print('y' * 500)"), text("end"), RLM_MAX_OUTPUT="100")
    assert ["cell-1.txt", "cell-2.txt"] == sorted(path.name for path in (done.session.folder / "outputs").iterdir())
    assert [] == list((tmp_path / "away").iterdir())


def test_a_link_of_a_cell_redirects_no_write(rlm: Make, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    plant = (
        "import pathlib, shutil\nfolder, = pathlib.Path('.rlm/sessions').glob('?' * 12)\n"
        f"shutil.rmtree(folder / 'outputs')\n(folder / 'outputs').symlink_to('{tmp_path}/away')\n"
        "(folder / 'meta.json').unlink()\n"
        f"(folder / 'meta.json').symlink_to('{tmp_path}/away/meta.json')\nprint('x' * 500)"
    )
    with Scripted(call("ipython", code=plant), text("end")) as server:
        done = rlm(server)("go", RLM_MAX_OUTPUT="100")
    assert 0 == done.code
    assert [] == list((tmp_path / "away").iterdir())
    assert "the full output could not be saved" in done.session.results[0]
    assert "done" == done.session.meta["status"]


# ---- the system prompt


def prompts(rlm: Make, *environments: dict[str, str]) -> list[str]:
    """The system prompts of these runs in the same folder."""
    with Scripted(*[text("ok")] * len(environments)) as server:
        command = rlm(server)
        for env in environments:
            assert 0 == command("go", **env).code
    return [request.messages[0]["content"] for request in server.requests]


def test_the_system_prompt_is_short_and_the_same_in_the_same_folder(rlm: Make) -> None:
    everything = {"RLM_TOOLS": "ipython,summarize,bash,edit", "RLM_MAX_DEPTH": "1"}
    first, second = prompts(rlm, everything, everything)
    assert first == second
    assert len(first.partition("\n\nSkills:")[0].encode()) < 1_500
    assert "rlm.run" in first


@pytest.mark.parametrize(
    ("env", "silent"),
    [
        ({"RLM_TOOLS": ""}, ("ipython", "kernel", "summarize", "rlm.run", "tool", "bash", "skill")),
        ({"RLM_TOOLS": "bash,edit", "RLM_MAX_DEPTH": "1"}, ("ipython", "kernel", "summarize", "rlm.run")),
        ({"RLM_TOOLS": "ipython"}, ("summarize", "rlm.run", "sub-agent")),
        ({}, ("rlm.run", "sub-agent", "context")),
    ],
)
def test_the_system_prompt_does_not_mention_what_is_switched_off(
    rlm: Make, env: dict[str, str], silent: tuple[str, ...]
) -> None:
    (prompt,) = prompts(rlm, env)
    reported = re.sub(r"/\S+", "", prompt).lower()  # without paths, because the folder's name could match
    assert [] == [word for word in silent if word in reported]


def test_the_prompt_can_be_extended_and_replaced(rlm: Make, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("You are a test.\n")
    replaced = {"RLM_SYSTEM_PROMPT_PATH": str(tmp_path / "prompt.txt")}
    added = {"RLM_APPEND_TO_SYSTEM_PROMPT": "Be brief."}
    plain, longer, whole = prompts(rlm, {}, added, replaced | added)
    assert plain + "\n\nBe brief." == longer
    assert "You are a test.\n" == whole
