"""A run for trainers: the journal and the exports contain the server's data about single tokens, for each agent."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import atif
from rlm_testkit.cli import Rlm
from rlm_testkit.scripted import Answer, Request, Scripted, completion, tool_call

Make = Callable[[Scripted], Rlm]

CHILD = "import rlm; print(await rlm.run('child'))"


def vllm(request: Request) -> Answer:
    """The answer of vLLM if return_token_ids and logprobs are requested."""
    calls = [] if request.depth or request.turn else [tool_call("ipython", {"code": CHILD}, id="call_a")]
    ids = [request.depth + 1, request.turn + 10, 5]
    entries: list[dict[str, Any]] = [
        {"token": "x", "logprob": -id / 10, "bytes": None, "top_logprobs": []} for id in ids
    ]
    message = (
        {"role": "assistant", "content": None, "tool_calls": calls} if calls else {"role": "assistant", "content": "ok"}
    )
    choice = {"index": 0, "message": message, "token_ids": ids, "logprobs": {"content": entries}}
    return completion([choice | {"finish_reason": "tool_calls" if calls else "stop"}], prompt_token_ids=[1, 2])


def test_token_data_reaches_trainers_and_sub_agents_are_distinguished(rlm: Make) -> None:
    with Scripted(vllm) as server:
        command = rlm(server)
        done = command("go", RLM_API="chat", RLM_STREAM="on", RLM_MAX_DEPTH="1")
    session = done.session
    (child,) = session.children
    replies = [record for record in session.records if record.get("message", {}).get("role") == "assistant"]
    assert [[1, 10, 5], [1, 11, 5]] == [record["token_data"]["token_ids"] for record in replies]
    assert all(record["token_data"]["prompt_token_ids"] == [1, 2] for record in replies)
    assert not any(
        {"token_ids", "logprobs"} & message.keys() for request in server.requests for message in request.messages
    )

    rows = [json.loads(line) for line in command("export", session.folder.name, "--format", "chat").out.splitlines()]
    assert [(0, "", ""), (1, session.folder.name, "call_a")] == [
        (row["depth"], row["parent"], row["parent_call"]) for row in rows
    ]
    first = json.loads(rows[0]["completions"][0]["token_data"])
    assert {"prompt_token_ids": [1, 2], "completion_token_ids": [1, 10, 5], "logprobs": [-0.1, -1.0, -0.5]} == first
    assert child.meta["parent_call"] == "call_a"

    trajectory = atif.Trajectory.model_validate_json(command("export", session.folder.name, "--format", "atif").out)
    metrics = [step.metrics for step in trajectory.steps if step.metrics]
    assert [[1, 10, 5], [1, 11, 5]] == [each.completion_token_ids for each in metrics]
    assert all(each.prompt_token_ids == [1, 2] and len(each.logprobs or ()) == 3 for each in metrics)
    assert trajectory.subagent_trajectories is not None
    (nested,) = trajectory.subagent_trajectories
    assert nested.extra is not None
    assert (1, "call_a") == (nested.extra["depth"], nested.extra["parent_call_id"])
