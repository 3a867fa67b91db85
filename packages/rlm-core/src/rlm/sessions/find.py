"""Finds the session or agent that a user names: by an id, by its first digits, or the newest without a name."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlm.config.settings import Config
from rlm.errors import ConfigError, SessionError
from rlm.process import files
from rlm.sessions.signing_key import SigningKey
from rlm.sessions.store import child_names, list_sessions, listed_session, session_names

ROOT = "root"
_PREFIX = re.compile(r"[0-9a-f]{1,12}")
_AGENT = re.compile(r"(root/)?((sub-)?[0-9a-f]{1,12}/)*(sub-)?[0-9a-f]{1,8}")


@dataclass(frozen=True, slots=True)
class FoundAgent:
    """An agent of the session in `folder`, by its path in the tree."""

    folder: Path
    agent: str = ROOT

    @property
    def own_folder(self) -> Path:
        """The session folder of this agent, inside `folder`."""
        return self.folder.joinpath(*self.agent.split("/")[1:])


def sessions_home(config: Config, start: Path) -> Path:
    """Return the folder of the sessions for a command in `start`: the configured one, or the nearest.

    Like git with `.git`, rlm also searches the parent folders. There a folder counts only if it belongs to this user,
    because others may have created files in a folder that everybody can write.
    """
    own = start / config.home
    if "home" in config.explicit or os.path.lexists(own / "sessions"):
        return own
    return next((above / config.home for above in start.parents if _is_own(above / config.home)), own)


def _is_own(home: Path) -> bool:
    try:
        found = [os.lstat(home), os.lstat(home / "sessions")]
    except OSError:
        return False
    return all(stat.S_ISDIR(each.st_mode) and each.st_uid == os.geteuid() for each in found)


def find(home: Path, wanted: str | None = None, key: SigningKey | None = None) -> Path:
    """Return the folder of the session with this id or unique prefix; without one, of the user's newest session.

    Raises:
        SessionError: there is none, or more than one.
        ConfigError: no session is the user's own, so the user must name one.
    """
    if not wanted:
        return _newest(home, key)
    found = find_agent(home, wanted, key)
    if found.agent != ROOT:
        id = found.folder.name
        raise SessionError(f"{wanted} is a sub-agent of session {id}, not a session. Name the session: {id}.")
    return found.folder


def find_agent(home: Path, wanted: str | None = None, key: SigningKey | None = None) -> FoundAgent:
    """Find a session or a sub-agent. Sessions come first.

    A sub-agent may be named in any form that is shown: `sub-1a2b3c4d`, its first digits, `1a2b/5e6f`, `root/sub-…`, or
    after the id of its session, `7f3a/1a2b`. The first digits of agents are short, so they refer to the newest session
    that has such an agent.

    Raises:
        SessionError: as in `find`.
        ConfigError: as in `find`.
    """
    if not wanted:
        return FoundAgent(_newest(home, key))
    sessions, wanted = files.resolve(home) / "sessions", wanted.lower()
    if not _AGENT.fullmatch(wanted) and not _PREFIX.fullmatch(wanted):
        raise SessionError(f"{wanted!r} is not a session id: an id is up to twelve hex digits. `rlm ls` lists them.")
    ids = session_names(sessions)
    if _PREFIX.fullmatch(wanted) and (named := [id for id in ids if id.startswith(wanted)]):
        return FoundAgent(sessions / _only(named, wanted, "sessions"))
    if found := _in_newest(sessions, _matching_agents(sessions, ids, wanted), key):
        id, agents = found
        return FoundAgent(sessions / id, _only(agents, wanted, f"agents of session {id}"))
    what = "session" if _PREFIX.fullmatch(wanted) else "agent"
    raise SessionError(f"There is no {what} {wanted} in {sessions}. `rlm ls` lists them.")


def _matching_agents(sessions: Path, ids: Iterable[str], wanted: str) -> dict[str, list[str]]:
    """Return the matching agents, by session."""
    id, _, rest = wanted.partition("/")
    places: dict[str, list[str]] = {}
    for each in ids:
        agents = list(_agents(sessions / each))
        found = named_agents(agents, wanted)
        if not found and rest and _PREFIX.fullmatch(id) and each.startswith(id):
            found = named_agents(agents, f"{ROOT}/{rest}")
        if found:
            places[each] = found
    return places


def _in_newest(sessions: Path, places: dict[str, list[str]], key: SigningKey | None) -> tuple[str, list[str]] | None:
    if len(places) < 2:
        return next(iter(places.items()), None)
    listed = [each for id in places if (each := listed_session(sessions / id, key))]
    newest = max(listed, key=lambda each: each.meta.updated_time).folder.name if listed else min(places)
    return newest, places[newest]


def _agents(folder: Path) -> Iterator[str]:
    """Yield the paths of all sub-agents of a session."""
    rest = [(ROOT, folder)]
    while rest:
        path, folder = rest.pop()
        below = [(f"{path}/{name}", folder / name) for name in child_names(folder)]
        yield from (path for path, _ in below)
        rest += below


def named_agents(agents: Iterable[str], wanted: str) -> list[str]:
    """Return the agents (`root/sub-…`) that match a path, the end of a path, or the first digits of its parts."""
    parts = wanted.lower().split("/")
    whole = parts[0] == ROOT
    if not all(parts):
        return []
    return [agent for agent in agents if _matches(agent.split("/"), parts[1:] if whole else parts, whole=whole)]


def _matches(names: Sequence[str], parts: Sequence[str], *, whole: bool) -> bool:
    names = names[1:]
    if len(names) < len(parts) or (whole and len(names) != len(parts)):
        return False
    ends = names[len(names) - len(parts) :]
    return all(
        name.removeprefix("sub-").startswith(part.removeprefix("sub-")) for name, part in zip(ends, parts, strict=True)
    )


def _only(names: Sequence[str], wanted: str, what: str) -> str:
    if len(names) == 1:
        return names[0]
    some = ", ".join(sorted(names)[:5]) + (", …" if len(names) > 5 else "")
    raise SessionError(f"{len(names)} {what} begin with {wanted}: {some}. Give more of the id.")


def _newest(home: Path, key: SigningKey | None) -> Path:
    sessions = list_sessions(home, key)
    own = next((listed for listed in sessions if not listed.foreign), None)
    if own is not None:
        return own.folder
    if sessions:
        raise ConfigError(
            f"You did not create any session in {home / 'sessions'} on this machine. "
            f"Name one, such as {sessions[0].folder.name}; `rlm ls` lists them."
        )
    raise SessionError(f'There is no session in {home / "sessions"} yet. `rlm "task"` creates one.')
