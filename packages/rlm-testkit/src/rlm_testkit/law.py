"""Invariants of the journal, and of every session, regardless of how it ended."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator

from rlm_testkit.cli import Json, Session
from rlm_testkit.scripted import Request, Scripted

TRANSPORT = ("stream", "stream_options")
"""Fields of a request that only concern its transport."""


def check(session: Session, server: Scripted, *, failed: int = 0) -> None:
    """Check all invariants of a session and of those below it.

    `failed`: the number of the server's requests that failed, and so have no assistant message.
    """
    rebuilt = list(requests(session))
    tasks = _tasks([session.messages, *(request["messages"] for request in rebuilt)])
    asked = [r for r in server.requests if r.depth == session.meta["depth"] and r.task in tasks]
    matched = 0
    for request in asked:
        matched += matched < len(rebuilt) and rebuilt[matched] == sent(request)
    assert len(rebuilt) == matched, (rebuilt[matched], [sent(request) for request in asked])
    assert len(asked) - matched == failed, f"{len(asked)} requests, {matched} of them in the journal"
    _check_form(session)
    for child in session.children:
        check(child, server)


def requests(session: Session) -> Iterator[Json]:
    """Each answered request, rebuilt from the journal alone."""
    announced: list[Json] = []
    now: Json = {}
    for record in session.records:
        if record["type"] == "request":
            tools = {"tools": record["tools"]} if record["tools"] else {}
            now = {"model": record["model"], **tools, **record["params"]}
        elif record["type"] == "message" and record["message"]["role"] == "assistant":
            announced.append(now)
    for body, messages in zip(announced, session.requests(), strict=True):
        yield body | {"messages": messages}


def sent(request: Request) -> Json:
    return {name: value for name, value in request.body.items() if name not in TRANSPORT}


def _tasks(conversations: Iterable[list[Json]]) -> list[str]:
    """The first user message of each: the task, alone or joined with text of a resume."""
    return [next((m["content"] for m in messages if m["role"] == "user"), "") for messages in conversations]


def _check_form(session: Session) -> None:
    records = session.records
    assert list(range(len(records))) == [record["id"] for record in records]
    assert all(isinstance(record["ts"], float | int) and isinstance(record["type"], str) for record in records)
    assert "result" == records[-1]["type"]
    assert [] == _unanswered(session)
    _check_meta(session.meta, records[-1])
    for path in (session.folder, *session.folder.rglob("*")):
        assert (0o700 if path.is_dir() else 0o600) == stat.S_IMODE(path.stat().st_mode), path


def _unanswered(session: Session) -> list[str]:
    """The ids of calls that would have no result in the next request."""
    dropped = {id for record in session.records if record["type"] == "drop" for id in record["ids"]}
    remaining = [record for record in session.records if record["type"] == "message" and record["id"] not in dropped]
    messages = [record["message"] for record in remaining]
    asked = [call["id"] for message in messages for call in message.get("tool_calls", ())]
    answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    return [id for id in asked if id not in answered]


def _check_meta(meta: Json, result: Json) -> None:
    for name in ("status", "stop_reason", "turns", "usage"):
        assert result[name] == meta[name]
    assert all(type(value) in (int, float) for value in meta["metrics"].values())
    assert {"prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"} <= set(meta["tree_usage"])
