"""A kernel: ipykernel's, with our shell, on two sockets and two threads.

It has no heartbeat, control or stdin channel: the host watches the process and interrupts it by signal, and nobody
answers questions. `build` does the work that needs no launch request (a zygote does it once for all), `serve` the rest.
"""

from __future__ import annotations

import asyncio
import atexit
import faulthandler
import json
import logging
import os
import random
import signal
import sys
import threading
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from contextvars import copy_context
from functools import partial
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, cast

import zmq

from rlm.inside import loops
from rlm.inside.child_statuses import ChildStatuses
from rlm.inside.concurrent import ConcurrentCells
from rlm.inside.displays import show_inline
from rlm.inside.effects import EffectNotes
from rlm.inside.emergencies import CrashBuffer, EmergencyMemory
from rlm.inside.jupyter import (
    CachingCompiler,
    Config,
    IOLoop,
    IOPubThread,
    IPythonKernel,
    Session,
    StdinNotImplementedError,
    Trait,
    Type,
    ZMQInteractiveShell,
    ZMQStream,
    json_default,
)
from rlm.inside.late_results import late_results
from rlm.inside.launch import KernelLaunch, make_unattended, python_path
from rlm.inside.namespace import Namespace
from rlm.inside.output import OutputMultiplexer, Stream
from rlm.inside.packages import add_to_path
from rlm.inside.shell import Profile, Shell, forget_error

_RUN_CODE = ZMQInteractiveShell.run_code.__code__
_WAITING = 100  # messages that may wait in the kernel for a slow host; as many may wait in the host


class RlmKernel(IPythonKernel):
    shell_class = Type(Shell)
    # ipykernel's compiler names cells after files that do not exist; then IPython skips no similar frames in tracebacks
    compiler_class = Type(CachingCompiler)
    debugger_class = Trait(None)
    _execute_sleep = 0.0  # ipykernel's protection against a race that cannot occur with XPUB_NODROP and one multiplexer
    _supports_kernel_subshells = False

    namespace: Namespace
    reserve: EmergencyMemory
    multiplexer: OutputMultiplexer
    loop: loops.KernelLoop
    statuses: ChildStatuses
    concurrent: ConcurrentCells
    ending = ""
    """The reason why this kernel is about to end, if a cell has requested it."""
    _interrupted_early = False
    """True if SIGINT came between a cell's `busy` status and its code."""

    def start(self) -> None:
        """Start to receive requests. ipykernel's version expects all five channels."""
        self.io_loop = IOLoop.current()
        context = copy_context()  # one for all cells: context variables keep their values from cell to cell

        async def dispatch(frames: list[Any]) -> None:
            if self.loop.in_cell and self.concurrent.take(frames, context):
                return
            await asyncio.create_task(self.shell_main(None, frames), context=context)

        self.shell_stream.on_recv(dispatch, copy=False)
        self._publish_status("starting", "shell")

    def _publish_status(self, status: str, channel: str, parent: Any = None) -> None:
        """Publish a status. From `busy` on, note interrupts, since the host may then interrupt the cell.

        ipykernel handles SIGINT only later, in `pre_handler_hook`.
        """
        if status == "busy":
            self._interrupted_early = False
            signal.signal(signal.SIGINT, self._note_interrupt)
        super()._publish_status(status, channel, parent)

    def _note_interrupt(self, *_: object) -> None:
        self._interrupted_early = True

    def pre_handler_hook(self) -> None:
        """Do nothing: SIGINT is noted from `busy` on, and raises in `do_execute`."""

    def post_handler_hook(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    async def do_execute(self, code: str, *args: Any, **options: Any) -> dict[str, Any]:
        pid = os.getpid()
        self.loop.in_cell = True
        self.reserve.hold()
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if self._interrupted_early:
                raise KeyboardInterrupt
            self.namespace.before_cell(code, self.shell.user_ns)
            with late_results.cell():
                reply: dict[str, Any] = await super().do_execute(code, *args, **options)
            if "traceback" in reply:  # iopub has sent it already, and it may be megabytes
                reply |= {"traceback": [], "evalue": reply["evalue"][:1000]}
            self.shell.display_pub.publish_widgets()
            self._tell_late_results()
            return reply
        except KeyboardInterrupt:  # in code around the cell: the text of the cell's error may hang
            return {"status": "error"}
        except RecursionError as error:  # the compilers of Python and IPython process expressions recursively
            with self.own_streams():
                print(f"RecursionError: {error}. The cell contains an expression that is nested too deeply.")
            return {"status": "error"}
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if os.getpid() != pid:
                os._exit(0)  # this is a child that the cell forked: it must not send the reply
            await self.concurrent.finished()
            self.reserve.release()
            self.loop.in_cell = False
            if self.loop.stopped:
                self.ending = "the cell stopped the kernel's event loop"
            self.fix()

    def _tell_late_results(self) -> None:
        if ended := late_results.take():
            with self.own_streams():
                print(ended)

    @contextmanager
    def _cancel_on_sigint(self, future: asyncio.Future[Any]) -> Iterator[None]:
        """Interrupt a cell with top-level await like any other cell.

        ipykernel's own handler never interrupts code that does not await, and for code that awaits it does not wake the
        event loop (https://github.com/ipython/ipykernel/issues/881).
        """

        def interrupt(_: int, frame: FrameType | None) -> None:
            if self.concurrent.interrupt(frame):
                return
            while frame is not None:
                if frame.f_code is _RUN_CODE:  # the cell is computing
                    raise KeyboardInterrupt
                frame = frame.f_back
            self.loop.call_soon_threadsafe(future.cancel)

        saved = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, saved)

    def finish_metadata(self, parent: Any, metadata: dict[str, Any], reply_content: Any) -> dict[str, Any]:  # noqa: ARG002
        cells, names = self.shell.execution_count - 1, self.namespace.owned(self.shell.user_ns)
        ours = {"names": names, "ending": self.ending, "cells": cells, "exit_status": self.statuses.take()}
        return metadata | {"rlm": ours}

    def do_shutdown(self, restart: bool) -> dict[str, Any]:
        self.ending = "the cell shut the kernel down"
        return {"status": "ok", "restart": restart}

    def raw_input(self, prompt: str = "") -> str:  # noqa: ARG002 - the builtin's signature
        raise StdinNotImplementedError("input() cannot work here: nobody can answer. Put the value in the code.")

    def getpass(self, prompt: str = "", stream: object = None, **options: object) -> str:  # noqa: ARG002
        raise StdinNotImplementedError("getpass() cannot work here: nobody can answer.")

    @contextmanager
    def own_streams(self) -> Iterator[None]:
        """Use the kernel's own streams for its messages: a cell may have closed, replaced or redirected sys.stdout."""
        with redirect_stdout(self._stdout), redirect_stderr(self._stderr):
            yield

    def fix(self) -> None:
        """Restore the streams for the next cell, if a cell has changed them."""
        sys.stdout, sys.stderr = self._stdout, self._stderr
        self.multiplexer.fix()


class _OutOfMemoryHandler(logging.Handler):
    """Kill the kernel if ipykernel logs that it has no memory for its own work: it would send no reply."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[0] is MemoryError:
            os.kill(os.getpid(), signal.SIGKILL)


def _no_debugger(*_: object, **__: object) -> None:
    raise StdinNotImplementedError("breakpoint() cannot work here: nobody can type into a debugger.")


def build() -> RlmKernel:
    """Build a kernel without sockets, threads or an event loop, so that the process can still be forked."""
    config = Config()
    config.HistoryManager.enabled = False  # no sqlite file, no thread
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.display_page = True  # help is part of the output, not of the reply
    config.Completer.use_jedi = False
    log = logging.getLogger("ipykernel")
    log.addHandler(_OutOfMemoryHandler())
    log.propagate = False
    kernel: RlmKernel = RlmKernel.instance(
        config=config,
        log=log,
        # JSON in ASCII: a cell may print a lone surrogate, which UTF-8 cannot encode
        session=Session(
            key=b"not yet", username="rlm", pack=lambda part: json.dumps(part, default=json_default).encode()
        ),
        profile_dir=Profile(),
        # ipykernel reads from it which thread receives signals
        shell_channel_thread=SimpleNamespace(parent_thread=threading.main_thread()),
    )
    kernel.namespace = Namespace()
    kernel.reserve = EmergencyMemory()
    kernel.statuses = ChildStatuses()
    kernel.concurrent = ConcurrentCells(kernel)
    kernel._stdout, kernel._stderr = sys.stdout, sys.stderr
    return kernel


def warm(kernel: RlmKernel) -> None:
    """Run a first cell and a first error silently, so that every fork has what they import and cache."""
    import IPython.core.logger  # noqa: F401 - the event loop and a cell of the user import these two only in the fork
    import tornado.platform.asyncio  # noqa: F401

    run_cell = partial(ZMQInteractiveShell.run_cell, kernel.shell, silent=True)
    run_cell("pass")
    kernel.shell.display_formatter.format(1)
    run_cell("1/0")
    forget_error()


def serve(kernel: RlmKernel, launch: KernelLaunch, folder: str) -> None:
    """Run until the kernel is asked to end."""
    faulthandler.enable(os.dup(2), all_threads=False)  # writes to the log where the kernel crashed
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # SIGINT has a handler only while a cell runs
    make_unattended()
    show_inline()
    warnings.filterwarnings("ignore", "To exit: use")  # IPython's advice after sys.exit() would end the kernel
    sys.breakpointhook = _no_debugger
    random.seed()
    loops.install()
    kernel.session.key = launch.key
    kernel.session.session = str(uuid.uuid4())
    kernel.session.pid = os.getpid()
    kernel.shell.profile_dir.location = folder
    sys.argv[:] = [""]
    sys.path += python_path()
    add_to_path()
    sys.path.append("")  # last, so that the working directory shadows nothing
    kernel.shell.user_ns["_dh"][:] = [os.getcwd()]  # noqa: PTH109 - for `%cd -`; the zygote has another folder
    with asyncio.Runner(loop_factory=loops.KernelLoop) as runner:
        runner.run(_serve(kernel, launch))


async def _serve(kernel: RlmKernel, launch: KernelLaunch) -> None:
    kernel.loop = cast("loops.KernelLoop", asyncio.get_running_loop())
    asyncio.set_event_loop(kernel.loop)
    context = zmq.Context()
    shell = context.socket(zmq.ROUTER)
    shell.bind(launch.shell)
    kernel.shell_stream = ZMQStream(shell)
    iopub = context.socket(zmq.XPUB)
    # ipykernel's socket drops messages, even `idle`, when the reader is slow; this one waits. See XPUB_NODROP in
    # http://api.zeromq.org/4-3:zmq-setsockopt. Measured: without it, hundreds of 20,000 flushed lines are lost
    iopub.setsockopt(zmq.XPUB_NODROP, 1)
    iopub.setsockopt(zmq.SNDHWM, _WAITING)
    iopub.bind(launch.iopub)
    iopub.recv()  # wait for the host's subscription: messages before it would be lost
    _connect(kernel, IOPubThread(iopub), CrashBuffer(launch.crash))
    EffectNotes(Path(launch.crash).parent, kernel.statuses).install()
    kernel.statuses.install()
    kernel.namespace.set_context(launch.context)
    kernel.namespace.set_servers(launch.servers)
    kernel.namespace.prepare(kernel.shell.user_ns)
    kernel.start()
    await asyncio.Event().wait()


def _connect(kernel: RlmKernel, publisher: Any, crash: CrashBuffer) -> None:
    """Connect a built kernel to its output sockets and streams."""
    publisher.session = kernel.session
    publisher.start()
    atexit.unregister(publisher.stop)  # it would wait for a thread that may hang; the host reads the rest anyway
    kernel.multiplexer = OutputMultiplexer(kernel.session, publisher, crash)
    kernel.iopub_thread, kernel.iopub_socket = publisher, kernel.multiplexer
    for part in (kernel.shell.displayhook, kernel.shell.display_pub):
        part.session, part.pub_socket = kernel.session, kernel.multiplexer
    kernel._stdout, kernel._stderr = Stream("stdout", 1, kernel.multiplexer), Stream("stderr", 2, kernel.multiplexer)
    kernel.fix()
