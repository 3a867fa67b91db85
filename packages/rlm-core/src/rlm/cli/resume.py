"""`rlm resume [ID] ["more"]`: go on with a session, in the folder where it was."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace

from rlm.cli import reporter
from rlm.cli.arguments import add_settings, parser, settings_given
from rlm.cli.cwd import working_directory
from rlm.cli.jsonlines import ends_with_a_result
from rlm.cli.stdin import read_task
from rlm.cli.streams import say
from rlm.cli.trust import warning
from rlm.config.settings import wants_json
from rlm.errors import ConfigError
from rlm.host.recorded import GivenSettings
from rlm.host.resume import resumed_spec
from rlm.host.spec import AgentSpec

_ID = re.compile(r"[0-9a-f]{4,12}")


def run(argv: Sequence[str]) -> int:
    """
    Raises:
        SessionError: there is no such session, or it runs elsewhere.
    """
    with ends_with_a_result(wants_json(argv)):
        spec = _spec(_parse(argv), verbatim="--" in argv)
    return reporter.run(spec)


def _spec(given: argparse.Namespace, *, verbatim: bool) -> AgentSpec:
    wanted, more = _id_and_text(given.words)
    present = working_directory()
    spec = resumed_spec(
        wanted,
        GivenSettings(settings_given(given)),
        present,
        cwd=present if given.here else None,
        fork=given.fork,
        replay=given.replay,
        trust=given.trust,
    )
    if spec.earlier is not None and spec.earlier.doubt:
        say(warning(spec.earlier, spec))
    task = read_task(more, verbatim=verbatim) if more is not None else None
    return replace(spec, task=task or spec.task)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    made = parser("rlm resume", "Go on with a session: the newest, or the one whose id begins so.")
    made.add_argument("--fork", action="store_true", help="go on with a copy; the old session stays as it is")
    made.add_argument("--replay", action="store_true", help="run its cells again, and show where results differ")
    made.add_argument("--here", action="store_true", help="work in this folder, where the session worked in another")
    made.add_argument("--trust", action="store_true", help="go on with a session that you have not made here yourself")
    add_settings(made)
    made.add_argument("words", nargs="*", metavar='[ID] ["more"]', help="which session, and what to do next")
    return made.parse_intermixed_args(argv)


def _id_and_text(words: Sequence[str]) -> tuple[str | None, str | None]:
    """With one word: four to twelve hex digits are an id, anything else is the text; with two, the first is the id."""
    if len(words) > 2:
        raise ConfigError(f'There must be one text, in quotes: rlm resume {words[0]} "{" ".join(words[1:])}"')
    if len(words) == 2:
        return words[0], words[1]
    if words and not _ID.fullmatch(words[0]):
        return None, words[0]
    return (words[0] if words else None), None
