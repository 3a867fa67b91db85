"""`rlm resume [ID] ["more"]`: go on with a session, in the folder where it was."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from rlm.cli import front
from rlm.cli.arguments import add_settings, parser, settings_given
from rlm.cli.jsonlines import ends_with_a_result
from rlm.cli.stdin import read_task
from rlm.config import read_config, wants_json
from rlm.errors import ConfigError, SessionError
from rlm.runtime import Earlier, Order
from rlm.session.store import find, meta_of

GO_ON = "Go on with the task."
"""What the user says by saying nothing."""

_ID = re.compile(r"[0-9a-f]{4,12}")


def run(argv: Sequence[str]) -> int:
    """
    Raises:
        SessionError: there is no such session, or it runs elsewhere.
    """
    with ends_with_a_result(wants_json(argv)):
        order = _order(_parse(argv))
    return front.run(order)


def _order(given: argparse.Namespace) -> Order:
    settings = settings_given(given)
    wanted, more = _id_and_text(given.words)
    folder = find(read_config(settings).home.absolute(), wanted)
    meta = meta_of(folder)
    config = read_config({"model": meta.model} | settings)  # its own model, unless a flag says otherwise
    cwd = Path(meta.cwd)
    if not _is_there(cwd):
        raise SessionError(f"Session {folder.name} worked in {cwd}, which is gone. Make it again, or read the session.")
    task = read_task(more) if more is not None else GO_ON
    return Order(task or GO_ON, config, cwd, earlier=Earlier(folder, fork=given.fork, rerun=given.replay))


def _is_there(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except OSError:  # meta.json can hold what is no path
        return False


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    made = parser("rlm resume", "Go on with a session: the newest, or the one whose id begins so.")
    made.add_argument("--fork", action="store_true", help="go on with a copy; the old session stays as it is")
    made.add_argument("--replay", action="store_true", help="run its cells again, and show where results differ")
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
