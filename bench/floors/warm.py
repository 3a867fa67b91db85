"""Kernels of rlm itself, from a warm zygote, in a sandbox and without one, in turns.

    python warm.py COUNT

For each: the minimum seconds from the request for a kernel to its first reply, and the CPU seconds of one kernel from
its start to its end. The first is the time on an idle machine; the second hardly depends on other processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from contextlib import AbstractContextManager, AsyncExitStack, closing
from pathlib import Path

from rlm.kernel import JupyterKernel, KernelServer, KernelSpec
from rlm.process.supervisor import ProcessGroups, Supervisor
from rlm.sandbox import Sandbox, SandboxPolicy, open_policy

_ENOUGH = 8_000_000_000  # bytes of memory and of files
_ROUNDS = 4

Figures = dict[str, float]


async def _measure(count: int) -> Figures:
    measured: dict[str, list[tuple[float, float]]] = {"sandboxed": [], "bare": []}
    environment = {name: os.environ[name] for name in ("PATH", "HOME")}
    _make_repository(Path.cwd())
    async with AsyncExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        folder, groups = supervisor.folder, stack.enter_context(closing(ProcessGroups(supervisor)))
        policy = stack.enter_context(_policy(folder, environment, groups))
        for number in range(_ROUNDS):
            for kind, chosen in (("sandboxed", policy), ("bare", None)):
                measured[kind].append(await _many_kernels(folder / f"{kind}{number}", count, chosen, environment))
    least = {kind: [min(figures) for figures in zip(*rounds, strict=True)] for kind, rounds in measured.items()}
    return {
        f"{kind} {name}": value
        for kind, pair in least.items()
        for name, value in zip(("start", "cpu"), pair, strict=True)
    }


def _policy(folder: Path, environment: dict[str, str], groups: ProcessGroups) -> AbstractContextManager[SandboxPolicy]:
    cwd, most = Path.cwd(), _ENOUGH
    return open_policy(cwd, cwd / ".rlm", folder, environment, groups, net=False, memory=most, file_size=most)


def _make_repository(folder: Path) -> None:
    """Create a repository, as most projects are: a sandbox has ten mounts for it."""
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)


async def _many_kernels(
    folder: Path, count: int, policy: SandboxPolicy | None, env: dict[str, str]
) -> tuple[float, float]:
    """Run `count` kernels, one after the other. The CPU time of the zygote's start is subtracted."""
    folder.mkdir(mode=0o700)
    alone = await _spent(folder / "alone", 1, policy, env)
    all_of_them = await _spent(folder / "all", 1 + count, policy, env)
    return all_of_them[0], (all_of_them[1] - alone[1]) / count


async def _spent(folder: Path, count: int, policy: SandboxPolicy | None, env: dict[str, str]) -> tuple[float, float]:
    """The minimum seconds until a kernel has replied, and the CPU seconds of all kernels."""
    folder.mkdir(mode=0o700)
    began = _processor()
    async with KernelServer(sealed=True) as zygote:
        starts = [await _start(zygote, folder / str(number), policy, env) for number in range(count)]
    return min(starts), _processor() - began


async def _start(zygote: KernelServer, folder: Path, policy: SandboxPolicy | None, env: dict[str, str]) -> float:
    folder.mkdir(mode=0o700)
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox(policy, folder)) if policy else None
        spec = KernelSpec(
            Path.cwd(), env, folder, folder / "outputs", sandbox_handle=sandbox.handle if sandbox else None
        )
        kernel = await stack.enter_async_context(JupyterKernel(spec, lambda _: None, zygote))
        await kernel.execute("1+1", 60)
        return time.monotonic() - began


def _processor() -> float:
    """CPU seconds of this process, and of its children that have ended."""
    uses = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_measure(int(sys.argv[1])))))
