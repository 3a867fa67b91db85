"""The runs that scenarios are made of: rlm, or a floor that does the same, against a scripted server."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlm_testkit.scripted import Answer, Request, Script, Scripted, by_turn, call, text

from bench.harness import Bench, Ran, RunFailedError, Settings

DONE = text("done")
ONE = call("ipython", code="1+1")
ONE_CELL = by_turn(ONE, DONE)


@dataclass(frozen=True, slots=True)
class Served:
    """A run, and what the server saw of it. Times are `time.monotonic()`, which is one clock for all processes."""

    ran: Ran
    requests: Sequence[Request]

    @property
    def to_first(self) -> float:
        """Seconds from the start of the process to the arrival of its first request."""
        return self.requests[0].at - self.ran.began

    @property
    def to_exit(self) -> float:
        """Seconds from the last request, which is answered at once, to the end of the process."""
        return self.ran.ended - self.requests[-1].at

    @property
    def turns(self) -> list[float]:
        """Seconds between one request and the next."""
        times = [request.at for request in self.requests]
        return [later - earlier for earlier, later in itertools.pairwise(times)]


def rlm(
    bench: Bench, script: Script, settings: Settings | None = None, watch: Callable[[int], None] | None = None
) -> Served:
    """`rlm go`, that must end with the answer of the script.

    Raises:
        RunFailedError: it does not.
    """
    with Scripted(script, strict=False) as server:  # others send what they like
        given = {"model": "scripted", "base_url": server.url, "max_turns": 1000, **(settings or {})}
        ran = bench.run_rlm("go", given, watch)
    return _checked(Served(ran, tuple(server.requests)))


def floor(bench: Bench, client: str, script: Script, *, kernel: bool = True) -> Served:
    """The minimal agent with one of its clients."""
    with Scripted(script, strict=False) as server:  # others send what they like
        ran = bench.run_floor("agent", server.url, "--client", client, *(["--kernel"] if kernel else []))
    return _checked(Served(ran, tuple(server.requests)))


def figures(bench: Bench, program: str, *words: object) -> dict[str, float]:
    """What a floor measured itself, in seconds."""
    return dict(json.loads(bench.run_floor(program, *words).stdout))


def cells(count: int, cell: Answer = ONE) -> Script:
    """`count` cells, then the answer."""

    def script(request: Request) -> Answer:
        return cell if request.turn < count else done_if("2", request)

    return script


def gather(count: int) -> Answer:
    """A cell that runs `count` children at once."""
    names = f"(rlm.run(f'child {{i}}') for i in range({count}))"
    return call("ipython", code=f"import asyncio, rlm\nlen(await asyncio.gather(*{names}))")


def fan(count: int, child: Script = ONE_CELL) -> Script:
    """The root's one cell runs `count` children; the answer is `done` if all came to an end."""

    def script(request: Request) -> Answer:
        if request.depth:
            return child(request)
        if request.turn == 0:
            return gather(count)
        return done_if(str(count), request)

    return script


def done_if(expected: str, request: Request) -> Answer:
    """The right answer, if the last cell gave what it should."""
    return DONE if request.last.strip() == expected else text(request.last[-300:])


def _checked(served: Served) -> Served:
    answer = served.ran.stdout.strip()
    if answer != "done":
        raise RunFailedError(f"the answer was {answer[:200]!r}")
    return served
