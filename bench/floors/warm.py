"""Kernels of rlm itself, from a warm zygote: median seconds from asking for one to its first reply.

python warm.py bare|boxed COUNT
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AbstractContextManager, AsyncExitStack
from pathlib import Path
from statistics import median

from rlm.kernel import JupyterKernel, KernelSpec, Zygote
from rlm.sandbox import Box, SandboxPolicy, open_policy
from rlm.scratch import private_folder

_ENOUGH = 8_000_000_000  # bytes


async def _measure(count: int, *, boxed: bool) -> float:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(private_folder())
        policy = stack.enter_context(_policy(folder)) if boxed else None
        zygote = await stack.enter_async_context(Zygote(sealed=boxed))
        await _start(zygote, folder / "first", None)  # the zygote itself is no kernel's to pay for
        return median([await _start(zygote, folder / str(number), policy) for number in range(count)])


def _policy(folder: Path) -> AbstractContextManager[SandboxPolicy]:
    return open_policy(Path.cwd(), folder, folder, {}, net=False, memory=_ENOUGH, file_size=_ENOUGH)


async def _start(zygote: Zygote, folder: Path, policy: SandboxPolicy | None) -> float:
    folder.mkdir(mode=0o700)
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        box = await stack.enter_async_context(Box(policy, folder)) if policy else None
        spec = KernelSpec(Path.cwd(), {}, folder, folder / "outputs", door=box.door if box else None)
        kernel = await stack.enter_async_context(JupyterKernel(spec, lambda _: None, zygote))
        await kernel.execute("1+1", 60)
        return time.monotonic() - began


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"start": asyncio.run(_measure(int(sys.argv[2]), boxed=sys.argv[1] == "boxed"))}))
