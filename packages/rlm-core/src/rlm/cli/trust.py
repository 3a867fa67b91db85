"""What `rlm resume --trust` says before it goes on with a session that this user has not made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rlm.config.settings import Config, flag
from rlm.host.checkpoint import VARIABLES
from rlm.host.factories import REPLAY
from rlm.host.recorded import Texts
from rlm.sessions.journal import read
from rlm.sessions.resume import cells


def warning(folder: Path, why: str, config: Config, recorded: Texts, cwd: Path, *, replay: bool) -> str:
    """Lines that name all of the session that would run or decide what runs."""
    lines = _effects(folder, config, recorded, cwd, replay=replay)
    head = f"rlm: Session {folder.name} was not made by you on this machine: {why}. You trust it:"
    return "\n".join([head, *(f"  - {' '.join(line.split())}" for line in lines)])  # a text of it cannot begin a line


def _effects(folder: Path, config: Config, recorded: Texts, cwd: Path, *, replay: bool) -> Iterator[str]:
    policy = "off, so what runs has your rights" if config.sandbox == "off" else config.sandbox
    yield f"works in {cwd}; sandbox: {policy}"
    if config.model.startswith(REPLAY):
        yield f"runs the cells of a recording: {config.model}"
    else:
        yield f"its conversation goes to the model {config.model}, which acts on it"
    if brought := [f"{flag(name)} {text}" for name, text in recorded.items() if name != "model"]:
        yield f"brings settings: {', '.join(brought)}"
    if replay:
        yield f"runs its {len(cells(read(folder).records))} recorded cells again (--replay)"
    elif (folder / VARIABLES).exists():
        yield f"loads {VARIABLES}, which can run any code"
