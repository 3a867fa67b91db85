"""A kernel that attacks its host over the socket. It gets one line at most, and other agents are not affected."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from rlm.broker.client import ask
from rlm.broker.protocol import LINE, RunRequest
from rlm.broker.server import AGENT_READING, HOST_CALLS, Broker, HostCapacity
from rlm.core.task import RunResult
from rlm.errors import AgentError
from rlm_testkit.fakes import RESULT, Runs, path_and_token, return_result
from rlm_testkit.waiting import TIMEOUT

MEGABYTE = 1 << 20


@pytest.fixture(autouse=True)
def no_unhandled_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail if asyncio logs an exception that nobody handled: many of these would fill the user's terminal or disk."""
    caplog.set_level(logging.WARNING)
    yield
    assert [] == [record.getMessage() for record in caplog.records if "slow" not in record.getMessage()]


def one_line(data: bytes) -> str:
    """Check that the reply is one line with an error, and return its reason."""
    assert data.count(b"\n") == 1
    reply = json.loads(data)
    assert "error" == reply["type"]
    assert "\n" not in reply["reason"]
    assert "Traceback" not in reply["reason"]
    return str(reply["reason"])


async def reply_to(path: str, data: bytes) -> bytes:
    """Send the data, and return the first line of the host's reply."""
    reader, writer = await asyncio.open_unix_connection(path, limit=64 * MEGABYTE)
    try:
        writer.write(data)
        with suppress(ConnectionError):  # the host may refuse the request before all of it has arrived
            await writer.drain()
        return await reader.readline()
    finally:
        writer.close()


def deep(opening: bytes) -> bytes:
    return opening * (15 * MEGABYTE // len(opening))


BAD = {
    "nothing": b"",
    "not JSON": b"{",
    "two objects": b"{} {}",
    "a control character in a text": b'{"task": "a\x01b"}',
    "NUL": b"\0" * 100,
    "not UTF-8": b'{"task": "\xff"}',
    "a surrogate in UTF-8": b'{"task": "\xed\xa0\x80"}',
    "UTF-16": '{"task": "a"}'.encode("utf-16-le"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "NaN": b'{"task": NaN}',
    "Infinity": b'{"options": {"timeout": -Infinity}}',
    "a lone surrogate": b'{"task": "\\ud800"}',
    "a lone surrogate in an option": b'{"options": {"model": "\\udfff"}}',
    "a lone surrogate as the name of an option": b'{"options": {"\\udfff": "x"}}',
    "a lone surrogate in the token": b'{"token": "\\udfff"}',
    "a huge number": b'{"task": %s}' % (b"9" * 100_000),
    "a huge number that is read": b'{"options": {"max_turns": %s}}' % (b"9" * 4_000),
    "a huge exponent": b'{"options": {"max_turns": 1e999999999}}',
    "a duplicate name": b'{"token": "a", "token": "b"}',
    "a duplicate option": b'{"options": {"model": "a", "model": "b"}}',
    "deep arrays": deep(b"["),
    "deep objects": deep(b'{"a":'),
    "deep options": b'{"options": ' + b"[" * 3_000,
    "deep and complete": b'{"task": %s%s}' % (b"[" * 2_000, b"]" * 2_000),
    "millions of lists": b"[%s[]]" % (b"[]," * (5 * MEGABYTE)),
    "millions of texts": b'[%s""]' % (b'"",' * (5 * MEGABYTE)),
    "millions of names": b"{%s}" % b",".join(b'"%d":1' % number for number in range(10**6)),
    "a task that is not text": b'{"task": {}}',
    "a task that is null": b'{"task": null}',
    "a task that is true": b'{"task": true}',
    "options that are a list": b'{"options": []}',
    "an option that is a list": b'{"options": {"tools": ["bash"]}}',
    "a long name of an option": b'{"options": {"%s": "x"}}' % (b"x" * MEGABYTE),
    "a long option": b'{"options": {"model": "%s"}}' % (b"x" * MEGABYTE),
    "a long description of the context": b'{"context": {"name": "x", "kind": "file", "about": "%s"}}'
    % (b"x" * MEGABYTE),
    "a context that is a text": b'{"context": "x"}',
    "a long token": b'{"token": "%s"}' % (b"x" * MEGABYTE),
    "more than the limit": b'{"task": "%s"}' % (b"x" * LINE),
    "more than the limit, without an end": b"x" * (2 * LINE),
}


def as_request(line: bytes) -> bytes:
    """Return the line as part of a request of this version, so that only this part is invalid."""
    whole = b'{"version": 1, "verb": "run", '
    return whole + line[1:] if line.startswith(b'{"') else line


async def test_an_invalid_request_is_answered_with_one_line(tmp_path: Path) -> None:
    started: list[RunRequest] = []

    async def work(request: RunRequest) -> RunResult:
        started.append(request)
        return RESULT

    async with Broker(tmp_path, Runs(work)) as broker:
        path, token = path_and_token(broker)
        for name, line in BAD.items():
            reason = one_line(await reply_to(path, as_request(line) + b"\n"))
            assert len(reason) < 5_000, name
            assert "version" not in reason, name
        assert [] == started
        assert RESULT == await ask(path, RunRequest(token, "task"))


async def test_a_request_that_is_parsed_costs_no_more_than_its_length(tmp_path: Path) -> None:
    """json.loads needs 64 bytes for each `[],`: the host must not build objects of many times the size of the request."""
    async with Broker(tmp_path, Runs(return_result)) as broker:
        before = peak()
        for line in (BAD["millions of lists"], BAD["millions of texts"], BAD["millions of names"]):
            one_line(await reply_to(path_and_token(broker)[0], as_request(line) + b"\n"))
        assert peak() - before < 150 * MEGABYTE


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def test_a_long_task_arrives_and_a_longer_one_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    requests: list[RunRequest] = []

    async def work(request: RunRequest) -> RunResult:
        requests.append(request)
        return RESULT

    long = 'é\\"' * (LINE // 12)
    async with Broker(tmp_path, Runs(work)) as broker:
        path, token = path_and_token(broker)
        assert RESULT == await ask(path, RunRequest(token, long))
        with pytest.raises(AgentError, match="pass data as `context`"):
            await ask(path, RunRequest(token, "x" * LINE))
    assert [long] == [request.task for request in requests]


@contextmanager
def flood(path: str, connections: int, data: bytes) -> Iterator[list[socket.socket]]:
    """Open that many connections, or as many as the host's queue accepts. Each sends `data` as long as it is read."""
    with ExitStack() as stack:
        ends = []
        for _ in range(connections):
            end = stack.enter_context(socket.socket(socket.AF_UNIX))
            end.settimeout(0)
            try:
                end.connect(path)
            except BlockingIOError:
                break
            ends.append(end)
        stop = threading.Event()
        writer = threading.Thread(target=_write, args=(ends, data, stop))
        writer.start()
        stack.callback(writer.join)
        stack.callback(stop.set)
        yield ends


def _write(ends: list[socket.socket], data: bytes, stop: threading.Event) -> None:
    while not stop.wait(0.001):
        for end in ends:
            try:
                end.send(data)
            except OSError:
                continue


async def test_many_connections_that_send_without_end_cost_little_and_block_nobody(tmp_path: Path) -> None:
    """Without a limit, 30 of them cost 1.9 GB."""
    host = HostCapacity()
    folders = [tmp_path / name for name in ("hostile", "other")]
    for folder in folders:
        folder.mkdir()
    async with asyncio.timeout(TIMEOUT), Broker(folders[0], Runs(return_result), host) as hostile:
        before = psutil.Process().memory_info().rss
        with flood(path_and_token(hostile)[0], 60, b"x" * MEGABYTE) as ends:
            assert len(ends) == 60
            async with Broker(folders[1], Runs(return_result), host) as other:
                path, token = path_and_token(other)
                for _ in range(20):
                    assert RESULT == await ask(path, RunRequest(token, "y" * 200_000))
            closed = await asyncio.get_running_loop().run_in_executor(None, _read_all, ends[:AGENT_READING])
            assert psutil.Process().memory_info().rss - before < 150 * MEGABYTE
    assert all(one_line(line) for line in closed)


def _read_all(ends: list[socket.socket]) -> list[bytes]:
    """Read one reply from each. The sockets stay non-blocking, because the flood still writes to them."""
    received = []
    for end in ends:
        assert select.select([end], [], [], TIMEOUT)[0]
        received.append(end.recv(100_000))
    return received


async def test_idle_and_incomplete_connections_are_closed(tmp_path: Path) -> None:
    async with asyncio.timeout(TIMEOUT), Broker(tmp_path, Runs(return_result)) as broker:
        path, token = path_and_token(broker)
        silent, incomplete = [await asyncio.open_unix_connection(path) for _ in range(2)]
        incomplete[1].write(b'{"token": "')
        long = await asyncio.open_unix_connection(path)
        long[1].write(b"x" * 100_000)
        assert RESULT == await ask(path, RunRequest(token, "task")), "idle connections must not block others"
        for reader, writer in (silent, incomplete, long):
            assert "not complete after" in one_line(await reader.readline())
            assert b"" == await reader.read()
            writer.close()


async def test_twenty_thousand_connections_use_few_descriptors_and_block_nobody(tmp_path: Path) -> None:
    """Without a limit they take all descriptors, and asyncio logs 240 MB about it."""
    before = psutil.Process().num_fds()
    host = HostCapacity()
    (tmp_path / "other").mkdir()
    async with (
        asyncio.timeout(TIMEOUT),
        Broker(tmp_path, Runs(return_result), host) as broker,
        Broker(tmp_path / "other", Runs(return_result), host) as other,
    ):
        path, _ = path_and_token(broker)
        stop = threading.Event()
        most = 0

        def connect_repeatedly() -> int:
            count = 0
            while count < 20_000 and not stop.is_set():
                with socket.socket(socket.AF_UNIX) as end:
                    end.settimeout(0)
                    try:
                        end.connect(path)
                        end.send(b'{"version": 1, "verb": "run", "token": "wrong", "task": ""}\n')
                        count += 1
                    except OSError:
                        continue
            return count

        connecting = asyncio.get_running_loop().run_in_executor(None, connect_repeatedly)
        for _ in range(200):
            assert RESULT == await ask(path_and_token(other)[0], RunRequest(path_and_token(other)[1], "task"))
            most = max(most, psutil.Process().num_fds())
        stop.set()
        assert await connecting > 0
    assert most - before < 50


async def test_calls_beyond_the_limit_of_the_host_are_refused_with_a_line(tmp_path: Path) -> None:
    host = HostCapacity()
    assert host.most_calls <= HOST_CALLS
    host.most_calls = 3
    running, go_on = 0, asyncio.Event()

    async def work(_: RunRequest) -> RunResult:
        nonlocal running
        running += 1
        await go_on.wait()
        return RESULT

    async with asyncio.timeout(TIMEOUT), Broker(tmp_path, Runs(work), host) as broker:
        path, token = path_and_token(broker)
        calls = [asyncio.create_task(ask(path, RunRequest(token, "task"))) for _ in range(3)]
        while running < 3:
            await asyncio.sleep(0.01)
        with pytest.raises(AgentError, match="3 calls run at once"):
            await ask(path, RunRequest(token, "task"))
        go_on.set()
        assert [RESULT] * 3 == await asyncio.gather(*calls)
        assert RESULT == await ask(path, RunRequest(token, "task")), "a finished call makes room for the next"


def test_the_host_leaves_most_descriptors_to_others() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    try:
        assert 100 == HostCapacity().most_calls
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyError("x"), RecursionError("deep")])
async def test_every_failure_of_the_host_is_one_line(tmp_path: Path, error: Exception) -> None:
    async def fails(_: RunRequest) -> RunResult:
        raise error

    async with Broker(tmp_path, Runs(fails)) as broker:
        path, token = path_and_token(broker)
        with pytest.raises(AgentError, match=type(error).__name__):
            await ask(path, RunRequest(token, "task"))


@pytest.mark.parametrize("plant", [Path.mkdir, Path.touch, os.mkfifo, lambda path: path.symlink_to("elsewhere")])
async def test_something_in_the_place_of_the_socket_is_reported_at_once(
    tmp_path: Path, plant: Callable[[Path], object]
) -> None:
    plant(tmp_path / "rlm.sock")
    with pytest.raises(AgentError, match=r"rlm\.sock, cannot be created: Address already in use"):
        async with Broker(tmp_path, Runs(return_result)):
            pass


@pytest.mark.parametrize("plant", [Path.mkdir, Path.touch, os.mkfifo])
async def test_a_file_that_a_cell_puts_there_later_is_reported_to_the_cell_and_blocks_nobody(
    tmp_path: Path, plant: Callable[[Path], object]
) -> None:
    async with Broker(tmp_path, Runs(return_result)) as broker:
        path, token = path_and_token(broker)
        Path(path).unlink()
        plant(Path(path))
        with pytest.raises(AgentError, match="does not answer"):
            await ask(path, RunRequest(token, "task"))
