"""`rlm resume [ID] ["more"]`: go on with a session, in the folder where it was."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from rlm.cli import reporter
from rlm.cli.arguments import add_settings, parser, settings_given
from rlm.cli.cwd import working_directory
from rlm.cli.jsonlines import ends_with_a_result
from rlm.cli.stdin import read_task
from rlm.cli.streams import say
from rlm.cli.trust import warning
from rlm.config.environment import state_folder
from rlm.config.settings import read_config, wants_json
from rlm.errors import ConfigError, SessionError
from rlm.host.recorded import check_named, differences, resumed_config
from rlm.host.spec import AgentSpec, ResumeOptions
from rlm.process.files import resolve
from rlm.sessions.meta import Meta
from rlm.sessions.ownership import doubt, not_yours
from rlm.sessions.signing_key import key_or_none
from rlm.sessions.store import find, meta_of

GO_ON = "Go on with the task."
"""What the user says by saying nothing."""

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
    flags = settings_given(given)
    wanted, more = _id_and_text(given.words)
    key = key_or_none(state_folder())
    folder = find(read_config(flags).home.absolute(), wanted, key)
    why, meta = doubt(folder, key), meta_of(folder)
    if why and not given.trust:
        raise ConfigError(not_yours(folder.name, why))
    recorded = {"model": meta.model} | meta.settings
    cwd = _place(folder, meta, here=given.here)
    check_named(folder.name, recorded, flags, cwd)
    config = resumed_config(recorded, flags)
    if why:
        say(warning(folder, why, config, recorded, cwd, replay=given.replay))
    task = read_task(more, verbatim=verbatim) if more is not None else GO_ON
    notes = tuple(filter(None, [differences(recorded, config, flags)]))
    moved = meta.cwd if meta.cwd != str(cwd) else ""
    earlier = ResumeOptions(folder, given.fork, given.replay, trust=bool(why), notes=notes, moved_from=moved)
    return AgentSpec(task or GO_ON, config, cwd, earlier=earlier)


def _place(folder: Path, meta: Meta, *, here: bool) -> Path:
    """Where the run goes on: in the session's folder, which is the working directory or in it.

    Raises:
        ConfigError: it is elsewhere; names it.
        SessionError: it is gone.
    """
    present = working_directory()
    if here or not meta.cwd:
        return present
    here_instead = f"`rlm resume {folder.name} --here` goes on in {present}"
    place = _existing(meta.cwd)
    if place is None:
        raise SessionError(f"Session {folder.name} worked in {meta.cwd}, which is gone. {here_instead}.")
    if not place.is_relative_to(present):
        home = shlex.quote(str(folder.parent.parent))
        raise ConfigError(
            f"Session {folder.name} worked in {place}, which is not in this folder. {here_instead}; to go on there: "
            f"cd {shlex.quote(str(place))} && rlm resume {folder.name} --home {home}"
        )
    return place


def _existing(folder: str) -> Path | None:
    """The real path of a folder, if it is one."""
    try:
        place = resolve(folder)
        return place if place.is_dir() else None
    except OSError:  # meta.json can hold what is no path
        return None


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
