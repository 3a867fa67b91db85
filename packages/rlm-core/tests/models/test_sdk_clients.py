"""Tests of which SDK client a request gets, and which clients are closed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from rlm.providers.chat import ChatAssembler
from rlm.providers.connection import Connection
from rlm.providers.endpoint import Endpoint
from rlm.providers.ports import Piece
from rlm.providers.sdk_clients import SDKClients
from rlm_testkit.scripted import Scripted, text


class Client:
    closed = False

    async def close(self) -> None:
        self.closed = True


class ClientFactory:
    def __init__(self) -> None:
        self.clients: list[Client] = []

    def __call__(self) -> Client:
        self.clients.append(Client())
        return self.clients[-1]

    @property
    def closed(self) -> list[bool]:
        return [client.closed for client in self.clients]


async def use(clients: SDKClients, count: int) -> list[Any]:
    """Borrow `count` clients at once. Return them in the order in which they were released."""
    async with AsyncExitStack() as stack:
        borrowed = [await stack.enter_async_context(clients.borrow()) for _ in range(count)]
        return borrowed[::-1]


async def test_a_request_gets_the_client_that_was_used_last() -> None:
    factory = ClientFactory()
    clients = SDKClients(factory)
    three = await use(clients, 3)
    assert await use(clients, 1) == [three[-1]]
    assert len(factory.clients) == 3
    await clients.close()
    assert factory.closed == [True] * 3


async def test_surplus_clients_and_old_ones_are_closed_except_the_newest() -> None:
    kept, old = ClientFactory(), ClientFactory()
    newest = (await use(SDKClients(kept, max_keepalive=2), 4))[-1]
    assert sorted(kept.closed) == [False, False, True, True]
    assert not newest.closed
    newest = (await use(SDKClients(old, keepalive_expiry=-1), 4))[-1]
    assert sorted(old.closed) == [False, True, True, True]
    assert not newest.closed


async def test_only_so_many_are_granted_at_once() -> None:
    clients = SDKClients(ClientFactory(), max_connections=1)
    async with clients.borrow() as first:
        waiting = asyncio.ensure_future(use(clients, 1))
        await asyncio.sleep(0)
        assert not waiting.done()
    assert await waiting == [first]


async def test_requests_that_come_in_waves_use_the_connections_of_the_first() -> None:
    async def wave() -> None:
        posts = (connection.post("/chat/completions", {"messages": []}, {}, _unheard, ChatAssembler) for _ in "1234")
        await asyncio.gather(*posts)

    all_there = replace(text("ok"), gate=lambda _: len(server.requests) >= 4)
    with Scripted(lambda _: all_there) as server:
        connection = Connection(Endpoint(server.url), 10)
        for _ in range(3):
            await wave()
        assert len(server.requests) == 12
        assert server.seen["connected"] == 4
        await connection.close()


def _unheard(_: Piece | None) -> None: ...
