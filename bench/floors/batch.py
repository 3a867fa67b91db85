"""A plain asyncio loop with the model calls and kernel executions of many small tasks.

    python batch.py URL COUNT AT_ONCE

Each task: a request by the SDK, a cell in a fresh forked ipykernel, a second request.
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def main() -> None:
    url, count, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    from bench.floors.many_kernels import Zygote

    launch = Zygote().launch  # before any thread starts
    asyncio.run(_work(url, count, at_once, launch))
    os._exit(0)  # skips the cleanup of contexts and threads, which is no part of the floor


async def _work(url: str, count: int, at_once: int, launch: Any) -> None:
    import openai

    from bench.floors.driver import Kernel

    client = openai.AsyncOpenAI(base_url=url, api_key="none")
    free = asyncio.Semaphore(at_once)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(at_once))

    def run(code: str) -> str:
        kernel = Kernel(launch)
        try:
            return kernel.run(code)
        finally:
            kernel.kill()

    async def ask(messages: list[Any]) -> Any:
        body = {"model": "scripted", "messages": messages}
        return await client.post("/chat/completions", body=body, cast_to=openai.types.chat.ChatCompletion)

    async def task(number: int) -> None:
        async with free:
            messages: list[Any] = [{"role": "user", "content": f"task {number}"}]
            reply = (await ask(messages)).choices[0].message
            result = await asyncio.to_thread(run, "1+1")
            messages += [
                reply.model_dump(),
                {"role": "tool", "tool_call_id": reply.tool_calls[0].id, "content": result},
            ]
            assert (await ask(messages)).choices[0].message.content == "done"

    await asyncio.gather(*map(task, range(count)))


if __name__ == "__main__":
    main()
