"""The tool `bash`: one command in a fresh shell."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rlm.core.events import OutputReceived
from rlm.core.history import History
from rlm.core.messages import Outcome, Schema
from rlm.core.ports import SandboxedCommand, Sink
from rlm.errors import ToolError
from rlm.process import files
from rlm.process.supervisor import ProcessGroups
from rlm.process.unattended import unattended
from rlm.text.bounded import BoundedOutput, Cleaner, Quota
from rlm.tools.timeouts import call_timeout

_GRACE = 1.0  # seconds between SIGTERM and SIGKILL for a command
_BLOCK = 65_536
_PAUSE = 0.1  # seconds
_REST = 16  # blocks to read after the end of a command: as much as a pipe can hold


class Bash:
    """Run commands with `shell -c`, each in its own process group. In a sandbox, the shell is its `bash`.

    `timeout` is the default in seconds. `max_output` is the maximum of characters (None: no limit); longer output is
    kept in `outputs`. With `sandboxed`, commands run in a sandbox. Background processes run until `close()`, or until
    we end.
    """

    name = "bash"

    def __init__(  # noqa: PLR0917 - created in one place, from the settings
        self,
        cwd: Path,
        environment: Mapping[str, str],
        outputs: Path,
        timeout: float,
        max_output: int | None,
        sink: Sink,
        sandboxed: SandboxedCommand | None = None,
        *,
        groups: ProcessGroups,
        shell: Path,
        quota: Quota | None = None,
    ) -> None:
        self._cwd = cwd
        self._shell = "bash" if sandboxed else str(shell)
        self._environment = unattended(environment)
        self._outputs = outputs
        self._quota = quota
        self._timeout = timeout
        self._limit = max_output
        self._sink = sink
        self._sandboxed = sandboxed
        self._groups = groups
        self._pipes: list[_OutputPipe] = []

    def schema(self) -> Schema:
        return {
            "name": self.name,
            "description": "Run a command in a fresh bash. No stdin. Returns stdout and stderr in order.",
            "parameters": {
                "type": "object",
                "properties": {
                    "command": {"type": "string"},
                    "timeout": {"type": "number", "description": f"seconds, default {self._timeout:g}"},
                },
                "required": ["command"],
            },
        }

    async def run(self, arguments: dict[str, Any], history: History) -> Outcome:  # noqa: ARG002 - the port's signature
        limit = call_timeout(self.name, arguments, self._timeout)
        code, text = await self.execute(arguments["command"], limit)
        note = _note(code, limit)
        parts = (text.removesuffix("\n") if note else text, note)
        return Outcome("\n".join(filter(None, parts)) or "[no output]", ok=code == 0)

    async def execute(self, command: str, limit: float) -> tuple[int | None, str]:
        """Run a command. Return its exit code, or None after `limit` seconds, and its output.

        Raises:
            ToolError: it cannot be started.
        """
        with BoundedOutput(self._limit, self._outputs, "bash.txt", self._quota) as output:
            pipe = _OutputPipe(lambda text: self._on_text(text, output))
            try:
                code = await self._execute(command, limit, pipe)
            finally:
                pipe.finish()
                # a process may still have it open: keep reading, so that it is not blocked
                self._pipes = [pipe for pipe in (*self._pipes, pipe) if pipe.open]
            return code, output.text()

    def close(self) -> None:
        """Kill the background processes."""
        self._groups.close()
        for pipe in self._pipes:
            pipe.close()
        self._pipes.clear()

    def _on_text(self, text: str, output: BoundedOutput) -> None:
        if text:
            output.write(text)
            self._sink(OutputReceived(text))

    async def _execute(self, command: str, seconds: float, pipe: _OutputPipe) -> int | None:
        process = await self._start(command, pipe)
        self._groups.adopt(process.pid)
        try:
            async with asyncio.timeout(seconds):
                code = await process.wait()
        except TimeoutError:
            await self._end(process)
            return None
        except BaseException:
            self._groups.kill(process.pid)
            await process.wait()
            raise
        finally:
            self._groups.settle(process.pid)
        return code if code >= 0 else 128 - code  # the convention of shells for a signal

    async def _start(self, command: str, pipe: _OutputPipe) -> Process:
        try:
            # with a sandbox, only a process in it opens the folder: a cell may have put links there
            where = contextlib.nullcontext("/") if self._sandboxed else files.folder_for_child(self._cwd)
            with pipe.writer() as end, where as cwd:
                argv: tuple[str, ...] = (self._shell, "-c", command)
                if self._sandboxed:
                    argv = await self._sandboxed(self._cwd, *argv)
                return await asyncio.create_subprocess_exec(
                    *argv,
                    stdin=DEVNULL,
                    stdout=end,
                    stderr=end,
                    cwd=cwd,
                    env=self._environment | self._groups.environment(),
                    start_new_session=True,
                )
        except (OSError, ValueError) as error:  # no bash, no such folder, too long, a zero byte
            raise ToolError(f"The command could not be started: {error}.") from None

    async def _end(self, process: Process) -> None:
        """Send SIGTERM, so that the command can print its last output; then kill the whole group."""
        self._groups.kill(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await process.wait()
        self._groups.kill(process.pid)
        await process.wait()


def _note(code: int | None, limit: float) -> str:
    """Return a note about the end of a command; empty if it succeeded."""
    if code is None:
        return f"[timed out after {limit:g} s: the command and what it started were killed]"
    return f"[exit code: {code}]" if code else ""


class _OutputPipe:
    """The output of a command, cleaned and passed on as it arrives."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._cleaner = Cleaner()
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._read, self._pass_on_block)
        self.open = True

    @contextlib.contextmanager
    def writer(self) -> Iterator[int]:
        """Yield the write end for the command. Our copy is closed when the command has its own."""
        try:
            yield self._write
        finally:
            os.close(self._write)

    def finish(self) -> None:
        """Pass on the rest of the pipe after the command has ended. Later output does not belong to it."""
        for _ in range(_REST):
            if not self._pass_on_block():
                break
        self._emit(self._cleaner.write(self._decoder.decode(b"", final=True)) + self._cleaner.close())
        self._discard_block()

    def close(self) -> None:
        if self.open:
            self.open = False
            self._loop.remove_reader(self._read)
            os.close(self._read)

    def _pass_on_block(self) -> bool:
        """Read and pass on a block. Return whether there was one."""
        block = self._read_block()
        if block:
            self._emit(self._cleaner.write(self._decoder.decode(block)))
        return bool(block)

    def _discard_block(self) -> None:
        """Read and discard output of background processes, slowly, so that a flood does not keep us busy."""
        if not self.open or self._read_block() == b"":
            return
        self._loop.remove_reader(self._read)
        self._loop.call_later(_PAUSE, self._continue_discarding)

    def _continue_discarding(self) -> None:
        if self.open:
            self._loop.add_reader(self._read, self._discard_block)

    def _read_block(self) -> bytes | None:
        """Read a block. None if no data is available, empty at the end."""
        try:
            block = os.read(self._read, _BLOCK) if self.open else b""
        except BlockingIOError:
            return None
        if not block:
            self.close()
        return block
