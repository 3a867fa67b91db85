"""A tool that asks the user before each call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rlm.core.budget import TurnLimit
from rlm.core.history import History
from rlm.host.agent_tool import AgentTool, Approval
from rlm_testkit.fakes import FakeTool


@pytest.mark.parametrize(
    ("approval", "reached", "content", "ok"),
    [
        (Approval(ok=True), [{"code": "1"}], 'ran {"code": "1"}', True),
        (Approval(ok=True, arguments={"code": "1"}), [{"code": "1"}], 'ran {"code": "1"}', True),
        (
            Approval(ok=True, arguments={"code": "2"}),
            [{"code": "2"}],
            '[The user changed the arguments before it ran: {"code": "2"}]\nran {"code": "2"}',
            True,
        ),
        (Approval(ok=False), [], "Not run: the user did not allow it.", False),
        (Approval(ok=False, reason="use uv"), [], "Not run: the user did not allow it: use uv", False),
    ],
)
async def test_a_call_runs_as_the_user_decides(approval: Approval, reached: list[Any], content: str, ok: bool) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    async def approve(name: str, arguments: dict[str, Any]) -> Approval:
        asked.append((name, arguments))
        return approval

    tool = FakeTool()
    confirming = AgentTool(tool, TurnLimit(), approve=approve)
    outcome = await confirming.run({"code": "1"}, History())
    assert asked == [("ipython", {"code": "1"})]
    assert (tool.calls, outcome.content, outcome.ok) == (reached, content, ok)
    assert json.dumps(confirming.schema()) == json.dumps(tool.schema()), "the model must not notice"
