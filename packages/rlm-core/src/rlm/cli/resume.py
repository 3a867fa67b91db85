"""`rlm resume [ID] ["more"]`: go on with a session, in the folder where it was."""

from __future__ import annotations

import re
from dataclasses import replace

from rlm.cli import reporter
from rlm.cli.arguments import CommandLine
from rlm.cli.cwd import working_directory
from rlm.cli.jsonlines import ends_with_a_result
from rlm.cli.stdin import read_task
from rlm.cli.streams import say
from rlm.cli.trust import warning
from rlm.host.recorded import GivenSettings
from rlm.host.resume import resumed_spec
from rlm.host.spec import AgentSpec

_ID = re.compile(r"[0-9a-f]{4,12}")


def run(line: CommandLine) -> int:
    """
    Raises:
        SessionError: there is no such session, or it runs elsewhere.
    """
    with ends_with_a_result(line.wants("json")):
        spec = _spec(line)
    return reporter.run(spec)


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
    )
    if spec.earlier is not None and spec.earlier.doubt:
        say(warning(spec.earlier, spec))
    task = read_task(more, line.text) if more is not None or line.text is not None else None
    return replace(spec, task=task or spec.task)


def _id_and_text(line: CommandLine) -> tuple[str | None, str | None]:
    """With one word: four to twelve hex digits are an id, anything else is the text; with two, the first is the id."""
    match line.words:
        case (word,) if line.rest is None and not _ID.fullmatch(word):
            return None, word
        case (id, more):
            return id, more
        case (id,):
            return id, None
    return None, None
