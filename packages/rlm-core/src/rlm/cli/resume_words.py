"""What a user types behind `rlm resume`, in the shell that started a run, to go on with it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from rlm.config.settings import Config, recording_of
from rlm.config.sources import read_config
from rlm.errors import RlmError
from rlm.process import files
from rlm.sessions import Session
from rlm.sessions.find import sessions_home
from rlm.sessions.store import session_names


def resume_words(session: Session, config: Config, directory: str | None) -> str:
    """The id of the session, and the flags without which it is not found; empty if it has been removed.

    `directory` is the working directory as `-C` names it, where the shell is in another one.
    """
    id = _prefix(session)
    return " ".join([id, *map(shlex.quote, _flags(session, config, directory))]) if id else ""


def _flags(session: Session, config: Config, directory: str | None) -> Iterator[str]:
    if directory is not None:
        yield from ("-C", directory)
    there, home = files.resolve(directory or Path.cwd()), session.folder.parent.parent
    # a variable may have been set for this one command, and may not
    if any(files.resolve(sessions_home(each, there)) != home for each in (Config(), _without_flags())):
        yield from ("--home", str(home))
    if config.recording is not None and recording_of(_without_flags().model) is None:
        yield from ("--model", _without_flags().model)  # the recording has been played to its end


def _without_flags() -> Config:
    """What a command has that is given no flag; a variable that is not allowed may not have been read before."""
    try:
        return read_config({})
    except RlmError:
        return Config()


def _prefix(session: Session) -> str:
    """As few digits of its id as tell it from the other sessions, but four; none if it has been removed."""
    ids = session_names(session.folder.parent)
    if session.id not in ids:
        return ""
    others = [id for id in ids if id != session.id]
    prefixes = (session.id[:length] for length in range(4, len(session.id)))
    return next((own for own in prefixes if not any(id.startswith(own) for id in others)), session.id)
