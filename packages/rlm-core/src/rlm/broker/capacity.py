"""What the brokers of one host may use: connections, memory and descriptors, for each agent and in all.

A kernel may open connections without end, and say nothing or too much on each. Whoever is over a limit waits in the
socket's own queue, which costs the host nothing, or is refused with a line.
"""

from __future__ import annotations

import asyncio
import resource
from functools import cached_property

AGENT_READING = 8
"""Connections of one agent that are read at once."""
AGENT_CALLS = 2_048
"""Calls of one agent that run at once; more wait."""
HOST_READING = 256
"""Connections that are read at once in all of the host."""
HOST_LONG = 4
"""Requests above `SHORT` that are read at once in all of the host."""
HOST_CALLS = 4_096
"""Calls that run at once in all of the host; more are refused, for to wait could be to wait for oneself."""

SHORT = 64 << 10
"""Bytes of a request that are read before it has to wait for one of the few places for long ones."""
DEADLINE = 10.0
"""Seconds from the connection to the whole request, not counting time spent waiting for a place."""
PAUSE = 0.01
"""Seconds that a connection which came to nothing keeps its place: a flood of them is slow."""

_SHARE = 4  # of the descriptors that the system allows, a quarter is for calls


class HostCapacity:
    """One for a host, shared by the brokers of all its agents."""

    def __init__(self) -> None:
        self.reading = asyncio.Semaphore(HOST_READING)
        self.long = asyncio.Semaphore(HOST_LONG)
        self.calls = 0

    @cached_property
    def most_calls(self) -> int:
        """By the limit of open files when it is first asked for: a host raises that limit when it opens."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return HOST_CALLS if soft == resource.RLIM_INFINITY else min(HOST_CALLS, soft // _SHARE)


class AgentCapacity:
    """One agent's part of it."""

    def __init__(self, host: HostCapacity) -> None:
        self.host = host
        self.reading = asyncio.Semaphore(AGENT_READING)
        self.long = asyncio.Semaphore(1)
        self.calls = asyncio.Semaphore(AGENT_CALLS)
