"""Kernels of rlm itself, from a warm zygote: median seconds from asking for one to its first reply.

python warm.py bare|boxed COUNT
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

from rlm.kernel import JupyterKernel, KernelSpec, Zygote
from rlm.sandbox import Box, Walls, build
from rlm.scratch import private_folder

_ENOUGH = 8_000_000_000  # bytes


async def _measure(count: int, *, boxed: bool) -> float:
    with private_folder() as folder:
        walls = build(Path.cwd(), folder, folder, {}, net=False, memory=_ENOUGH, file_size=_ENOUGH) if boxed else None
        async with Zygote() as zygote:
            await _start(zygote, folder / "first", None)  # the zygote itself is no kernel's to pay for
            return median([await _start(zygote, folder / str(number), walls) for number in range(count)])


async def _start(zygote: Zygote, folder: Path, walls: Walls | None) -> float:
    folder.mkdir(mode=0o700)
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        box = await stack.enter_async_context(Box(walls, folder)) if walls else None
        spec = KernelSpec(Path.cwd(), {}, folder, folder / "outputs", door=box.door if box else None)
        kernel = await stack.enter_async_context(JupyterKernel(spec, lambda _: None, zygote))
        await kernel.execute("1+1", 60)
        return time.monotonic() - began


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"start": asyncio.run(_measure(int(sys.argv[2]), boxed=sys.argv[1] == "boxed"))}))
