"""A kernel that sends hostile messages of the Jupyter protocol: they cost the host little, and the run continues."""

from __future__ import annotations

import asyncio
import resource

import pytest
from rlm_testkit.kernel_bench import KernelBench, OpenKernel


def peak() -> int:
    """The peak memory of this process, the host, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


pytestmark = pytest.mark.asyncio(loop_scope="module")

SENDER = """
import sys, threading
kernel = get_ipython().kernel
socket, parent = kernel.iopub_socket, kernel.get_parent()

def send(kind, content, parent=parent, **more):
    kernel.session.send(kernel.multiplexer._publisher.socket, kind, content, parent=parent, **more)

def say(work):
    # in the thread that owns the socket
    done = threading.Event()
    kernel.multiplexer._publisher.schedule(lambda: (work(), done.set()))
    done.wait()
"""


async def result(bench: KernelBench, code: str, timeout: float = 60) -> str:
    return (await bench.kernel.execute(SENDER + code, timeout)).text


FORGED = [
    "send('comm_open', {'comm_id': 'x' * 1000, 'target_name': 't', 'data': {}})",
    "send('comm_msg', {'comm_id': 'x', 'data': [[[[]]]] })",
    "send('input_request', {'prompt': 'password?', 'password': True})",
    "send('execute_input', {'code': '1', 'execution_count': -10**30})",
    "send('execute_result', {'data': {'text/plain': ''}, 'execution_count': 'nan', 'metadata': {}})",
    "send('status', {'execution_state': 'busy'}, parent={})",
    "send('status', {'execution_state': ['idle']})",
    "send('status', {})",
    "send('stream', {'name': 7, 'text': {'a': 1}})",
    "send('error', {'ename': None, 'evalue': [], 'traceback': {'a': 1}})",
    "send('display_data', {'data': [1, 2], 'transient': 'x'})",
    "send('update_display_data', {'data': {'text/plain': None}, 'transient': {'display_id': {'a': []}}})",
    "send('shutdown_reply', {'restart': False})",
    "send('no such message', {})",
    "kernel.multiplexer._publisher.socket.send_multipart([b''] * 900)",
    "kernel.multiplexer._publisher.socket.send_multipart([b'<IDS|MSG>'] * 100)",
    "kernel.multiplexer._publisher.socket.send_multipart([b'x', b'<IDS|MSG>', b'', b'', b'', b'', b''])",
]


async def test_invalid_and_strange_messages_change_nothing(shared: KernelBench) -> None:
    code = "".join(f"say(lambda: {line})\n" for line in FORGED)
    text = await result(shared, f"{code}print('and on')")
    assert "and on" in text
    assert "2" == (await shared.kernel.execute("1 + 1", 60)).text.strip()


async def test_many_pictures_and_displays_cost_a_bounded_number_of_files_and_of_texts(open_kernel: OpenKernel) -> None:
    picture = "{'data': {'image/png': 'AAAA'}, 'metadata': {}}"
    update = "{'data': {'text/plain': f'display {n}'}, 'metadata': {}, 'transient': {'display_id': str(n)}}"
    async with open_kernel() as bench:
        text = await result(
            bench,
            f"say(lambda: [send('display_data', {picture}) for n in range(300)])\n"
            f"say(lambda: [send('update_display_data', {update}) for n in range(3_000)])",
        )
        assert bench.spec
        assert 100 == len(list(bench.spec.outputs.glob("*.png")))
        assert 200 == text.count("not saved: at most 100 pictures per cell are saved")
        assert "display 2999" in text


async def test_a_value_with_a_million_parts_costs_the_host_nothing(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        before = peak()
        code = "say(lambda: send('display_data', {'data': {'text/plain': 'x', 'y': [[] for _ in range(3_000_000)]}}))"
        await result(bench, code, 120)
        assert peak() - before < 120 << 20
        assert "2" == (await bench.kernel.execute("1 + 1", 60)).text.strip()


FLOOD = """
import faulthandler, os

def logs():
    # the kernel's own, which is where faulthandler writes, and that of the process which forked it
    tape = os.fstat(1).st_ino
    for fd in map(int, os.listdir('/proc/self/fd')):
        target = os.readlink(f'/proc/self/fd/{fd}') if os.path.lexists(f'/proc/self/fd/{fd}') else ''
        if target.endswith('.log') or target.startswith('pipe:') and os.fstat(fd).st_ino != tape:
            yield fd
    yield os.open(f'/proc/{os.getppid()}/fd/2', os.O_WRONLY)

found = list(logs())
for fd in found:
    for text in (b'the beginning', b'.' * 20_000_000):
        while text:
            text = text[os.write(fd, text):]
print(len(found), sum(os.fstat(fd).st_size for fd in found))
"""


async def test_a_flooded_log_uses_no_disk_and_still_says_why_a_kernel_died(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        assert "2 0\n" == await bench.run(FLOOD)
        text = await bench.run("faulthandler._sigsegv()")
        assert "the beginning..." in text
        assert "bytes left out" in text
        assert "Fatal Python error: Segmentation fault" in text
        assert len(text) < 10_000
        assert "2" == (await bench.kernel.execute("1 + 1", 60)).text.strip()


RAW = """
import os, select, socket, stat

def connection():
    # to the host, for what is published
    for fd in map(int, os.listdir('/proc/self/fd')):
        if os.path.exists(f'/proc/self/fd/{fd}') or os.path.lexists(f'/proc/self/fd/{fd}'):
            try:
                one = socket.socket(fileno=os.dup(fd))
                if one.family == socket.AF_UNIX and str(one.getsockname()).endswith('-2') and one.getpeername() is not None:
                    return one
            except OSError:
                continue

to_host = connection()

def send(data):
    data = memoryview(data)
    while data:
        select.select([], [to_host], [])
        data = data[to_host.send(data):]
"""

LARGE = {
    "parts without end": "while True: send(bytes([1, 0]) * 32_768)",
    "commands without end": "while True: send(bytes([4, 0]) * 32_768)",
    "a large part": "send(bytes([2]) + (1 << 40).to_bytes(8, 'big'))\nwhile True: send(bytes(1 << 20))",
    "large parts": "while True:\n    send(bytes([3]) + (9 << 20).to_bytes(8, 'big'))\n    for _ in range(9): send(bytes(1 << 20))",
    "no messages": "while True: send(bytes([255]) * 65_536)",
    "the end": """
path = to_host.getsockname()
os.unlink(path)
os.symlink(path[:-4] + 'trap', path)
to_host.shutdown(socket.SHUT_RDWR)
__import__('time').sleep(60)
""",
}


async def test_a_message_that_is_too_large_is_not_kept_and_its_kernel_is_replaced(open_kernel: OpenKernel) -> None:
    """It covers a kernel that closes its connection, too: its socket is not connected again, because a cell may have
    replaced the file.
    """
    async with open_kernel() as bench:
        assert bench.spec
        reached: list[object] = []
        trap = await asyncio.start_unix_server(lambda *_: reached.append(_), bench.spec.run_dir / "trap")
        async with trap:
            for attack, code in LARGE.items():
                before = peak()
                text = await bench.run(f"{RAW}\n{code}")
                assert "it closed its connection, or it sent a message of more than 256 MiB or 1,000 parts" in text, (
                    attack
                )
                assert peak() - before < 400 << 20, attack
                assert "2\n" == await bench.run("1 + 1")
            assert [] == reached


async def test_a_cell_cannot_create_the_files_of_a_later_kernel(open_kernel: OpenKernel) -> None:
    async with open_kernel() as bench:
        assert bench.spec
        plant = (
            "import os\n"
            "for n in range(2, 20):\n"
            f"    for end in ('', '-1', '-2', '.log', '.crash', '.d'): os.mkdir(f'{bench.spec.run_dir}/k{{n}}{{end}}')\n"
            "os._exit(1)"
        )
        assert "A fresh kernel is ready" in (await bench.kernel.execute(plant, 60)).text
        assert "2" == (await bench.kernel.execute("1 + 1", 60)).text.strip()
