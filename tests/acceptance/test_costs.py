"""behaviour.md, the cost of a run: shown with its tokens, and never 0 if the price is unknown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rlm_testkit.cli import Rlm
from rlm_testkit.scripted import Answer, Request, Scripted, always, call, text

Make = Callable[[Scripted], Rlm]

ONE = (60 * 2.5 + 40 * 1.25 + 10 * 10) / 1e6
"""The cost of one scripted answer by gpt-4o, in dollars."""


def of_azure(server: Scripted, folder: Path) -> Rlm:
    """A public endpoint with published prices: the scripted server acts as the proxy to it."""
    proxy = server.url.removesuffix("/v1")
    settings = {"RLM_BASE_URL": "http://acme.openai.azure.com/openai", "RLM_MODEL": "prod", "RLM_MAX_DEPTH": "1"}
    return Rlm(folder, settings | {"HTTP_PROXY": proxy})


def served_by(model: str) -> Callable[[Request], Answer]:
    def script(request: Request) -> Answer:
        answer = text("ok") if request.depth or request.turn else call("ipython", code=CHILD)
        assert isinstance(answer.body, dict)
        answer.body["model"] = model
        return answer

    return script


CHILD = "import rlm; print((await rlm.run('child')).usage.cost)"


def test_a_cost_is_shown_wherever_tokens_are_shown(tmp_path: Path) -> None:
    with Scripted(served_by("gpt-4o-2024-08-06")) as server:
        rlm = of_azure(server, tmp_path)
        done = rlm("--json", "go")
    meta, end = done.session.meta, done.lines[-1]
    (child,) = done.session.children
    assert pytest.approx(2 * ONE) == meta["usage"]["cost"] == meta["metrics"]["cost"]
    assert pytest.approx(3 * ONE) == meta["tree_usage"]["cost"] == meta["metrics"]["tree_cost"] == end["usage"]["cost"]
    assert pytest.approx(ONE) == child.meta["usage"]["cost"] == float(done.session.results[0])
    cost = "$0.0009"
    assert cost in done.err.splitlines()[-1]
    assert cost in rlm("ls").out
    assert cost in rlm("show", meta["session_id"]).out
    assert cost in rlm("export", meta["session_id"], "--format", "html").out
    assert f'"total_cost_usd": {meta["usage"]["cost"]}' in rlm("export", meta["session_id"], "--format", "atif").out


def test_a_model_without_a_known_price_is_unpriced(tmp_path: Path) -> None:
    with Scripted(served_by("scripted")) as server:
        rlm = of_azure(server, tmp_path)
        done = rlm("go")
    meta = done.session.meta
    assert "cost" not in meta["usage"] | meta["tree_usage"] | meta["metrics"]
    assert ["None\n"] == done.session.results
    assert "unpriced" in rlm("show", meta["session_id"]).out
    assert "unpriced" in rlm("export", meta["session_id"], "--format", "html").out
    assert "$" not in done.err + rlm("ls").out


def test_a_run_stops_when_its_dollars_are_spent_and_a_cell_sees_what_is_left(tmp_path: Path) -> None:
    look = call(
        "ipython", code="import rlm; b = rlm.budget(); print(b.cost_left, b.spent.cost, b.agents_left, b.depth_left)"
    )
    with Scripted(always(look)) as server:
        rlm = of_azure(server, tmp_path)
        done = rlm("go", RLM_MODEL="gpt-4o", RLM_MAX_COST=str(1.5 * ONE))
        refused = rlm("go", RLM_MAX_COST="1")
    assert (done.code, done.session.meta["stop_reason"], len(server.requests)) == (3, "cost_budget", 3), done.err
    left, spent, *rest = done.session.results[0].split()
    assert pytest.approx([0.5 * ONE, ONE]) == [float(left), float(spent)]
    assert rest == ["999", "1"]
    assert refused.code == 2
    assert "prod has none at this endpoint" in refused.err
