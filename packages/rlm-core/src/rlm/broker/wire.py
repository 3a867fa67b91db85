"""What goes over the socket between a cell and its host: one JSON object a line, one connection a call.

The cell sends a request and keeps the connection open; closing it cancels the child. The host answers with one
line: `result` or `error`. Nothing in here is trusted by the host but checked; nothing is ever unpickled by it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlm.budget import Stop
from rlm.errors import AgentError
from rlm.messages import Usage
from rlm.result import RunResult

LINE = 64 * 1024 * 1024
"""Bytes of the longest line: a task may be long, data goes by file."""

OPTIONS = ("model", "tools", "max_turns", "cwd", "system_prompt", "timeout")


@dataclass(frozen=True, slots=True)
class Request:
    """A cell asks for a sub-agent. `options` are texts; what is not given is the parent's.

    `context` names a pickle (or a plain file, by `kind`) in the parent's runtime folder; `about` describes it.
    """

    token: str
    task: str
    options: dict[str, str] = field(default_factory=dict)
    context: str = ""
    kind: str = "pickle"
    about: str = ""

    def line(self) -> bytes:
        told = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps(told).encode() + b"\n"


def parse_request(line: bytes) -> Request:
    """Read what a kernel sent.

    Raises:
        AgentError: it is no request.
    """
    try:
        told: Any = json.loads(line)
        options = {str(name): str(text) for name, text in told.get("options", {}).items()}
        texts = {name: str(told.get(name, "")) for name in ("token", "task", "context", "kind", "about")}
    except (ValueError, AttributeError):
        raise AgentError("the request is not a JSON object") from None
    if unknown := [name for name in options if name not in OPTIONS]:
        raise AgentError(f"unknown argument {unknown[0]!r}; there are {', '.join(OPTIONS)} and context")
    return Request(options=options, **texts)


def result_line(result: RunResult) -> bytes:
    usage = {name: getattr(result.usage, name) for name in result.usage.__dataclass_fields__}
    told = {
        "type": "result",
        "answer": result.answer,
        "stop": result.stop,
        "turns": result.turns,
        "session_dir": str(result.session_dir),
        "usage": usage,
    }
    return json.dumps(told).encode() + b"\n"


def error_line(reason: str, stop: str = Stop.ERROR) -> bytes:
    return json.dumps({"type": "error", "reason": reason, "stop": stop}).encode() + b"\n"


def parse_answer(line: bytes) -> RunResult:
    """Read what the host sent.

    Raises:
        AgentError: the child failed, was refused, or the host is gone.
    """
    if not line:
        raise AgentError("the host closed the connection", Stop.CANCELLED)
    told = json.loads(line)
    if told["type"] == "error":
        raise AgentError(told["reason"], told["stop"])
    return RunResult(
        told["answer"], Stop(told["stop"]), Usage(**told["usage"]), told["turns"], Path(told["session_dir"])
    )
