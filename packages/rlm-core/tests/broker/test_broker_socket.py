"""The socket between a cell and its host: the host trusts no message that arrives there."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from rlm.broker.client import ask, call_tool
from rlm.broker.payload import describe, from_file, pack
from rlm.broker.protocol import (
    OPTIONS,
    AnswerFile,
    AnswerRequest,
    BudgetRequest,
    CallRequest,
    CancelRequest,
    ContextFile,
    LlmRequest,
    Request,
    RunRequest,
    parse_request,
)
from rlm.broker.server import Broker
from rlm.config.settings import Config
from rlm.core.budget import Stop
from rlm.core.task import RunResult
from rlm.errors import AgentError, ConfigError
from rlm_testkit.fakes import RESULT, Runs, path_and_token, return_result
from rlm_testkit.waiting import TIMEOUT


class EndlessWork:
    """A child that works until it is cancelled."""

    def __init__(self) -> None:
        self.began, self.cancelled = asyncio.Event(), asyncio.Event()

    async def __call__(self, _: RunRequest) -> RunResult:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        return RESULT


async def test_the_cell_gets_the_answer_of_the_host(tmp_path: Path) -> None:
    async with Broker(tmp_path, Runs(return_result)) as broker:
        path, token = path_and_token(broker)
        assert RESULT == await ask(path, RunRequest(token, "task"))
    assert [] == list(tmp_path.iterdir()), "the socket is removed with the broker"


async def test_more_calls_at_once_than_the_backlog_of_a_socket_are_all_answered(tmp_path: Path) -> None:
    async with Broker(tmp_path, Runs(return_result)) as broker:
        path, token = path_and_token(broker)
        calls = (ask(path, RunRequest(token, f"task {number}")) for number in range(400))
        assert [RESULT] * 400 == await asyncio.gather(*calls)


async def test_a_wrong_token_is_refused(tmp_path: Path) -> None:
    async with Broker(tmp_path, Runs(return_result)) as broker:
        with pytest.raises(AgentError, match="token"):
            await ask(path_and_token(broker)[0], RunRequest("guessed", "task"))


@pytest.mark.parametrize(
    "line", [b"\n", b"null\n", b"42\n", b"[]\n", b'"x"\n', b"{\n", b'{"options": 3}\n', b"\xff\xfe\n", b""]
)
async def test_garbage_is_answered_with_an_error_and_the_host_goes_on(tmp_path: Path, line: bytes) -> None:
    async with Broker(tmp_path, Runs(return_result)) as broker:
        path, token = path_and_token(broker)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(line)
        writer.write_eof()
        assert "error" == json.loads(await reader.readline())["type"]
        writer.close()
        assert RESULT == await ask(path, RunRequest(token, "task"))


def test_a_cell_may_set_options_of_its_child() -> None:
    assert {"model", "tools", "max_turns", "cwd", "system_prompt", "timeout", "mcp", "isolation"} == set(OPTIONS)


@pytest.mark.parametrize("name", sorted({*Config.settings(), "depth", "token", ""} - set(OPTIONS)))
async def test_any_other_option_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    async with Broker(tmp_path, Runs(return_result)) as broker:
        path, token = path_and_token(broker)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(RunRequest(token, "task", {"model": "m", name: "9"}).line())
        reply = json.loads(await reader.readline())
        writer.close()
        assert ("error", f"unknown argument {name!r}") == (reply["type"], reply["reason"].split(";")[0])


CALL = {"version": 1, "verb": "call", "token": "", "server": "s", "tool": "t"}
RUN = {"version": 1, "verb": "run", "token": "", "task": ""}
CONTEXT = {"name": "x", "kind": "file", "about": ""}
ANSWER = {"version": 1, "verb": "answer", "token": ""}
LLM = {"version": 1, "verb": "llm", "token": "", "prompt": ""}
FILE = {"name": "x", "kind": "json", "about": ""}
ANEW = "If rlm was reinstalled during the run, start a new run"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({}, f"its protocol version is None, and the host of this run uses 1. {ANEW}"),
        (RUN | {"version": 2}, f"its protocol version is 2, and the host of this run uses 1. {ANEW}"),
        (RUN | {"version": True}, f"its protocol version is True, and the host of this run uses 1. {ANEW}"),
        ({"version": 1}, "unknown verb 'None'; valid: run, answer, llm, budget, tools, call, cancel"),
        (RUN | {"verb": "fork"}, "unknown verb 'fork'; valid: run, answer, llm, budget, tools, call, cancel"),
        (RUN | {"verb": ["run"]}, "unknown verb \"['run']\"; valid: run, answer, llm, budget, tools, call, cancel"),
        (RUN | {"depth": 1}, "unknown field of run 'depth'; valid: token, task, options, context, schema"),
        ({"version": 1, "verb": "cancel", "id": 7}, "unknown field of cancel 'id'; it has none"),
        ({"version": 1, "verb": "run", "token": ""}, "'task' is not a text"),
        (RUN | {"options": None}, "'options' is not an object"),
        (RUN | {"context": None}, "'context' is not an object"),
        (RUN | {"context": {"name": "x"}}, "'kind' is not a text"),
        (RUN | {"context": CONTEXT | {"x": 1}}, "unknown field of context 'x'; valid: name, kind, about"),
        (RUN | {"context": CONTEXT | {"kind": "url"}}, "unknown kind 'url' of context; valid: pickle, file"),
        (RUN | {"context": CONTEXT | {"name": ".."}}, "'..' is not the name of a file"),
        (ANSWER | {"file": FILE | {"name": "a/b"}}, "'a/b' is not the name of a file"),
        (ANSWER | {"file": FILE | {"kind": "file"}}, "unknown kind 'file' of file; valid: json, pickle"),
        (ANSWER | {"task": ""}, "unknown field of answer 'task'; valid: token, file"),
        (ANSWER, "'name' is not a text"),
        (LLM | {"images": "x"}, "'images' is not a list"),
        (LLM | {"images": ["file:///etc/passwd"]}, "'file:///etc/passwd' is not the URL of a picture"),
        (LLM | {"prompt": None}, "'prompt' is not a text"),
        (LLM | {"tools": ""}, "unknown field of llm 'tools'; valid: token, prompt, model, system, schema, images"),
        (RUN | {"schema": {}}, "'schema' is not a text"),
        (CALL, "'arguments' is not a text"),
        (CALL | {"server": None}, "'server' is not a text"),
        (CALL | {"headers": {}}, "unknown field of call 'headers'; valid: token, server, tool, arguments"),
        (RUN | {"context": CONTEXT | {"name": "../x"}}, "'../x' is not the name of a file"),
    ],
)
def test_unknown_names_are_refused_with_the_valid_ones(message: object, reason: str) -> None:
    with pytest.raises(AgentError, match=f"^{re.escape('the request is refused: ' + reason)}$"):
        parse_request(json.dumps(message).encode())


@pytest.mark.parametrize(
    "request_",
    [
        RunRequest("token", "task \n é 😀"),
        RunRequest("", "", {"model": "m", "tools": ""}, ContextFile("context-1", "file", "a text")),
        RunRequest("", "", schema='{"type": "object"}'),
        LlmRequest("token", "prompt", "m", "system", "{}", ("data:image/png;base64,", "https://x/y.png")),
        LlmRequest("token", "prompt"),
        AnswerRequest("token", AnswerFile("answer-1", "pickle", "a set")),
        BudgetRequest("token"),
        CancelRequest(),
    ],
)
def test_a_request_is_read_as_it_was_written(request_: Request) -> None:
    assert parse_request(request_.line()) == request_


@pytest.mark.parametrize(
    ("follows", "reason", "stop"),
    [
        (CancelRequest().line(), "the cell cancelled it", Stop.CANCELLED),
        (RunRequest("", "another").line(), "only `cancel` may follow", Stop.ERROR),
        (b"stop!\n", "the request is refused", Stop.ERROR),
        (b"x" * 2_000, "the request is refused", Stop.ERROR),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_request_that_follows_on_the_connection_cancels_the_run_and_is_answered(
    tmp_path: Path, follows: bytes, reason: str, stop: Stop, at_once: bool
) -> None:
    work = EndlessWork()
    async with asyncio.timeout(TIMEOUT), Broker(tmp_path, Runs(work)) as broker:
        path, token = path_and_token(broker)
        reader, writer = await asyncio.open_unix_connection(path)
        line = RunRequest(token, "task").line()
        if at_once:
            writer.write(line + follows)
        else:
            writer.write(line)
            await work.began.wait()
            writer.write(follows)
        answer = json.loads(await reader.readline())
        writer.close()
        assert ("error", stop) == (answer["type"], answer["stop"])
        assert answer["reason"].startswith(reason)
        assert work.began.is_set() == work.cancelled.is_set()


async def test_cancel_alone_is_refused(tmp_path: Path) -> None:
    async with asyncio.timeout(TIMEOUT), Broker(tmp_path, Runs(return_result)) as broker:
        reader, writer = await asyncio.open_unix_connection(path_and_token(broker)[0])
        writer.write(CancelRequest().line())
        assert "`cancel` without a run" in json.loads(await reader.readline())["reason"]
        writer.close()


async def test_an_error_of_the_host_gives_the_reason_and_its_stop(tmp_path: Path) -> None:
    async def refuses(request: RunRequest) -> RunResult:
        if request.task == "deep":
            raise AgentError("too deep", Stop.DEPTH_LIMIT)
        raise ConfigError("not allowed")

    async with Broker(tmp_path, Runs(refuses)) as broker:
        path, token = path_and_token(broker)
        with pytest.raises(AgentError, match="too deep") as refused:
            await ask(path, RunRequest(token, "deep"))
        assert Stop.DEPTH_LIMIT == refused.value.stop
        with pytest.raises(AgentError, match="not allowed"):
            await ask(path, RunRequest(token, "other"))


async def test_cancelling_the_call_cancels_the_child(tmp_path: Path) -> None:
    work = EndlessWork()
    async with asyncio.timeout(TIMEOUT), Broker(tmp_path, Runs(work)) as broker:
        path, token = path_and_token(broker)
        call = asyncio.create_task(ask(path, RunRequest(token, "task")))
        await work.began.wait()
        call.cancel()
        await work.cancelled.wait()


async def test_closing_the_connection_cancels_the_child(tmp_path: Path) -> None:
    work = EndlessWork()
    async with asyncio.timeout(TIMEOUT), Broker(tmp_path, Runs(work)) as broker:
        path, token = path_and_token(broker)
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(RunRequest(token, "task").line())
        await work.began.wait()
        writer.close()
        await work.cancelled.wait()


async def test_closing_the_broker_cancels_running_calls_and_reports_it_to_the_cell(tmp_path: Path) -> None:
    began = asyncio.Event()

    async def work(_: RunRequest) -> RunResult:
        began.set()
        await asyncio.Event().wait()
        return RESULT

    async with asyncio.timeout(TIMEOUT):
        async with Broker(tmp_path, Runs(work)) as broker:
            path, token = path_and_token(broker)
            call = asyncio.create_task(ask(path, RunRequest(token, "task")))
            await began.wait()
        with pytest.raises(AgentError, match="host"):
            await call


async def test_a_host_that_has_ended_is_an_agent_error(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="does not answer"):
        await ask(str(tmp_path / "rlm.sock"), RunRequest("token", "task"))


def test_an_object_is_described_by_type_size_and_head(tmp_path: Path) -> None:
    assert "str, 1,000 long, begins 'xxx" in describe("x" * 1000)
    assert describe(list(range(10**6))).startswith("list, 1,000,000 long, begins [0, 1, 2,")
    assert "long" not in describe(3.5)
    payload = pack({"a": lambda: 1}, tmp_path)
    assert payload.path.stat().st_size > 0
    assert payload.about.startswith("dict, 1 long")


def test_a_file_is_described_by_its_size_and_head(tmp_path: Path) -> None:
    path = tmp_path / "big.txt"
    path.write_bytes(b"\xff head" + b"x" * 5000)
    assert "5,006 bytes of big.txt" in from_file(path).about
    assert "file" == from_file(path).kind


async def test_a_child_that_its_cell_gave_up_is_not_cancelled_again_while_it_ends(tmp_path: Path) -> None:
    """A second cancellation would kill its kernel, as if it ignored interrupts."""
    began, ending, ended, go = (asyncio.Event() for _ in range(4))

    async def work(request: RunRequest) -> RunResult:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            ending.set()
            await go.wait()
            ended.set()
        raise AssertionError

    async with asyncio.timeout(TIMEOUT):
        async with Broker(tmp_path, Runs(work)) as broker:
            path, token = path_and_token(broker)
            call = asyncio.create_task(ask(path, RunRequest(token, "task")))
            await began.wait()
            call.cancel()
            await ending.wait()
            asyncio.get_running_loop().call_later(0.01, go.set)  # the broker closes before this
        assert ended.is_set()


async def test_progress_of_a_call_comes_before_its_result_and_never_waits_for_the_cell(tmp_path: Path) -> None:
    progress: list[float] = []
    async with Broker(tmp_path, Runs(return_result)) as broker:
        path, token = path_and_token(broker)
        request = CallRequest(token, "server", "tool", json.dumps({"numbers": list(range(1000))}))
        result = await call_tool(path, request, lambda done, total, message: progress.append(done))
    assert ({"numbers": list(range(1000))}, 9_999) == (result, progress[-1]), "of the other messages, only the newest"
    assert sorted(progress) == progress


@pytest.mark.parametrize(
    "arguments", ["", "[]", "null", "[" * 9_000, '{"a": NaN}', '{"a": 1, "a": 2}', f"[{'[],' * (1 << 20)}]"]
)
async def test_arguments_of_a_tool_that_are_not_an_object_are_refused(tmp_path: Path, arguments: str) -> None:
    async with Broker(tmp_path, Runs(return_result)) as broker:
        path, token = path_and_token(broker)
        with pytest.raises(AgentError):
            await call_tool(path, CallRequest(token, "server", "tool", arguments), lambda *_: None)
