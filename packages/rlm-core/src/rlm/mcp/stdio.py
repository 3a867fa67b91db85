"""An MCP server that is a program: its process, and the streams that the package `mcp` reads and writes.

The package can start a program too. But then rlm would not know its process, could not limit its lines and its log,
and could not kill it when rlm is killed.
"""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

from rlm.config.mcp_servers import StdioServer
from rlm.errors import McpError
from rlm.mcp.package import Transport, message_line, parse_message
from rlm.process.pipes import BoundedLog
from rlm.process.supervisor import ProcessGroups, Supervisor
from rlm.text.clip import one_line

_LINE = 64 << 20  # maximum bytes of a message
_GRACE = 1.0  # seconds after stdin is closed, and again after SIGTERM
_WORDS = 300  # maximum characters of the log in an error message


class ServerProcess:
    """Owns a running server program. Its log is read, and partly kept."""

    def __init__(self, process: Process, log: BoundedLog, groups: ProcessGroups) -> None:
        self._process = process
        self._log = log
        self._groups = groups
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(log, self._drain)
        self.ended = asyncio.Event()
        """Set when the program sends nothing more."""
        self._closed = False
        self.last_other_line = ""
        """The last printed line that is no message."""

    @classmethod
    async def start(
        cls, program: Path, server: StdioServer, cwd: Path, environment: Mapping[str, str], supervisor: Supervisor
    ) -> ServerProcess:
        """
        Raises:
            McpError: the program cannot be started.
        """
        groups, log = ProcessGroups(supervisor), BoundedLog()
        try:
            process = await asyncio.create_subprocess_exec(
                program,
                *server.args,
                stdin=PIPE,
                stdout=PIPE,
                stderr=log.end,
                cwd=cwd,
                env={**environment, **groups.environment()},
                limit=_LINE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            log.close()
            raise McpError(f"{server.command} could not be started: {error}") from None
        finally:
            log.close_end()
        groups.adopt(process.pid)
        return cls(process, log, groups)

    def transport(self) -> Transport:
        """Return the streams of messages from and to the program, in the form of the package."""
        return _streams(self)

    async def read(self) -> Any:
        """Return the next message; None at the end."""
        assert self._process.stdout is not None
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:
                line, self.last_other_line = b"", f"a message of more than {_LINE:,} bytes"
            if not line:
                self.ended.set()
                return None
            try:
                message = parse_message(line)
                self.last_other_line = ""
                return message
            except ValueError:
                self.last_other_line = line[:_WORDS].decode(errors="replace")  # many programs print greetings on stdout

    async def write(self, message: Any) -> None:
        """Send a message of the package to the program."""
        assert self._process.stdin is not None
        self._process.stdin.write(message_line(message))
        await self._process.stdin.drain()

    async def end_reason(self) -> str:
        """Describe in one line how the program ended, and its last log line."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await self._process.wait()
        if not self._closed:
            self._drain()
        code = self._process.returncode
        ended = "it still runs, but closed its output" if code is None else f"it ended with status {code}"
        lines = [line for line in [*self.last_other_line.splitlines(), *self._log.text().splitlines()] if line.strip()]
        return f"{ended}: {one_line(lines[-1], _WORDS)}" if lines else ended

    async def close(self) -> None:
        """Stop the program as the specification says: close stdin and wait, then ask it to end, then kill the rest."""
        with closing(self._groups):
            if self._process.stdin is not None:
                self._process.stdin.close()
            for signal_ in (None, signal.SIGTERM, signal.SIGKILL):
                if signal_ is not None:
                    self._groups.kill(self._process.pid, signal_)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_GRACE):
                        await self._process.wait()
                        break
            self._groups.settle(self._process.pid)
        self._drain()
        self._closed = True
        self._loop.remove_reader(self._log)
        self._log.close()

    def _drain(self) -> None:
        if not self._log.drain():
            self._loop.remove_reader(self._log)


@asynccontextmanager
async def _streams(process: ServerProcess) -> AsyncIterator[Any]:
    import anyio

    incoming, read = anyio.create_memory_object_stream[Any](0)
    write, outgoing = anyio.create_memory_object_stream[Any](0)

    async def pump_in() -> None:
        async with incoming:
            while (message := await process.read()) is not None:
                await incoming.send(message)

    async def pump_out() -> None:
        with suppress(OSError):  # the process has ended, which `pump_in` notices
            async for message in outgoing:
                await process.write(message)

    async with read, write, outgoing, anyio.create_task_group() as group:
        group.start_soon(pump_in)
        group.start_soon(pump_out)
        yield read, write
        group.cancel_scope.cancel()
