"""Near the turn limit, and only there, results say how many turns are left."""

from __future__ import annotations

import pytest
from rlm.core.budget import Spent, TurnLimit
from rlm.host.agent_tool import AgentTool
from rlm.tools.ipython import IPython
from rlm_testkit.fakes import history
from rlm_testkit.kernel_bench import FakeKernel


@pytest.mark.parametrize(
    ("turns", "reported"),
    [
        (26, ""),
        (27, "[turns left: 3]"),
        (28, "[turns left: 2]"),
        (29, "[turns left: 1; answer with what you have]"),
        (30, ""),
    ],
)
async def test_the_last_turns_are_counted(turns: int, reported: str) -> None:
    tool = AgentTool(IPython(FakeKernel(lambda event: None), 300), limit(30))
    assert (await tool.run({"code": "6 * 7"}, history(turns))).content == f"42\n{reported}"
    assert tool.name == "ipython"
    assert tool.schema()["name"] == "ipython"


@pytest.mark.parametrize(("allowed", "turns", "reported"), [(3, 2, False), (4, 3, True), (8, 5, False), (8, 6, True)])
async def test_the_last_quarter_of_a_short_run_counts(allowed: int, turns: int, reported: bool) -> None:
    """The limit counts ten turns of an earlier run."""
    tool = AgentTool(IPython(FakeKernel(lambda event: None), 300), limit(allowed, earlier=10))
    assert ("turns left" in (await tool.run({"code": "1"}, history(10 + turns))).content) == reported


def limit(turns: int, earlier: int = 0) -> TurnLimit:
    turn_limit = TurnLimit(turns)
    turn_limit.begin(Spent(earlier))
    return turn_limit
