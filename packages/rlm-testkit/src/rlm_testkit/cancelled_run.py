"""Cancels a run in the sandbox at its first await, then a new run at the second, and so on.

`python cancelled_run.py FOLDER` prints a line of JSON: the number of awaits of a run, and the faults of each run that
hung or left a process. Each await is cancelled alone, and with one of its neighbours, as if a user pressed Ctrl-C
twice.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Coroutine, Generator, Sequence
from pathlib import Path
from typing import Any

import psutil
import rlm

_LONG = 60.0  # seconds; a run that takes longer hangs
_CALL = {"id": "1", "type": "function", "function": {"name": "ipython", "arguments": '{"code": "6 * 7"}'}}
_TURNS = [
    {"role": "assistant", "content": None, "tool_calls": [_CALL]},
    {"role": "assistant", "content": "42"},
]


class Awaits:
    """Counts the awaits of all tasks, and cancels one task at the wanted ones."""

    def __init__(self, wanted: Sequence[int]) -> None:
        self.count = 0
        self.victim: asyncio.Task[Any] | None = None
        self._wanted = wanted

    def new_task(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(self._drive(work), loop=loop, **options)

    async def _drive(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await _Driven(work, self)

    def note(self) -> None:
        self.count += 1
        if self.count in self._wanted and self.victim is not None:
            asyncio.get_running_loop().call_soon(self.victim.cancel)


class _Driven:
    def __init__(self, work: Coroutine[Any, Any, Any], awaits: Awaits) -> None:
        self._work = work
        self._awaits = awaits

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._work.__await__()
        error: BaseException | None = None
        while True:
            try:
                waited = steps.send(None) if error is None else steps.throw(error)
            except StopIteration as end:
                return end.value
            error = None
            self._awaits.note()
            try:
                yield waited
            except BaseException as thrown:  # noqa: BLE001 - the driven coroutine handles it
                error = thrown


async def attempt(folder: Path, *wanted: int) -> tuple[int, dict[str, object]]:
    """Run the task and cancel it at the `wanted` awaits. Return the number of awaits, and the faults of its end."""
    awaits = Awaits(wanted)
    asyncio.get_running_loop().set_task_factory(awaits.new_task)
    awaits.victim = asyncio.ensure_future(rlm.run("go", cwd=folder / "work"))
    done, _ = await asyncio.wait({awaits.victim}, timeout=_LONG)
    if not done:
        return awaits.count, {"cancelled at": wanted, "hangs at": [str(frame) for frame in awaits.victim.get_stack()]}
    if not wanted:
        awaits.victim.result()  # re-raises an error of the run that is not cancelled
    _, alive = psutil.wait_procs(psutil.Process().children(recursive=True), timeout=60)
    return awaits.count, {"cancelled at": wanted, "left": [one.name() for one in alive]} if alive else {}


def main(folder: Path) -> None:
    (folder / "work").mkdir()
    recording = folder / "turns.jsonl"
    recording.write_text("".join(json.dumps({"task": "go", "message": turn}) + "\n" for turn in _TURNS))
    os.environ |= {"RLM_MODEL": f"replay:{recording}", "RLM_SANDBOX": "bwrap", "RLM_HOME": str(folder / "home")}
    count, wrong = asyncio.run(attempt(folder))
    faults = [wrong]
    for number in range(1, count + 1):
        pairs = [(number, number + 1)] if number % 2 else []
        for wanted in ((number,), *pairs):
            faults.append(asyncio.run(attempt(folder, *wanted))[1])
    print(json.dumps({"awaits": count, "faults": [fault for fault in faults if fault]}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
