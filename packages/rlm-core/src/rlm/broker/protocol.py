"""What goes over the socket between a cell and its host: one JSON object a line, one connection a call.

The cell sends a request and keeps the connection open; closing it cancels the child. The host answers with one
line: `result` or `error`. Nothing in here is trusted by the host but checked; nothing is ever unpickled by it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlm.core.budget import Stop
from rlm.core.messages import Usage
from rlm.core.result import RunResult
from rlm.errors import AgentError
from rlm.text import strict_json
from rlm.text.encodings import join_surrogates

LINE = 16 << 20
"""Bytes of the longest request: more than any model reads, and data goes by file."""

OPTIONS = ("model", "tools", "max_turns", "cwd", "system_prompt", "timeout")

_LONG = ("task", "system_prompt")
"""The texts that only the length of the line limits."""
_SHORT = 8_192
"""Characters of any other text: a path has at most 4,096 bytes."""
_STRINGS, _BETWEEN = 64, 4_096  # a request has about 30 strings
_QUOTED = 4_000  # characters of a reason
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class SpawnRequest:
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
        """In UTF-8, which holds no half of a character (a lone surrogate): `\ufffd` stands for it.

        Raises:
            AgentError: it is longer than the host takes.
        """
        told = json.dumps({name: getattr(self, name) for name in self.__dataclass_fields__}, ensure_ascii=False)
        line = join_surrogates(told).encode() + b"\n"
        if len(line) > LINE:
            raise AgentError(too_long(len(line)))
        return line


def too_long(size: int) -> str:
    return (
        f"the request has {size:,} bytes, and the host takes {LINE:,}: hand data on as `context`, which goes by a file"
    )


def parse_request(line: bytes) -> SpawnRequest:
    """Read what a kernel sent.

    Raises:
        AgentError: it is no request.
    """
    try:
        told = strict_json.loads(line, strings=_STRINGS, between=_BETWEEN)
        if not isinstance(told, dict) or not isinstance(told.get("options", {}), dict):
            raise ValueError("it is no object of texts")
        options = _texts(told.get("options", {}))
        texts = _texts({name: told.get(name, "") for name in ("token", "task", "context", "kind", "about")})
    except ValueError as error:
        raise AgentError(f"the request is refused: {error}") from None
    if unknown := [name for name in options if name not in OPTIONS]:
        raise AgentError(f"unknown argument {unknown[0][:80]!r}; there are {', '.join(OPTIONS)} and context")
    return SpawnRequest(options=options, **texts)


def _texts(told: Mapping[str, Any]) -> dict[str, str]:
    """
    Raises:
        ValueError: one of them is no text and no number, is too long, or holds what no text can.
    """
    for name, value in told.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"{name[:80]!r} is no text")
        text = str(value)
        if len(text) > _SHORT and name not in _LONG:
            raise ValueError(f"{name[:80]!r} has {len(text):,} characters, of at most {_SHORT:,}")
        if _SURROGATE.search(text):
            raise ValueError(f"{name[:80]!r} holds half a character (a lone surrogate), which has no UTF-8")
    return {name: str(value) for name, value in told.items()}


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
    return json.dumps({"type": "error", "reason": reason[:_QUOTED], "stop": stop}).encode() + b"\n"


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
