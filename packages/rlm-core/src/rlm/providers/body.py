"""Read the body of a reply in any form: a completion, or the events of a stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from rlm.core.messages import Wire
from rlm.providers import sse
from rlm.providers.error_body import QUOTED, web_page
from rlm.providers.errors import TransportError
from rlm.providers.ports import Assembler, OnData
from rlm.text.clip import one_line

GRACE = 10.0
"""Seconds without data, after a message has ended, that count as the end of the stream."""
_DRAIN = 1.0  # seconds to read what follows [DONE], so that the connection can be reused


async def read_body(response: Any, new_assembler: Callable[[], Assembler], on_data: OnData) -> Any:
    """Return the reply as JSON. Its first bytes show its form: some servers stream with any Content-Type, or unasked.

    Raises:
        HTTPError, TransportError: the body contains no reply.
    """
    chunks = _reported(response.aiter_bytes(), on_data)
    start, kind = b"", None
    async for chunk in chunks:
        start += chunk
        if kind := sse.kind_of(start):
            break
    if kind == "events":
        return await _read_events(_prepended(start, chunks), new_assembler(), on_data)
    rest = [chunk async for chunk in chunks]
    return _read_whole(b"".join((start, *rest)), response.headers.get("content-encoding", ""), new_assembler)


async def _reported(chunks: AsyncIterator[bytes], on_data: OnData) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        on_data(None)
        yield chunk


async def _prepended(start: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield start
    async for chunk in chunks:
        yield chunk


def _read_whole(body: bytes, encoding: str, new_assembler: Callable[[], Assembler]) -> Any:
    text = body.decode(json.detect_encoding(body), errors="replace")
    with suppress(ValueError, RecursionError):
        return sse.whole(text)
    with suppress(ValueError, RecursionError):
        return _read_lines(text, new_assembler())
    if page := web_page(text):
        raise TransportError(f"{page} instead of an answer", unreadable=True)
    if not text.strip():
        raise TransportError("the reply is empty", unreadable=True)
    if encoding in ("br", "zstd"):  # the HTTP client decompresses all others
        raise TransportError(f"the reply is compressed with {encoding}, which was not requested", unreadable=True)
    raise TransportError("the reply is cut off, or not JSON", unreadable=True)


def _read_lines(text: str, assembler: Assembler) -> Any:
    """Read a stream without server-sent events: one event per line.

    Raises:
        ValueError: it is not such a stream.
    """
    events = list(sse.payloads(text))
    if not all(map(assembler.takes, events)):
        raise ValueError("these are not events of a stream")
    for event in events:
        assembler.add(event)
    return assembler.body()


async def _read_events(chunks: AsyncIterator[bytes], assembler: Assembler, on_data: OnData) -> Wire:
    decoder = sse.SSEDecoder()
    async for chunk in _until_silent(chunks, lambda: assembler.finished):
        for data in decoder.feed(chunk):
            if _add(data, assembler, on_data):
                await _drain(chunks)
                return assembler.body(done=True)
    done = [_add(data, assembler, on_data) for data in decoder.end()]
    return assembler.body(done=any(done))


def _add(data: str, assembler: Assembler, on_data: OnData) -> bool:
    """Add an event. Return whether it was the last one."""
    if data.strip() == sse.DONE:
        return True
    try:
        for event in sse.payloads(data):
            on_data(assembler.add(event))
    except (ValueError, RecursionError):
        if not assembler.finished:  # some servers send other data after the end
            words = "" if data.lstrip().startswith(("{", "[")) else f" ({one_line(data, QUOTED)})"
            raise TransportError(f"the stream contains something that is not JSON{words}", unreadable=True) from None
    return False


async def _until_silent(chunks: AsyncIterator[bytes], finished: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Yield the chunks until the end, or until silence after it: some servers keep the connection open."""
    while True:
        limit = asyncio.timeout(GRACE if finished() else None)
        try:
            async with limit:
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            if limit.expired():
                return
            raise  # a timeout of the HTTP client
        yield chunk


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    with suppress(Exception):  # the reply has been read completely
        async with asyncio.timeout(_DRAIN):
            async for _ in chunks:
                pass
