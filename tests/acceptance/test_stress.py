"""A fan-out of 50 while kernels are killed and children cancelled: all outcomes are reported correctly."""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from rlm_testkit.cli import Rlm, Session
from rlm_testkit.scripted import Answer, Request, Scripted, call, text
from rlm_testkit.waiting import TIMEOUT

CANCELLED = range(0, 50, 7)
ROOT = f"""\
tasks = [asyncio.ensure_future(rlm.run(f"child {{n}}")) for n in range(50)]
async def cancel_some():
    for n in {CANCELLED}:
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


@pytest.mark.parametrize("seed", [1, 2])
def test_every_run_ends_with_a_correct_account(rlm: Callable[[Scripted], Rlm], seed: int) -> None:
    with Scripted(script) as server, ThreadPoolExecutor(1) as pool:
        command = rlm(server)
        process = command.start("--json", "go", RLM_MAX_DEPTH="1")
        end = pool.submit(process.communicate, timeout=2 * TIMEOUT)
        killed = _kill_kernels(process.pid, random.Random(seed), 12, end.done)
        out, err = end.result()
    assert killed
    assert 0 == process.returncode, err.decode()
    last = json.loads(out.splitlines()[-1])
    root = Session(command.cwd / ".rlm" / "sessions" / last["session_id"])
    _check_outcomes(root)
    ended = {record["folder"]: record["stop"] for record in root.records if record["type"] == "agent_end"}
    assert {child.folder.name: child.meta["stop_reason"] for child in root.children} == ended
    for child in root.children:
        _check_child(child, killed)
    assert not psutil.pid_exists(process.pid)


def _kill_kernels(host: int, dice: random.Random, wanted: int, over: Callable[[], bool]) -> set[int]:
    """Kill `wanted` random kernels of children, one at a time. Return their process ids."""
    killed: set[int] = set()
    root: int | None = None
    while len(killed) < wanted and not over():
        with contextlib.suppress(psutil.NoSuchProcess):
            kernels = [p for p in psutil.Process(host).children(recursive=True) if _is_kernel(p, host)]
            if root is None and kernels:
                root = min(kernels, key=psutil.Process.create_time).pid
            others = [p for p in kernels if p.pid not in {root, *killed}]
            if others:
                victim = dice.choice(others)
                victim.kill()
                killed.add(victim.pid)
    return killed


def _is_kernel(process: psutil.Process, host: int) -> bool:
    """Whether a zygote forked it: then it is not a child of the host itself."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return "rlm.inside" in " ".join(process.cmdline()) and process.ppid() != host
    return False


def _check_outcomes(root: Session) -> None:
    """The outcome of each child in the cell is the same as in the child's own folder."""
    reported = dict(enumerate(json.loads(root.results[0])))
    found = {int(child.meta["prompt_preview"].removeprefix("child ")): child.meta for child in root.children}
    assert (50, len(root.children)) == (len(reported), len(found)), "each child has a separate folder"
    for number, outcome in reported.items():
        if outcome == "CancelledError":
            assert number in CANCELLED
            # It may have ended, with or without success, just before its await was cancelled; or not have begun.
            assert number not in found or found[number]["status"] in {"cancelled", "done", "error"}
        elif outcome == "AgentError":  # its kernel was killed while it started, and so was the second one
            assert "error" == found[number]["status"]
        else:
            assert outcome in {"through", "died"}
            assert ("done", outcome) == (found[number]["status"], found[number]["answer_preview"])


def _check_child(child: Session, killed: set[int]) -> None:
    calls = [call["id"] for message in child.messages for call in message.get("tool_calls", ())]
    assert calls == [message["tool_call_id"] for message in child.messages if message["role"] == "tool"]
    for result in child.results:
        if "the kernel died" in result:
            assert "SIGKILL" in result
            if begun := re.match(r"kernel (\d+)\n", result):
                assert int(begun[1]) in killed, "a kernel that was not killed must not die"
