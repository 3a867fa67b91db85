# pyright: strict
"""A program that uses the SDK, checked by mypy and pyright in their strict modes. It is never run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, assert_type

import rlm as module
from rlm import Host, RunResult, TaskResult, rlm


async def short_forms(names: Sequence[str]) -> None:
    assert_type(await rlm("task"), RunResult)
    assert_type(await rlm("task", max_turns=3, context={"n": 7}, sandbox="bwrap", timeout=3.5), RunResult)
    assert_type(await rlm.run("task", tools=names, cwd=Path()), RunResult)
    assert_type(await module.run("task", model=None), RunResult)
    assert_type(rlm.run_sync("task", model_params={"seed": 7}), RunResult)
    async for record in rlm.stream("task", images=True):
        assert_type(record, dict[str, Any])
    await rlm("task", max_turn=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await rlm("task", max_turns="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def batches() -> None:
    async for result in rlm.batch(["a", {"id": 1, "prompt": "b"}], concurrency=4, executor="here", max_turns=3):
        assert_type(result, TaskResult)
        assert_type(result.reward, float | None)
    rlm.batch(["a"], max_turn=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def hosts() -> str:
    try:
        async with Host(base_url="http://localhost", api_key="sk", max_turns=2) as host:
            result = await host.run("task", max_depth=1)
            assert_type(await host.resume(result.session_dir, "more", timeout=60), RunResult)
            async with host.open(id="7f3a", fork=True) as agent:
                assert_type(await agent.ask("task", timeout=3), RunResult)
    except rlm.AgentError as error:
        return error.stop
    except module.RlmError as error:
        return str(error.session_dir)
    return result.stop
