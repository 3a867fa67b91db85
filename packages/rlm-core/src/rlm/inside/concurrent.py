"""Run a cell of the user while a cell of the agent awaits something, such as a sub-agent.

Jupyter has subshells for this, which ipykernel 7 offers: one thread for each
(JEP 91, https://jupyter.org/enhancement-proposals/kernel-subshells). rlm does not use them:

- Only the main thread receives signals (ipykernel: "Signals only work in main thread, so cannot use
  _cancel_on_sigint in subshells"). A cell such as `while True: pass` could not be ended, and Ctrl-C would interrupt the
  agent's cell instead.
- A thread has its own event loop. It cannot await a task, a lock or a client of the agent's loop.
- sys.stdout, IPython's hooks and pyplot's figures belong to the process: two cells would change them at the same time.
- All requests of all cells would go through one more thread (ipykernel's shell channel thread).

So the user's cell is a task on the kernel's event loop. It begins when the agent's cell awaits, and ends before the
agent's cell is answered. A cell that computes without awaiting blocks all others.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context
from types import FrameType
from typing import TYPE_CHECKING, Any

from rlm.inside.displays import Widgets

if TYPE_CHECKING:
    from rlm.inside.kernel import RlmKernel

AWAKE = "awake_request"
"""A request that is answered when the event loop runs: then a cell of the user can run at once."""
EXECUTE = "user_execute_request"

_Place = tuple[Any, str]


class ConcurrentCells:
    """The concurrent cells of one kernel. They run one at a time."""

    def __init__(self, kernel: RlmKernel) -> None:
        self._kernel = kernel
        self._task: asyncio.Task[None] | None = None
        self._own: dict[str, Any] = {}
        self._count = 0
        kernel.shell_handlers[EXECUTE] = self._refuse

    def take(self, frames: list[Any], context: Context) -> bool:
        """Handle a request that comes while a cell of the agent awaits. False: it is not for this class."""
        session = self._kernel.session
        idents, parts = session.feed_identities(frames, copy=False)
        try:
            request = session.deserialize(parts, copy=False, content=False)  # peek: the message can be read again
            if request["msg_type"] == EXECUTE:
                request = session.deserialize(parts, copy=False)
        except (ValueError, TypeError, KeyError):
            return False
        if request["msg_type"] == AWAKE:
            session.send(self._kernel.shell_stream, "awake_reply", {}, request, ident=idents)
        elif request["msg_type"] == EXECUTE and self._task is None:
            self._task = asyncio.create_task(self._run(idents, request), context=context.copy())
        else:
            return False
        return True

    def interrupt(self, frame: FrameType | None) -> bool:
        """Interrupt the user's cell, which began after the agent's cell. False: no cell of the user runs.

        Args:
            frame: the frame that the signal interrupts.

        Raises:
            KeyboardInterrupt: the user's cell is computing.
        """
        if self._task is None:
            return False
        while frame is not None:
            if frame.f_code is _EXECUTE:
                raise KeyboardInterrupt
            frame = frame.f_back
        self._kernel.loop.call_soon_threadsafe(self._task.cancel)
        return True

    async def finished(self) -> None:
        """Wait until no cell runs beside the agent's cell, and continue the count of cells."""
        while self._task is not None:
            signal.signal(signal.SIGINT, lambda _, frame: self.interrupt(frame))
            await asyncio.wait({self._task})
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        shell = self._kernel.shell
        shell.execution_count, self._count = max(shell.execution_count, self._count), 0

    async def _refuse(self, stream: Any, idents: Any, request: Any) -> None:
        """Refuse the cell: the agent's cell has just ended, and the host runs the user's cell as the next one."""
        self._kernel.session.send(stream, "execute_reply", {"status": "aborted"}, request, ident=idents)

    async def _run(self, idents: Any, request: Any) -> None:
        kernel, pid = self._kernel, os.getpid()
        shell, parent = kernel.shell, kernel.get_parent("shell")
        number = max(shell.execution_count, self._count)
        self._own = {"stdout": kernel._stdout, "stderr": kernel._stderr, "excepthook": sys.excepthook, "ending": ""}
        self._own |= {"execution_count": number, "exec_result": None, "stopped": False}
        self._publish_status("busy", request)
        ok = False
        try:
            ok = await self._in_turns(self._execute(request["content"]["code"]), request, parent)
        except (KeyboardInterrupt, asyncio.CancelledError, RecursionError) as error:  # not in the user's code
            with self._computing(request, parent), kernel.own_streams():
                print(f"{type(error).__name__}: {error}".rstrip(": "))
        finally:
            if os.getpid() != pid:
                os._exit(0)  # this is a child that the cell forked
            self._answer(idents, request, parent, {"status": "ok" if ok else "error"})
            self._own, self._task = {}, None

    def _answer(self, idents: Any, request: Any, parent: Any, reply: dict[str, Any]) -> None:
        kernel = self._kernel
        kernel.multiplexer.flush()
        with self._computing(request, parent):
            self._count = kernel.shell.execution_count
            metadata = kernel.finish_metadata(request, {}, reply)
        kernel.session.send(kernel.shell_stream, "execute_reply", reply, request, ident=idents, metadata=metadata)
        self._publish_status("idle", request)

    def _publish_status(self, state: str, request: Any) -> None:
        kernel = self._kernel
        kernel.session.send(kernel.iopub_socket, "status", {"execution_state": state}, request)

    async def _execute(self, code: str) -> bool:
        """Run a cell as ipykernel's `do_execute` does, but without a separate task for a cell that awaits."""
        kernel, shell = self._kernel, self._kernel.shell
        kernel.namespace.before_cell(code, shell.user_ns)
        cell, problem = code, None
        try:
            cell = shell.transform_cell(code)
        except Exception:  # noqa: BLE001 - IPython shows it
            problem = sys.exc_info()
        if shell.should_run_async(code, transformed_cell=cell, preprocessing_exc_tuple=problem):
            result = await shell.run_cell_async(
                code, store_history=True, transformed_cell=cell, preprocessing_exc_tuple=problem
            )
            shell.events.trigger("post_execute")
            shell.events.trigger("post_run_cell", result)
        else:
            result = shell.run_cell(code, store_history=True)
        shell.display_pub.publish_widgets()
        if kernel.ending or kernel.loop.stopped:
            kernel.ending, kernel.loop.stopped = "", False
            print("Refused: a cell of the agent still runs in this kernel. Use /kernel restart to end it.")
        return bool(result.success)

    @types.coroutine
    def _in_turns(self, cell: Coroutine[Any, Any, bool], request: Any, parent: Any) -> Generator[Any, Any, bool]:
        """Await `cell`. Its changes to the process are active while it computes, and not while it waits."""
        step: Callable[[Any], Any] = cell.send
        value: Any = None
        while True:
            with self._computing(request, parent):
                try:
                    waits_for = step(value)
                except StopIteration as end:
                    return bool(end.value)
            try:
                step, value = cell.send, (yield waits_for)
            except BaseException as error:  # noqa: BLE001 - raised in the cell, which may catch it
                step, value = cell.throw, error

    @contextmanager
    def _computing(self, request: Any, parent: Any) -> Iterator[None]:
        kernel, places = self._kernel, [*self._places(), *_figures()]
        agents = [getattr(owner, name) for owner, name in places]
        for owner, name in places:
            setattr(owner, name, self._own[name] if name in self._own else _NEW[name]())
        with kernel.own_streams():
            kernel.set_parent([], request)
        try:
            yield
        finally:
            self._own |= {name: getattr(owner, name) for owner, name in places}
            for (owner, name), value in zip(places, agents, strict=True):
                setattr(owner, name, value)
            with kernel.own_streams():
                kernel.set_parent([], parent)

    def _places(self) -> list[_Place]:
        """Return the attributes that exist once in the process and that each cell sets for itself."""
        kernel, shell = self._kernel, self._kernel.shell
        ours = [(sys, "stdout"), (sys, "stderr"), (sys, "excepthook"), (kernel, "ending"), (kernel.loop, "stopped")]
        ours += [(kernel.statuses, name) for name in ("_failed", "_started", "_earlier")]
        return [*ours, (shell.displayhook, "exec_result"), (shell, "execution_count"), (shell, "widgets")]


_EXECUTE = ConcurrentCells._execute.__code__
_NEW: dict[str, Callable[[], Any]] = {
    "figs": OrderedDict,
    "_draw_called": bool,
    "_to_draw": list,
    "widgets": Widgets,
    "_failed": int,
    "_started": deque,
    "_earlier": list,
}
"""The initial values of these attributes."""


def _figures() -> list[_Place]:
    """Return the attributes that hold unshown pyplot figures; matplotlib_inline shows these when a cell ends."""
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    inline = sys.modules.get("matplotlib_inline.backend_inline")
    figures: list[_Place] = [(helpers.Gcf, "figs")] if helpers else []
    return figures + ([(inline.show, "_draw_called"), (inline.show, "_to_draw")] if inline else [])
