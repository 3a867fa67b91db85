"""behaviour.md, Sub-agents: model calls from a cell without an agent, and many items at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial

import pytest
import rlm as sdk
from rlm.errors import AgentError, ConfigError
from rlm.inside.fanout import each
from rlm_testkit.cli import Rlm
from rlm_testkit.scripted import Answer, Request, Scripted, call, error, text

Make = Callable[[Scripted], Rlm]

CELL = """
from pydantic import BaseModel
class Count(BaseModel):
    n: int
print(await rlm.llm("hello"), await rlm.llm("a count", schema=Count, system="Be short.", model="small"))
print(await rlm.llm("see", images=[b"\\x89PNG.", "https://host/picture.png"]))
print(await rlm.map(lambda item: rlm.llm(f"item {item}"), range(30), limit=8))
print([r.answer for r in await rlm.map("agent", [1, 2])])
for wrong in (rlm.llm("refused"), rlm.llm("x", images=["none.png"]), rlm.llm(" "), rlm.llm("never", schema={"type": "null"})):
    try:
        await wrong
    except rlm.RlmError as fault:
        print(type(fault).__name__, fault)
late = asyncio.create_task(rlm.llm("hello"))
"""


def script(request: Request) -> Answer:
    if not request.depth:
        return call("ipython", code=[CELL, "print(await late)"][request.turn]) if request.turn < 2 else text("end")
    if request.task == "refused":
        return error(400, "no such thing")
    if request.task == "a count":
        return text(["three", '{"n": 3}'][request.turn])
    return text(f"re: {request.task}")


def test_a_cell_asks_models_without_an_agent_and_each_request_is_in_the_journal(rlm: Make) -> None:
    with Scripted(script) as server:
        done = rlm(server)("go", RLM_MAX_DEPTH="1", RLM_SUBAGENT_MODEL="other")
    first, second = done.session.results
    assert first.splitlines() == [
        "re: hello n=3",
        "re: see",
        "rlm.map: 30 of 30 done",
        str([f"re: item {number}" for number in range(30)]),
        "rlm.map: 2 of 2 done",
        "['re: agent', 're: agent']",
        "AgentError 400 Bad Request: no such thing.",
        "ConfigError The picture none.png cannot be read: No such file or directory.",
        "ConfigError The task is empty.",
        "AgentError the answer does not fit the schema: it is not JSON (Expecting value: line 1 column 1 (char 0)); "
        "write the JSON alone, without any other text",
    ]
    assert second == "re: hello\n", "an asyncio task outlives its cell"
    assert len(done.session.children) == 2, "model calls have no folder"
    calls = [record for record in done.session.records if record["type"] == "model_call"]
    asked = [request.body for request in server.requests if request.depth == 1 and request.task != "agent"]
    answered = [body for body in asked if body["messages"][-1]["content"] != "refused"]
    sent = [{"model": call["model"], "messages": call["messages"], **call["params"]} for call in calls]
    as_text = partial(json.dumps, sort_keys=True)
    assert sorted(map(as_text, sent)) == sorted(map(as_text, answered)), "each request can be rebuilt from the journal"
    assert {body["model"] for body in asked} == {"small", "other"}
    assert done.session.meta["metrics"]["model_calls"] == len(calls)
    turns = 3 * 10 + 10 * len(calls)
    assert done.session.meta["usage"]["completion_tokens"] == turns


async def test_map_keeps_the_order_and_the_limit_and_tries_again() -> None:
    at_work, most, tries = 0, 0, dict.fromkeys(range(9), 0)

    async def work(item: int) -> int:
        nonlocal at_work, most
        at_work += 1
        most, tries[item] = max(most, at_work), tries[item] + 1
        await asyncio.sleep(0)
        at_work -= 1
        if item in (2, 5) and tries[item] <= item:
            raise ValueError(item)
        return item

    results = await sdk.map(work, range(9), limit=3, retries=2, return_exceptions=True)
    assert [str(result) for result in results] == [str(number) for number in range(9)]
    assert isinstance(results[5], ValueError)
    assert (most, tries[2], tries[5], tries[1]) == (3, 3, 3, 1)


async def test_the_first_exception_cancels_the_other_items() -> None:
    ended: list[int] = []

    async def work(item: int) -> None:
        if item == 3:
            raise ValueError("three")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(item)

    with pytest.raises(ValueError, match="three"):
        await sdk.map(work, range(6))
    assert sorted(ended) == [0, 1, 2, 4, 5]


async def test_wrong_numbers_are_refused_and_no_items_are_no_work() -> None:
    async def work(item: int) -> int:
        return item

    assert await sdk.map(work, []) == []
    for limit, retries in ((0, 0), (1, -1)):
        with pytest.raises(ConfigError, match="not allowed"):
            await each(work, [1], limit=limit, retries=retries, keep=False)


async def test_functions_only_for_cells_show_the_alternative_elsewhere() -> None:
    with pytest.raises(AgentError, match=r"use rlm\.run\(task, tools=\(\)\)"):
        await sdk.llm("x")
    with pytest.raises(AgentError, match=r"rlm\.answer works only in the cells of an agent"):
        sdk.answer(1)
