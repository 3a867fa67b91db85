"""Every event and every type of record is emitted by real runs: four of them emit all."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from rlm.core import events
from rlm_testkit.cli import Json, Rlm, python
from rlm_testkit.scripted import Answer, Request, Script, Scripted, call, error, in_order, text

SCHEMA = Path(__file__).parents[2] / "docs" / "sessions.schema.json"


def record(type: str, **fields: object) -> Callable[[Json], bool]:
    return lambda record: record["type"] == type and all(record.get(name) == value for name, value in fields.items())


def message(*roles: str) -> Callable[[Json], bool]:
    return lambda record: record["type"] == "message" and record["message"]["role"] in roles


EVIDENCE: dict[type[object], Callable[[Json], bool]] = {
    events.Said: message("system", "user"),
    events.Replied: message("assistant"),
    events.ToolReturned: message("tool"),
    events.Dropped: record("drop"),
    events.Adapted: record("adapt"),
    events.ModelCalled: record("model_call", messages=[{"role": "user", "content": "what?"}]),
    events.Answered: record("answer", answer='[1, "a"]'),
    events.Stopped: record("result"),
    events.ParametersChanged: record("request"),
    events.Retried: record("retry"),
    events.Failed: record("error"),
    events.LimitReached: record("limit", stop_reason="max_turns"),
    events.KernelRestarted: record("kernel"),
    events.Rerun: record("rerun"),
    events.KernelResumed: record("kernel_resumed", rerun=2),
    events.SkillsCalled: record("skills"),
    events.Checkpointed: record("checkpoint"),
    events.ChildStarted: record("agent_start"),
    events.ChildEnded: record("agent_end"),
    events.Replayed: record("replayed", prompt="one"),
    # it has no record; it starts the time of the model
    events.RequestStarted: lambda record: message("assistant")(record) and "duration" in record,
    events.Delta: record("delta"),
    events.Writing: record("writing", what="call"),
    events.Queued: record("queued", agents=1),
    events.Throttled: record("throttled", waits=True),
    events.Displayed: record("display", rows=2, columns=1),
    events.Waiting: record("waiting"),
    events.CallStarted: record("cell_start"),
    events.OutputReceived: record("cell_output"),
    events.CallEnded: record("cell_end"),
    events.UserCellStarted: record("user_cell_start"),
    events.UserOutputReceived: record("user_cell_output"),
    events.UserCellRan: record("user_cell"),
}
"""The evidence of each event in the output of `--json --deltas`."""

CELL = """\
import asyncio
await say('hello')
await rlm.llm('what?')
await asyncio.gather(*(rlm.run(task, tools=()) for task in ("one", "other")))
from IPython.display import HTML
HTML("<table><tr><td>1</td></tr><tr><td>2</td></tr></table>")"""
TURNS = [
    error(500, "not now"),
    call("ipython", code=CELL),
    call("ipython", code="import os; os._exit(1)"),
    error(400, "Tool call id must be a-z, A-Z, 0-9, with a length of 9."),
    call("summarize", num_turns=1, summary="hello was said"),
    text("the answer"),
]
PROGRAM = """\
import asyncio, json, rlm
show = lambda record: print(json.dumps(record))
async def main():
    refused = asyncio.Event()
    hears = lambda record: record["type"] == "retry" and refused.set()
    async with rlm.Host(home="other") as host, host.open(watch=show) as run, host.open(watch=hears) as other:
        await run.agent.user.run_cell("print(1)", told=True)
        first = asyncio.create_task(other.ask("be refused"))
        await refused.wait()
        await run.ask("wait until it may be asked again")
        await first
asyncio.run(main())"""
AGAIN = [call("ipython", code="rlm.answer([1, 'a'])")]


def script() -> Script:
    """A provider that accepts only short ids, and refuses to summarize."""
    root = in_order(*TURNS, *AGAIN)
    refused = in_order(error(429, "slow down", retry_after="2"), text("done"))

    def answer(request: Request) -> Answer:
        if request.body.get("tool_choice") == "none" and "limit of this run" not in request.last:
            return error(400, "There is no summary to be had.")
        if request.task == "be refused":
            return refused(request)
        return text("done") if request.depth or request.task.startswith("wait") else root(request)

    return answer


def test_every_event_and_every_type_of_record_is_emitted_by_a_run(tmp_path: Path) -> None:
    assert set(get_args(events.Event)) == set(EVIDENCE)
    records = emitted(tmp_path)
    missing = [event.__name__ for event, shows in EVIDENCE.items() if not any(map(shows, records))]
    assert not missing
    assert {each["type"] for each in records} == documented_types()


def documented_types() -> set[str]:
    schema = json.loads(SCHEMA.read_text())
    return {each["if"]["properties"]["type"]["const"] for each in schema["$defs"]["record"]["allOf"]}


def emitted(folder: Path) -> list[Json]:
    """The records of a run with many faults, its resume, a run that waits for long, a cell of the user, and a refused
    run.
    """
    with Scripted(script()) as server, Scripted(error(429, "slow down", retry_after="26")) as busy:
        patient = Rlm(folder / "busy", {"RLM_BASE_URL": busy.url}).start("go", "--json")
        command = Rlm(folder, {"RLM_BASE_URL": server.url, "RLM_JSON": "1", "RLM_DELTAS": "1"})
        first = command("go", "--checkpoint", "--max-depth", "1", "--max-concurrent-agents", "1", "--max-turns", "3")
        second = command("resume", "--replay", "--summarize-at-tokens", "50", "go on")
        waited = lines_until_waiting(patient)
        shared = python(command, PROGRAM).stdout.splitlines()
    assert (3, 0) == (first.code, second.code), first.err + second.err
    return [*first.lines, *second.lines, *second.session.records, *waited, *map(json.loads, shared)]


def lines_until_waiting(process: subprocess.Popen[bytes]) -> list[Json]:
    lines = []
    with process:
        assert process.stdout
        for line in process.stdout:
            lines.append(json.loads(line))
            if lines[-1]["type"] == "waiting":
                process.terminate()
    return lines
