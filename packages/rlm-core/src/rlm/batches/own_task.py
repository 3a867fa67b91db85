"""A generator that can be dropped: a loop over it may be left at any time, without closing it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def in_own_task(values: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """Yield `values`, which a task of their own produces: the next value is computed when it is asked for.

    If a loop is left early, Python finalizes each generator of a chain by itself, in any order: an outer one while an
    inner one still runs. Here it finalizes only this one, and the task closes the chain from the inside out.
    """
    queue: asyncio.Queue[T | _End] = asyncio.Queue()
    producer = asyncio.create_task(_produce(values, queue))
    try:
        while not isinstance(value := await queue.get(), _End):
            yield value
            queue.task_done()
        await producer
    finally:
        if not producer.done() and not producer.cancelling():
            producer.cancel()
        await asyncio.wait({producer})


class _End:
    """Follows the last value."""


async def _produce(values: AsyncGenerator[T], queue: asyncio.Queue[T | _End]) -> None:
    try:
        async with aclosing(values):
            async for value in values:
                queue.put_nowait(value)
                await queue.join()  # until the next one is asked for
    finally:
        queue.put_nowait(_End())
