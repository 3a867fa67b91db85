"""Recordings that are written by hand: turns for `rlm --model replay:FILE`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def turn(task: str, text: str, code: str = "") -> Json:
    """A model's message to the agent with this task, and its cell."""
    message: Json = {"role": "assistant", "content": text}
    if code:
        function = {"name": "ipython", "arguments": json.dumps({"code": code})}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    return {"task": task, "message": message, "finish_reason": "tool_calls" if code else "stop"}


def write(path: Path, turns: Iterable[Json]) -> None:
    path.write_text("".join(json.dumps(each) + "\n" for each in turns))
