"""What `rlm resume --trust` says before it goes on with a session that this user has not made."""

from __future__ import annotations

from collections.abc import Iterator

from rlm.config.settings import flag
from rlm.host.checkpoint import VARIABLES
from rlm.host.spec import AgentSpec, ResumeOptions
from rlm.sessions.journal import read
from rlm.sessions.resume import cells


def warning(earlier: ResumeOptions, spec: AgentSpec) -> str:
    """Lines that name all of the session that would run or decide what runs."""
    head = f"rlm: Session {earlier.folder.name} was not made by you on this machine: {earlier.doubt}. You trust it:"
    lines = (" ".join(line.split()) for line in _effects(earlier, spec))  # a text of it cannot begin a line
    return "\n".join([head, *(f"  - {line}" for line in lines)])


def _effects(earlier: ResumeOptions, spec: AgentSpec) -> Iterator[str]:
    config = spec.config
    policy = "off, so what runs has your rights" if not config.sandboxed else config.sandbox
    yield f"works in {spec.cwd}; sandbox: {policy}"
    if config.recording:
        yield f"runs the cells of a recording: {config.model}"
    else:
        yield f"its conversation goes to the model {config.model}, which acts on it"
    if brought := [f"{flag(name)} {text}" for name, text in earlier.recorded.items() if name != "model"]:
        yield f"brings settings: {', '.join(brought)}"
    if earlier.rerun:
        yield f"runs its {len(cells(read(earlier.folder).records))} recorded cells again (--replay)"
    elif (earlier.folder / VARIABLES).exists():
        yield f"loads {VARIABLES}, which can run any code"
