"""`rlm acp` with the client of the protocol's own package, over the pipes of the installed command."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from acp import RequestError, image_block, resource_link_block, text_block
from acp.helpers import embedded_text_resource, resource_block
from rlm_testkit import mcp_program, mcp_web
from rlm_testkit.acp_client import Connection, connected
from rlm_testkit.cli import Rlm
from rlm_testkit.leftovers import ENDS_SLOWLY, nothing_left
from rlm_testkit.scripted import Answer, Request, Scripted, call, calls, half, text
from rlm_testkit.waiting import eventually

Make = Callable[[Scripted], Rlm]
PIXEL = base64.b64encode(bytes.fromhex("89504e470d0a1a0a")).decode()


async def new(connection: Connection, command: Rlm, **meta: Any) -> str:
    return (await connection.agent.new_session(cwd=str(command.cwd), mcp_servers=[], **meta)).session_id


async def ask(connection: Connection, session: str, *said: Any) -> Any:
    blocks = [text_block(each) if isinstance(each, str) else each for each in said]
    return await connection.agent.prompt(session_id=session, prompt=blocks)


async def test_without_a_key_it_says_what_it_can_and_how_to_get_one(alone: Rlm) -> None:
    async with connected(alone, answers=()) as connection:
        said = await connection.raw("initialize", protocolVersion=1, clientCapabilities={"auth": {"terminal": True}})
        kinds = [method.get("type", "agent") for method in said["authMethods"]]
        assert (1, ["agent", "env_var", "terminal"]) == (said["protocolVersion"], kinds)
        can = said["agentCapabilities"]
        assert can["promptCapabilities"] == {"image": True, "audio": False, "embeddedContext": True}
        assert {"list", "resume", "close", "delete"} == set(can["sessionCapabilities"])
        for asking in (connection.raw("authenticate", methodId="api-key"), new(connection, alone)):
            with pytest.raises(RequestError, match="There is no API key") as refused:
                await asking
            assert refused.value.code == -32000
    assert not (alone.cwd / ".rlm").exists()


REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("session/new", {"cwd": None, "mcpServers": []}, -32602, "cwd"),
    ("session/new", {"cwd": "relative", "mcpServers": []}, -32602, "absolute"),
    ("session/new", {"cwd": "/no/such/folder", "mcpServers": []}, -32602, "/no/such/folder"),
    ("session/prompt", {"sessionId": 7, "prompt": []}, -32602, "sessionId"),
    ("session/prompt", {"sessionId": "no", "prompt": [{"type": "text", "text": "x"}]}, -32603, "Unknown session no"),
    ("session/load", {"sessionId": "../../etc", "cwd": "/", "mcpServers": []}, -32002, "There is no session"),
    ("session/delete", {"sessionId": "abcdefabcdef"}, -32002, "There is no session"),
    ("session/close", {"sessionId": "abcdefabcdef"}, -32603, "Unknown session"),
    ("session/no_such", {}, -32601, "not found"),
]


async def test_invalid_requests_are_refused_with_the_codes_of_the_protocol(rlm: Make) -> None:
    with Scripted(text("fine")) as server:
        command = rlm(server)
        async with connected(command) as connection:
            for method, params, code, reason in REFUSED:
                with pytest.raises(RequestError, match=reason) as refused:
                    await connection.raw(method, **params)
                assert refused.value.code == code, method
            assert connection.process.stdin is not None
            connection.process.stdin.write(b'half a line\n42\n[]\n{"method": 7}\n{"jsonrpc":"2.0","method":"$/what"}\n')
            session = await new(connection, command)
            for blocks, reason in (([], "empty"), ([{"type": "audio", "data": "", "mimeType": "audio/wav"}], "audio")):
                with pytest.raises(RequestError, match=reason):
                    await connection.raw("session/prompt", sessionId=session, prompt=blocks)
            await connection.agent.cancel(session_id=session)
            assert "end_turn" == (await ask(connection, session, "hello")).stop_reason
    errors = [json.loads(line)["error"]["code"] for line in connection.lines if b'"id":null' in line]
    assert [-32700, -32600, -32600, -32600] == errors


LOUD = "import os, subprocess, sys\nos.system('echo from a program')\nsubprocess.run(['echo', 'from another'])\nos.write(1, b'raw\\n'); sys.__stdout__.write('dunder\\n')"
WAITS = "import time, pathlib\nprint('begun', flush=True)\nwhile not pathlib.Path('go').exists(): time.sleep(0.02)"


async def test_a_turn_is_reported_as_it_happens(rlm: Make) -> None:
    """Text, thoughts, a cell with its output while it runs, an edit as a diff, and sub-agents as separate calls."""

    def script(request: Request) -> Answer:
        if request.depth:
            return call("ipython", code="6 * 7") if request.turn == 0 else text(f"child says {request.last.strip()}")
        turns = (
            calls(("ipython", {"code": WAITS}), content="Let me look.", reasoning_content="First I wait."),
            call("edit", path="a.txt", old_str="one", new_str="two"),
            call("ipython", code="r = await rlm.run('small part'); print(r.answer)"),
            call("ipython", code=LOUD),
            text("It is 42."),
        )
        return turns[request.turn]

    with Scripted(script) as server:
        command = rlm(server)
        (command.cwd / "a.txt").write_text("one\n")
        async with connected(command, RLM_MAX_DEPTH="1", RLM_TOOLS="ipython,edit") as connection:
            session = await new(connection, command)
            turn = asyncio.ensure_future(ask(connection, session, "do it"))
            await connection.editor.wait_for_update("tool_call_update", "begun")
            assert not turn.done()
            (command.cwd / "go").touch()
            done = await turn
    editor = connection.editor
    assert ("end_turn", 770) == (done.stop_reason, done.usage.total_tokens)
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in connection.lines)
    assert {session} == {id for id, _ in editor.updates}
    assert ("Let me look.It is 42.", "First I wait.") == (editor.text(), editor.text("agent_thought_chunk"))
    ids = list(dict.fromkeys(chunk["messageId"] for chunk in editor.of("agent_message_chunk")))
    assert 2 == len(ids)
    waiting, edit, parent, child, inner, loud = editor.of("tool_call")
    assert "while not pathlib" in waiting["content"][0]["content"]["text"]
    assert ("execute", "edit", "think") == (waiting["kind"], edit["kind"], child["kind"])
    assert [{"type": "diff", "path": str(command.cwd / "a.txt"), "oldText": "one", "newText": "two"}] == edit["content"]
    assert [{"path": str(command.cwd / "a.txt")}] == edit["locations"]
    assert inner["toolCallId"].startswith(f"{child['toolCallId']}/")
    assert parent["toolCallId"] == child["_meta"]["rlm"]["parentToolCallId"]
    assert ["in_progress", "completed"] == [each["status"] for each in editor.call(child["toolCallId"])]
    assert "child says 42" in str(editor.call(child["toolCallId"])[-1])
    assert "from a program" in str(editor.call(loud["toolCallId"])[-1])
    used = editor.of("usage_update")
    assert (5, 110) == (len(used), used[-1]["used"])
    assert "do it" == editor.of("session_info_update")[0]["title"]


async def test_a_prompt_may_contain_files_and_pictures_and_can_be_cancelled_and_steered(rlm: Make) -> None:
    def script(request: Request) -> Answer:
        if "linger" in str(request.messages[-1]):
            return call("ipython", code="x = 1\nprint('lingers', flush=True)\nimport time; time.sleep(600)")
        return text("seen")

    with Scripted(script) as server:
        command = rlm(server)
        async with connected(command) as connection:
            session = await new(connection, command)
            resource = resource_block(embedded_text_resource("file:///work/b%20c.py", "b = 1"))
            link = resource_link_block("a", "file:///work/a.py")
            await ask(connection, session, "see ", link, " and ", resource, image_block(PIXEL, "image/png"))
            first, picture = server.requests[-1].messages[-1]["content"]
            assert 'see `/work/a.py` and `/work/b c.py`\n\n<file path="/work/b c.py">\nb = 1\n</file>' == first["text"]
            assert f"data:image/png;base64,{PIXEL}" == picture["image_url"]["url"]
            turn = asyncio.ensure_future(ask(connection, session, "linger"))
            await connection.editor.wait_for_update("tool_call_update", "lingers")
            with pytest.raises(RequestError, match="works on a prompt"):
                await ask(connection, session, "more")
            await connection.agent.cancel(session_id=session)
            assert "cancelled" == (await turn).stop_reason
            assert "failed" == connection.editor.of("tool_call_update")[-1]["status"]
            steering = {"sessionId": session, "prompt": [{"type": "text", "text": "now stop"}]}
            assert "promptRequired" == (await connection.agent.ext_method("session/steering", steering))["outcome"]
            assert "end_turn" == (await ask(connection, session, "again")).stop_reason
            connection.editor.updates.clear()
            turn = asyncio.ensure_future(ask(connection, session, "linger"))
            await connection.editor.wait_for_update("tool_call_update", "lingers")
            assert "accepted" == (await connection.agent.ext_method("session/steering", steering))["outcome"]
            await connection.agent.cancel(session_id=session)
            assert "cancelled" == (await turn).stop_reason


async def test_modes_ask_and_options_change_model_and_sandbox(rlm: Make) -> None:
    def script(request: Request) -> Answer:
        asked = request.messages[-1]["role"] == "user"
        return (
            call("ipython", code="import os; print(os.readlink('/proc/self/ns/pid'))") if asked else text(request.last)
        )

    with Scripted(script, models=("scripted", "other")) as server:
        command = rlm(server)
        async with connected(command, answers=("reject_once", "allow_once", "allow_always")) as connection:
            opened = await connection.agent.new_session(cwd=str(command.cwd), mcp_servers=[])
            session = opened.session_id
            assert opened.modes is not None
            assert ["auto", "confirm"] == [mode.id for mode in opened.modes.available_modes]
            assert "auto" == opened.modes.current_mode_id
            await connection.agent.set_session_mode(session_id=session, mode_id="confirm")
            await ask(connection, session, "one")
            assert "Not run: the user did not allow it" in connection.editor.text()
            for _ in range(3):
                await ask(connection, session, "more")
            assert 3 == len(connection.editor.permissions_asked)
            asked, reported = connection.editor.permissions_asked[0], connection.editor.of("tool_call")[0]
            assert (reported["toolCallId"], reported["rawInput"]) == (asked["toolCallId"], asked["rawInput"])
            await connection.editor.wait_for_update("config_option_update", "'value': 'other'")
            await connection.agent.set_config_option(session_id=session, config_id="model", value="other")
            await connection.agent.set_config_option(session_id=session, config_id="mode", value="auto")
            for config, value in (("mode", "what"), ("what", "x"), ("sandbox", "what")):
                with pytest.raises(RequestError, match="what"):
                    await connection.agent.set_config_option(session_id=session, config_id=config, value=value)
            await ask(connection, session, "after all that was refused")
            assert "other" == server.requests[-1].body["model"]
            options = await connection.agent.set_config_option(session_id=session, config_id="sandbox", value="bwrap")
            assert "bwrap" == options.config_options[2].current_value
            await ask(connection, session, "boxed")
            free, boxed = (
                chunk["content"]["text"].strip() for chunk in connection.editor.of("agent_message_chunk")[-2:]
            )
            outside = str(Path("/proc/self/ns/pid").readlink())
            assert (True, False) == (free == outside, boxed == outside)
            assert "one" == server.requests[-1].task
            assert "other" == server.requests[-1].body["model"]


async def test_sessions_are_listed_loaded_resumed_closed_and_deleted(rlm: Make) -> None:
    def script(request: Request) -> Answer:
        asked = request.messages[-1]["role"] == "user"
        return (
            call("ipython", code="print('hi')") if asked and request.turn == 0 else text("told", reasoning_content="hm")
        )

    with Scripted(script) as server:
        command = rlm(server)
        async with connected(command) as connection:
            first, second, empty = [await new(connection, command) for _ in range(3)]
            await asyncio.gather(ask(connection, first, "first task"), ask(connection, second, "second task"))
            assert {first, second, empty} >= {id for id, _ in connection.editor.updates}
            await connection.agent.close_session(session_id=second)
        async with connected(command) as connection:
            listed = await connection.agent.list_sessions(cwd=str(command.cwd))
            assert {first: "first task", second: "second task"} == {s.session_id: s.title for s in listed.sessions}
            assert {str(command.cwd)} == {s.cwd for s in listed.sessions}
            await connection.agent.load_session(session_id=first, cwd=str(command.cwd), mcp_servers=[])
            kinds = [
                u["sessionUpdate"] for _, u in connection.editor.updates if u["sessionUpdate"] != "config_option_update"
            ]
            assert ["user_message_chunk", "tool_call", "agent_thought_chunk", "agent_message_chunk"] == kinds
            (shown,) = connection.editor.of("tool_call")
            assert "hi" in shown["content"][1]["content"]["text"]
            await ask(connection, first, "on")
            assert ["first task", "on"] == [
                m["content"].rpartition("\n")[2] for m in server.requests[-1].messages if m["role"] == "user"
            ]
            connection.editor.updates.clear()
            await connection.agent.resume_session(session_id=second, cwd=str(command.cwd), mcp_servers=[])
            assert not connection.editor.of("user_message_chunk")
            await connection.raw("session/delete", sessionId=second)
            left = await connection.agent.list_sessions(cwd=str(command.cwd))
            assert [first] == [s.session_id for s in left.sessions]
            with pytest.raises(RequestError, match="Unknown session"):
                await ask(connection, second, "gone")
    assert not (command.cwd / ".rlm" / "sessions" / second).exists()


async def test_a_signal_after_the_end_of_the_input_leaves_no_session_open(rlm: Make) -> None:
    """As when an editor ends: it closes the pipe, and then sends SIGTERM. The cell ends slowly."""
    with Scripted(lambda _: call("ipython", code=ENDS_SLOWLY)) as server:
        command = rlm(server)
        async with connected(command, code=143) as connection:
            turn = asyncio.ensure_future(ask(connection, await new(connection, command), "go"))
            await connection.editor.wait_for_update("tool_call_update", "begun")
            assert connection.process.stdin is not None
            connection.process.stdin.close()
            await eventually((command.cwd / "interrupted").exists)
            connection.process.terminate()
            await connection.process.wait()
            await asyncio.gather(turn, return_exceptions=True)
        assert command.session.meta["status"] == "cancelled"
        nothing_left(command)


async def test_a_refusal_of_the_provider_is_an_error_and_the_session_continues(rlm: Make) -> None:
    from rlm_testkit.scripted import error, usage

    answers = (error(401, "Incorrect API key"), text("late", usage=usage(9, 4)), text("cut", "content_filter"))
    with Scripted(*answers) as server:
        command = rlm(server)
        async with connected(command) as connection:
            session = await new(connection, command)
            with pytest.raises(RequestError, match="Incorrect API key") as refused:
                await ask(connection, session, "go")
            assert -32000 == refused.value.code
            assert {"details": str(refused.value)} == refused.value.data
            assert "end_turn" == (await ask(connection, session, "go")).stop_reason
            assert "refusal" == (await ask(connection, session, "go")).stop_reason


async def test_mcp_servers_of_the_client_are_functions_in_the_kernel(rlm: Make) -> None:
    """Over each transport of the protocol. The two servers over HTTP use the package mcp, and require a header."""
    program = {"name": "sums", "command": sys.executable, "args": [mcp_program.__file__], "env": []}
    cell = "print(await sums.add(a=40, b=2), await web.multiply(a=6, b=8), await old.multiply(a=7, b=9))\nawait bare.multiply(a=1, b=1)"
    with Scripted(call("ipython", code=cell), text("done")) as server, mcp_web.serving("a-t0ken") as base:
        command = rlm(server)
        headers = [{"name": "Authorization", "value": "Bearer a-t0ken"}]
        web = {"type": "http", "name": "web", "url": f"{base}/mcp", "headers": headers}
        old = {"type": "sse", "name": "old", "url": f"{base}/sse", "headers": headers}
        bare = {"type": "http", "name": "bare", "url": f"{base}/mcp", "headers": []}
        async with connected(command) as connection:
            servers = [program, web, old, bare]
            session = (await connection.raw("session/new", cwd=str(command.cwd), mcpServers=servers))["sessionId"]
            await ask(connection, session, "go")
            heard = connection.editor.text("agent_thought_chunk")
    result = server.requests[-1].last
    assert "42 48 63" == result.splitlines()[0]
    assert "rlm mcp login bare" in result, "the model is told what to do"
    assert "MCP server bare" in heard, "the user is told, too"
    assert "a-t0ken" not in str([request.body for request in server.requests]) + connection.err.decode()


def contract(server: Scripted, **more: Any) -> dict[str, Any]:
    """What the package verifiers 0.4 sends with session/new."""
    policy = {"max_depth": 1, "max_total_tokens": 5000, "allow_git": True, "exec_timeout": 60, "compaction": True}
    return {
        "ai.prime.rlm/runtime-v1": {
            "session_id": "rollout-7",
            "model": "trained",
            "provider": {"base_url": server.url, "api_key": "key-of-the-rollout"},
            "policy": policy,
            "system_prompt_path": None,
            "append_to_system_prompt": "For the root.",
            "subagent_append_to_system_prompt": "For those below.",
            "leaf_append_to_system_prompt": "For a leaf.",
            "skills": ["edit", "search"],
            "kernel_env": {"OF_THE_TASK": "here"},
            "search_api_key": "key-of-a-search",
        }
        | more
    }


SESSION, EDGES = "ai.prime.rlm/session-v1", "ai.prime.acp/semantic-edges-v1"


async def test_a_trainer_configures_a_session_and_reads_its_state(rlm: Make) -> None:
    kept: dict[str, Answer] = {}

    def script(request: Request) -> Answer:
        """As the package does: it stores the reply to a request, and the first one is lost on its way to rlm."""
        id = request.headers["x-acp-model-request-id"]
        assert id == request.headers["idempotency-key"]
        if id in kept:
            return kept[id]
        if request.depth:
            kept[id] = text("small")
        elif request.turn == 0:
            kept[id] = call("ipython", code="import os; (await rlm.run('part')).answer + os.environ['OF_THE_TASK']")
        else:
            kept[id] = text("large", usage={"prompt_tokens": 9000, "completion_tokens": 3})
        return half(kept[id]) if len(kept) == 1 else kept[id]

    with Scripted(text("never")) as own, Scripted(script) as server:
        command = rlm(own)
        async with connected(command) as connection:
            session = await new(connection, command, **contract(server))
            done = await ask(connection, session, "go")
            state = done.field_meta[SESSION]
            assert ("rollout-7", "done", 2) == (
                state["session_id"],
                state["last_stop_reason"],
                state["metrics"]["turns"],
            )
            assert all(type(value) in (int, float) for value in state["metrics"].values())
            asked = list(dict.fromkeys(request.headers["x-acp-model-request-id"] for request in server.requests))
            first, child, second = asked
            assert 4 == len(server.requests)  # one of them was sent twice
            edges = {
                (e["source_request_id"], e["target_request_id"], e["type"]) for e in done.field_meta[EDGES]["edges"]
            }
            assert {
                (first, child, "subagent_call"),
                (child, second, "subagent_return"),
                (first, second, "continuation"),
            } == edges
            limited = await ask(connection, session, "more")
            assert "max_tokens" == limited.stop_reason
            assert "max_total_tokens" == limited.field_meta[SESSION]["last_stop_reason"]
            closed = await connection.raw("session/close", sessionId=session)
            assert "rollout-7" == closed["_meta"][SESSION]["session_id"]
            for wrong, reason in (
                ({"session_id": "no id"}, "session_id"),
                ({"policy": 7}, "policy"),
                ({"model": 7}, "model"),
            ):
                with pytest.raises(RequestError, match=reason):
                    await new(connection, command, **contract(server, **wrong))
        stderr = connection.err.decode()
    root, below = (next(r for r in server.requests if r.depth == depth) for depth in (0, 1))
    assert ("trained", "Bearer key-of-the-rollout") == (root.body["model"], root.headers["authorization"])
    assert {"ipython", "summarize", "edit"} == {tool["function"]["name"] for tool in root.body["tools"]}
    assert "For the root." in root.messages[0]["content"]
    assert "For a leaf." in below.messages[0]["content"]
    assert "For the root." not in below.messages[0]["content"]
    assert "smallhere" in str(server.requests[-1].messages)
    assert all(name in stderr for name in ("allow_git", "search_api_key", "skills: search"))
    assert "key-of-" not in stderr
    assert not own.requests


def test_it_accepts_no_task_and_no_files(alone: Rlm, tmp_path: Path) -> None:
    for words in (["acp", "task"], ["--acp", "task"]):
        done = alone(*words)
        assert (2, "") == (done.code, done.out)
        assert "no task" in done.err or "accepts no words" in done.err
    done = alone("--acp", stdin="")
    assert (0, "", "") == (done.code, done.out, done.err)
