"""The rules that the scripted server applies to every request: each one refuses something, and a whole conversation
passes.
"""

from __future__ import annotations

from typing import Any

import pytest
from rlm_testkit.strict_order import problems

Json = dict[str, Any]

SYSTEM, USER = ({"role": role, "content": role} for role in ("system", "user"))
SAYS = {"role": "assistant", "content": "so"}
PICTURE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]}


def calls(*ids: str, arguments: str = "{}") -> Json:
    tool_calls = [{"id": id, "type": "function", "function": {"name": "bash", "arguments": arguments}} for id in ids]
    return {"role": "assistant", "content": None, "tool_calls": tool_calls}


def result(id: str) -> Json:
    return {"role": "tool", "tool_call_id": id, "content": "done"}


def test_messages_that_every_provider_accepts_have_no_problem() -> None:
    assert problems([SYSTEM, USER, calls("a", "b"), result("b"), result("a"), PICTURE, SAYS, USER]) == []


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([SYSTEM, SAYS, USER], "begins with the system prompt"),
        ([USER, SYSTEM, USER], "begins with the system prompt"),
        ([USER, SAYS], "nobody has spoken since the assistant"),
        ([USER, USER], "1: user after user"),
        ([USER, calls("a"), result("a"), USER], "3: user after tool"),
        ([USER, SAYS, SAYS, USER], "2: assistant after assistant"),
        ([USER, calls("a"), result("b")], "2: the answer to no call"),
        ([USER, calls("a"), result("a"), result("a")], "3: the answer to no call"),
        ([USER, calls("a"), USER], "2: user before the answer to"),
        ([USER, calls("a", "a"), result("a"), result("a")], "1: calls of one id"),
        ([USER, calls("a", "b"), result("a")], "no answer to ['b']"),
        ([USER, calls(), USER], "1: tool_calls is empty"),
        ([USER, {"role": "assistant", "content": ""}, USER], "1: the assistant says nothing"),
        ([{"role": "user", "content": []}], "0: the user says nothing"),
        ([USER, {"role": "assistant", "content": None}, USER], "1: the assistant says nothing"),
        ([USER, calls("a", arguments='{"n": 1'), result("a")], "1: arguments that are no JSON object"),
        ([USER, calls("a", arguments="[1]"), result("a")], "1: arguments that are no JSON object"),
    ],
)
def test_messages_that_some_provider_refuses_are_reported(messages: list[Json], problem: str) -> None:
    assert [] != [reported for reported in problems(messages) if problem in reported], problems(messages)
