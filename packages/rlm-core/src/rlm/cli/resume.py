"""`rlm resume [ID] ["more"]`: continue a session, in its own folder.

With `--trust` it first lists what the session would run, if another user created the session.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from rlm.cli import reporter
from rlm.cli.arguments import CommandLine
from rlm.cli.output import ends_with_a_result
from rlm.cli.own_process import working_directory
from rlm.cli.stdin import prompt_is_meant, read_task
from rlm.cli.streams import say_effects
from rlm.config.settings import flag
from rlm.core.task import NO_NEW_TASK
from rlm.host.checkpoint import VARIABLES
from rlm.host.resume import resumed_spec
from rlm.host.resumed_settings import GivenSettings
from rlm.host.spec import AgentSpec, ResumeOptions
from rlm.sessions.journal import read, records_of
from rlm.sessions.records import AgentEndRecord
from rlm.sessions.resume import cells
from rlm.sessions.store import meta_of, read_tree

_ID = re.compile(r"[0-9a-f]{4,12}")


def run(line: CommandLine) -> int:
    """
    Raises:
        SessionError: there is no such session, or another process is running it.
    """
    with ends_with_a_result(line.wants("json")):
        spec = _spec(line)
    if len(line.words) < 2 and _id_and_text(line)[1] is None and line.rest is None and prompt_is_meant(line):
        from rlm.cli import interactive

        unfinished = spec.earlier is not None and meta_of(spec.earlier.folder).status != "done"
        return interactive.run(line, spec.cwd, spec, NO_NEW_TASK if unfinished else "")
    return reporter.run(spec, line.options.get("directory"))


def _spec(line: CommandLine) -> AgentSpec:
    wanted, more = _id_and_text(line)
    present = working_directory()
    spec = resumed_spec(
        wanted,
        GivenSettings(line.settings),
        present,
        cwd=present if "here" in line.options else None,
        fork="fork" in line.options,
        replay="replay" in line.options,
        trust="trust" in line.options,
        rerun_agents="rerun_agents" in line.options,
    )
    if spec.earlier is not None and spec.earlier.doubt:
        why = f"on this machine: {spec.earlier.doubt}. Because of --trust, this will run:"
        say_effects(f"rlm: You did not create session {spec.earlier.folder.name} {why}", _effects(spec.earlier, spec))
    task = read_task(more, line.text) if more is not None or line.text is not None else None
    return replace(spec, task=str(task) if task else spec.task)


def _id_and_text(line: CommandLine) -> tuple[str | None, str | None]:
    """Return the id and the text.

    One word is an id if it is four to twelve hex digits; of two words the first is the id.
    """
    match line.words:
        case (word,) if line.rest is None and not _ID.fullmatch(word):
            return None, word
        case (id, more):
            return id, more
        case (id,):
            return id, None
    return None, None


def _effects(earlier: ResumeOptions, spec: AgentSpec) -> Iterator[str]:
    config = spec.config
    policy = "off, so everything runs with your permissions" if not config.sandboxed else config.sandbox
    yield f"works in {spec.cwd}; sandbox: {policy}"
    if config.recording:
        yield f"runs the cells of a recording: {config.model}"
    else:
        yield f"its conversation goes to the model {config.model}, which acts on it"
    if brought := [f"{flag(name)} {text}" for name, text in earlier.recorded.items() if name != "model"]:
        yield f"brings settings: {', '.join(brought)}"
    if pickles := _pickles(earlier):
        yield f"may load the recorded values of {pickles} of its sub-agents, pickles, which can run any code"
    if earlier.rerun:
        yield f"runs its {len(cells(read(earlier.folder).records))} recorded cells again (--replay)"
    elif (earlier.folder / VARIABLES).exists():
        yield f"loads {VARIABLES}, which can run any code"


def _pickles(earlier: ResumeOptions) -> int:
    if earlier.rerun_agents:
        return 0
    ends = (end for agent in read_tree(earlier.folder).walk() for end in records_of(agent.folder, AgentEndRecord))
    return sum(end.value == "pickle" for end in ends)
