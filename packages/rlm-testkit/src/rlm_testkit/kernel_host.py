"""A separate host process, for tests that measure or kill it.

`python kernel_host.py FOLDER` reads commands as JSON lines, and answers with JSON lines. Commands: ["run", code,
timeout], ["stalled run", code, seconds], ["rss"], ["peak"].
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import psutil
from rlm.kernel import JupyterKernel, KernelSpec


class Peak:
    """The largest resident size of this process, sampled while it works."""

    def __init__(self) -> None:
        self.value = 0
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        me = psutil.Process()
        while True:
            self.value = max(self.value, me.memory_info().rss)
            await asyncio.sleep(0.01)


async def main(folder: Path) -> None:
    peak = Peak()
    env = {"PATH": os.defpath, "HOST_TEST": str(folder)}
    spec = KernelSpec(folder, env, folder, folder / "outputs", max_output=20_000)
    async with JupyterKernel(spec, lambda event: None) as kernel:
        while line := await asyncio.to_thread(sys.stdin.readline):
            reported = json.loads(line)
            answer: object = None
            match reported:
                case ["run", code, timeout]:
                    answer = (await kernel.execute(code, timeout)).text
                case ["stalled run", code, seconds]:
                    cell = asyncio.create_task(kernel.execute(code, 600))  # a busy machine needs more than a minute
                    for _ in range(3):
                        await asyncio.sleep(0.2)
                        time.sleep(seconds)
                    answer = (await cell).text
                case ["rss"]:
                    answer = psutil.Process().memory_info().rss
                case ["peak"]:
                    answer = peak.value
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
