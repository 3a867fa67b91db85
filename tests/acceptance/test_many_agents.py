"""One gather with far more sub-agents than the system's default number of open sockets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rlm_testkit.cli import COMMAND, Rlm
from rlm_testkit.scripted import Answer, Request, Scripted, call, text

MANY = 300
CELL = f"import asyncio\nlen(await asyncio.gather(*(rlm.run(str(n)) for n in range({MANY}))))"


def script(request: Request) -> Answer:
    return text("done") if request.depth or request.turn else call("ipython", code=CELL)


def test_more_children_at_once_than_a_process_may_open_files_by_default(
    rlm: Callable[[Scripted], Rlm], tmp_path: Path
) -> None:
    limited = tmp_path / "limited"
    limited.write_text(f'#!/bin/sh\nulimit -S -n 200\nexec "{COMMAND}" "$@"\n')
    limited.chmod(0o700)
    with Scripted(script) as server:
        done = replace(rlm(server), command=limited)("go", RLM_MAX_DEPTH="1")
    assert done.code == 0, done.err
    assert done.session.results[0].strip() == str(MANY)
    assert len(done.session.children) == MANY
