"""A fan-out of 50 while kernels are killed and children cancelled: whatever happens, every account is true."""

from __future__ import annotations

import contextlib
import json
import random
from collections import Counter
from collections.abc import Callable

import psutil
import pytest
from cli import Rlm, Session
from scripted import Answer, Request, Scripted, call, text

ROOT = """\
tasks = [asyncio.ensure_future(rlm.run(f"child {n}")) for n in range(50)]
async def cancel_some():
    for n in range(0, 50, 7):
        await asyncio.sleep(0.2)
        tasks[n].cancel()
ended, _ = await asyncio.gather(asyncio.gather(*tasks, return_exceptions=True), cancel_some())
import json
print(json.dumps([getattr(e, "answer", type(e).__name__) for e in ended]))"""

CELL = "import os, time\nprint('kernel', os.getpid())\ntime.sleep(0.4)\nprint('through')"


def script(request: Request) -> Answer:
    if request.depth == 0:
        return call("ipython", code=ROOT) if request.turn == 0 else text("end")
    if request.turn == 0:
        return call("ipython", code=CELL)
    return text("died" if "the kernel died" in request.last else "through")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_run_ends_with_a_true_account(rlm: Callable[[Scripted], Rlm], seed: int) -> None:
    with Scripted(script) as server:
        made = rlm(server)
        process = made.start("--json", "go", RLM_MAX_DEPTH="1")
        killed = _kill_kernels(process.pid, random.Random(seed), 12)
        out, err = process.communicate(timeout=180)
    assert 0 == process.returncode, err.decode()
    last = json.loads(out.splitlines()[-1])
    root = Session(made.cwd / ".rlm" / "sessions" / last["session_id"])
    _check_children(root, killed)
    assert not psutil.pid_exists(process.pid)


def _kill_kernels(host: int, dice: random.Random, wanted: int) -> set[int]:
    """Kill `wanted` kernels of children at random, as they come. Returns their process ids."""
    killed: set[int] = set()
    root: int | None = None
    with contextlib.suppress(psutil.NoSuchProcess):
        while len(killed) < wanted:
            kernels = [p for p in psutil.Process(host).children(recursive=True) if _is_kernel(p, host)]
            root = root or min((p.pid for p in kernels), default=None)
            others = [p for p in kernels if p.pid not in {root, *killed}]
            if others:
                victim = dice.choice(others)
                victim.kill()
                killed.add(victim.pid)
    return killed


def _is_kernel(process: psutil.Process, host: int) -> bool:
    """A process that a zygote forked: it is no child of the host itself."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return "rlm.inside" in " ".join(process.cmdline()) and process.ppid() != host
    return False


def _check_children(root: Session, killed: set[int]) -> None:
    told = Counter(json.loads(root.results[0]))
    assert 50 == told.total()
    statuses = Counter(child.meta["status"] for child in root.children)
    assert "running" not in statuses
    # Where a kernel was killed while it started, the child failed. And a child may have ended, well or not, just before
    # its await is cancelled: the cell is told of the cancellation alone.
    answered, failed = told["through"] + told["died"], told["AgentError"]
    assert answered <= statuses["done"]
    assert failed <= statuses["error"]
    assert statuses["done"] + statuses["error"] - answered - failed <= told["CancelledError"]
    assert told.keys() <= {"through", "died", "CancelledError", "AgentError"}
    ended = {record["folder"]: record["stop"] for record in root.records if record["type"] == "agent_end"}
    assert {child.folder.name: child.meta["stop_reason"] for child in root.children} == ended
    for child in root.children:
        _check_child(child, killed)


def _check_child(child: Session, killed: set[int]) -> None:
    calls = [call["id"] for message in child.messages for call in message.get("tool_calls", ())]
    assert calls == [message["tool_call_id"] for message in child.messages if message["role"] == "tool"]
    for result in child.results:
        if "the kernel died" in result:
            assert "SIGKILL" in result
        elif "through" in result:
            assert int(result.split()[1]) not in killed, "a cell that came through had a kernel that lived"
