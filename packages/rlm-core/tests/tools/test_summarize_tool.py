from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from rlm.core.history import History, Summary
from rlm.core.messages import Forget, Outcome, System, ToolResult, User, assistant
from rlm.core.ports import Execution, Sink
from rlm.tools.summarize import Summarize


class Restarts:
    """A kernel that counts its restarts."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    async def execute(self, code: str, timeout: float, sink: Sink | None = None) -> Execution:
        raise AssertionError("no cell is run")

    async def execute_internal(self, code: str, timeout: float) -> str:
        raise AssertionError

    async def restart(self, why: str) -> None:
        self.reasons.append(why)

    def waiting(self) -> nullcontext[None]:
        return nullcontext()


def conversation(turns: int) -> History:
    """The history that a tool gets: the newest turn contains its call."""
    history = History().add(System("s")).add(User("task"))
    for number in range(1, turns + 1):
        wire = {"id": f"c{number}", "type": "function", "function": {"name": "bash", "arguments": "{}"}}
        history = history.add(message := assistant({"role": "assistant", "content": None, "tool_calls": [wire]}))
        if number < turns:
            history = history.add(ToolResult(message.calls[0], "out"))
    return history


async def run(history: History, tool: Summarize | None = None, **arguments: Any) -> Outcome:
    return await (tool or Summarize()).run(arguments, history)


async def test_the_oldest_turns_are_replaced_by_a_summary() -> None:
    outcome = await run(conversation(4), num_turns=2, summary=" found it ")
    assert outcome == Outcome("[turns 1-2] found it", forget=Forget(2, "found it"))


async def test_all_summaries_so_far_are_returned_in_numbers_from_the_start() -> None:
    history = conversation(5)
    history = history.drop(history.in_turns([1, 2]), Summary(1, 2, "first"))
    outcome = await run(history, num_turns=1, summary="second")
    assert outcome.content == "[turns 1-2] first\n[turns 3-3] second"


@pytest.mark.parametrize("wanted", [0, -1, 3, 99])
async def test_a_bad_number_drops_nothing_and_says_what_is_good(wanted: int) -> None:
    outcome = await run(conversation(3), num_turns=wanted, summary="s")
    assert outcome == Outcome("[no-op] num_turns must be 1 to 2; nothing was dropped.")


async def test_the_calling_turn_cannot_be_dropped() -> None:
    outcome = await run(conversation(1), num_turns=1, summary="s")
    assert outcome == Outcome("[no-op] There is no turn before this one.")


async def test_an_empty_summary_drops_nothing() -> None:
    outcome = await run(conversation(3), num_turns=1, summary=" \n")
    assert outcome.content.startswith("[no-op]")
    assert outcome.forget is None


async def test_the_kernel_is_restarted_when_asked_and_something_is_dropped() -> None:
    kernel = Restarts()
    await run(conversation(3), Summarize(kernel), num_turns=1, summary="s")
    await run(conversation(3), Summarize(kernel), num_turns=9, summary="s", flush_repl_state=True)
    assert kernel.reasons == []
    await run(conversation(3), Summarize(kernel), num_turns=1, summary="s", flush_repl_state=True)
    assert kernel.reasons == ["requested with summarize"]


def test_without_a_kernel_there_is_none_to_restart() -> None:
    assert "flush_repl_state" not in Summarize().schema()["parameters"]["properties"]
    assert "flush_repl_state" in Summarize(Restarts()).schema()["parameters"]["properties"]
