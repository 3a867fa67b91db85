"""The runs of which scenarios consist: rlm, or an equivalent floor, against a scripted server."""

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
    """A run, and the requests that the server received.

    Times are `time.monotonic()`, the same clock for all processes.
    """

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
        """Seconds between each request and the next."""
        times = [request.at for request in self.requests]
        return [later - earlier for earlier, later in itertools.pairwise(times)]


def rlm(
    bench: Bench, script: Script, settings: Settings | None = None, watch: Callable[[int], None] | None = None
) -> Served:
    """Run `rlm go`, which must end with the answer of the script.

    Raises:
        RunFailedError: it ends in another way.
    """
    with Scripted(script, strict=False) as server:  # not strict: floors may send what a strict provider refuses
        values = {"model": "scripted", "base_url": server.url, "max_turns": 1000, **(settings or {})}
        ran = bench.run_rlm("go", values, watch)
    return _checked(Served(ran, tuple(server.requests)))


def floor(bench: Bench, client: str, script: Script, *, kernel: bool = True) -> Served:
    """Run the minimal agent with one of its clients."""
    with Scripted(script, strict=False) as server:  # not strict: floors may send what a strict provider refuses
        ran = bench.run_floor("agent", server.url, "--client", client, *(["--kernel"] if kernel else []))
    return _checked(Served(ran, tuple(server.requests)))


def figures(bench: Bench, program: str, *words: object) -> dict[str, float]:
    """The seconds that a floor measured itself."""
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
    """The root's only cell runs `count` children; the answer is `done` if all of them ended."""

    def script(request: Request) -> Answer:
        if request.depth:
            return child(request)
        if request.turn == 0:
            return gather(count)
        return done_if(str(count), request)

    return script


def done_if(expected: str, request: Request) -> Answer:
    """The right answer, if the last cell gave the expected result."""
    return DONE if request.last.strip() == expected else text(request.last[-300:])


def _checked(served: Served) -> Served:
    answer = served.ran.stdout.strip()
    if answer != "done":
        raise RunFailedError(f"the answer was {answer[:200]!r}")
    return served
