"""Recordings that are written by hand: the turns that `rlm --model replay:FILE` plays."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def turn(task: str, text: str, code: str = "") -> Json:
    """What a model says to the agent with this task, and the cell that it writes."""
    message: Json = {"role": "assistant", "content": text}
    if code:
        function = {"name": "ipython", "arguments": json.dumps({"code": code})}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    return {"task": task, "message": message, "finish_reason": "tool_calls" if code else "stop"}


def write(path: Path, turns: Iterable[Json]) -> None:
    path.write_text("".join(json.dumps(each) + "\n" for each in turns))
