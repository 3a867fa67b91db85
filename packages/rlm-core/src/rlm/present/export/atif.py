"""A session as a trajectory in the Agent Trajectory Interchange Format, version 1.8, with nested sub-agents."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from rlm.core.messages import Usage, Wire
from rlm.present.export.outputs import split_uri
from rlm.present.export.portable_json import moment, read_object, write_object
from rlm.present.export.token_data import read_token_data
from rlm.sessions import journal
from rlm.sessions.records import DropRecord, ErrorRecord, KernelRecord, RequestRecord, RetryRecord, type_name
from rlm.sessions.store import SessionTree
from rlm.sessions.transcript import Item, TextItem, TranscriptCall, Turn, build

VERSION = "ATIF-v1.8"


def trajectory(tree: SessionTree) -> Iterator[str]:
    """Yield the trajectory of an agent and of all agents below it, as one JSON object."""
    yield from write_object(_members(tree))
    yield "\n"


def _members(tree: SessionTree) -> Iterator[tuple[str, Any]]:
    meta = tree.meta
    numbers = count(1)
    yield "schema_version", VERSION
    yield "session_id", meta.session_id
    yield "trajectory_id", tree.agent
    yield "agent", _agent(tree)
    yield "steps", ({"step_id": next(numbers)} | step for item in build(tree.records()) for step in _steps(item, tree))
    yield "final_metrics", _final(meta.usage, next(numbers) - 1, meta.metrics)
    caller = {"parent_call_id": meta.parent_call} if meta.parent_call else {}
    yield "extra", {"status": meta.status, "stop_reason": meta.stop_reason, "depth": meta.depth} | caller
    if tree.children:
        yield "subagent_trajectories", (write_object(_members(child)) for child in tree.children)


def _agent(tree: SessionTree) -> Wire:
    request = next(journal.records_of(tree.folder, RequestRecord), None)
    tools = {"tool_definitions": request.tools} if request and request.tools else {}
    return {"name": "rlm", "version": tree.meta.version or "unknown", "model_name": tree.meta.model} | tools


def _steps(item: Item, tree: SessionTree) -> Iterator[Wire]:
    match item:
        case Turn():
            yield _turn(item, tree)
        case TextItem(kind="system"):
            yield {"timestamp": moment(item.ts), "source": "system", "message": item.text}
        case TextItem():
            yield _text(item)
        case DropRecord() | KernelRecord() | ErrorRecord() | RetryRecord():
            yield {
                "timestamp": moment(item.ts),
                "source": "system",
                "message": item.why if isinstance(item, KernelRecord) else item.reason,
                "extra": {"type": type_name(type(item))},
            }


def _text(words: TextItem) -> Wire:
    """A message in the user's role. Its kind distinguishes messages of rlm from those of the user."""
    step: Wire = {"timestamp": moment(words.ts), "source": "user", "message": words.text}
    pictures = [(parts[0], url) for url in words.pictures if (parts := split_uri(url))]
    if pictures:
        shown = [{"type": "image", "source": {"media_type": kind, "path": url}} for kind, url in pictures]
        step["message"] = [*([{"type": "text", "text": words.text}] if words.text else []), *shown]
    return step | ({"extra": {"kind": words.kind}} if words.kind != "task" else {})


def _turn(turn: Turn, tree: SessionTree) -> Wire:
    step: Wire = {
        "timestamp": moment(turn.ended),
        "source": "agent",
        "message": turn.text,
        "metrics": _metrics(turn.usage) | read_token_data(turn.token_data).wire(),
        "extra": {"finish_reason": turn.finish, "seconds": round(turn.ended - turn.started, 3)},
        "llm_call_count": 1,
    }
    if not turn.number:
        step["extra"]["aside"] = True
    if turn.reasoning:
        step["reasoning_content"] = turn.reasoning
    if turn.calls:
        step["tool_calls"] = [_call(call) for call in turn.calls]
        step["observation"] = {"results": [_result(call, tree) for call in turn.calls if call.ok is not None]}
    return step


def _call(call: TranscriptCall) -> Wire:
    values = read_object(call.arguments) or {}
    entry: Wire = {"tool_call_id": call.id, "function_name": call.tool, "arguments": values}
    return entry if values else entry | {"extra": {"arguments": call.arguments}}


def _result(call: TranscriptCall, tree: SessionTree) -> Wire:
    result: Wire = {"source_call_id": call.id, "content": call.content, "extra": {"ok": call.ok}}
    children = [child for name in call.children if (child := tree.child(name))]
    if children:
        result["subagent_trajectory_ref"] = [
            {"trajectory_id": child.agent, "session_id": child.meta.session_id} for child in children
        ]
    return result


def _metrics(usage: Usage) -> Wire:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "cached_tokens": usage.cached,
        **({} if usage.cost is None else {"cost_usd": usage.cost}),
        "extra": {"reasoning_tokens": usage.reasoning},
    }


def _final(usage: Usage, steps: int, metrics: dict[str, float]) -> Wire:
    return {
        "total_prompt_tokens": usage.prompt,
        "total_completion_tokens": usage.completion,
        "total_cached_tokens": usage.cached,
        **({} if usage.cost is None else {"total_cost_usd": usage.cost}),
        "total_steps": steps,
        "extra": metrics,
    }
