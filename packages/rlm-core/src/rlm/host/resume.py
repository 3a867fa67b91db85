"""Resume a session: find it, check its owner, choose its settings and its working directory."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path

from rlm.config.environment import state_folder
from rlm.config.sources import FilePath
from rlm.core.task import NO_NEW_TASK
from rlm.errors import ConfigError, SessionError
from rlm.host.resumed_settings import GivenSettings, check_named, differences, resumed_config
from rlm.host.spec import AgentSpec, ResumeOptions, context_file
from rlm.process.files import resolve
from rlm.sessions.find import find, sessions_home
from rlm.sessions.meta import Meta
from rlm.sessions.ownership import foreign_message, why_foreign
from rlm.sessions.signing_key import key_or_none
from rlm.sessions.store import meta_of
from rlm.text.clip import one_line


def resumed_spec(
    wanted: str | None,
    chosen: GivenSettings,
    present: Path,
    *,
    cwd: Path | None = None,
    fork: bool = False,
    replay: bool = False,
    trust: bool = False,
    rerun_agents: bool = False,
) -> AgentSpec:
    """Return the spec that continues a session: the one with this id or its first digits, or the user's newest one.

    It works in `cwd` if given. Else it works where the session worked, which must be in `present`. If the session's
    home was found above `present`, that folder must be in the parent of the home.

    Raises:
        SessionError: there is no such session, or its folder is gone.
        ConfigError: another user created it, or it uses a setting that this call must name.
    """
    key = key_or_none(state_folder())
    read = chosen.read()
    home = sessions_home(read, present)
    project = present if "home" in read.explicit else home.parent
    folder = find(home, wanted, key)
    doubts, meta = why_foreign(folder, key), meta_of(folder)
    if doubts and not trust:
        raise ConfigError(foreign_message(folder.name, doubts))
    recorded = {"model": meta.model} | meta.settings
    if doubts:  # MCP servers are programs, and would run outside of any sandbox
        recorded.pop("mcp", None)
    work_dir = cwd or _recorded_work_dir(folder, meta, present, project)
    check_named(folder.name, recorded, chosen, work_dir)
    config = replace(resumed_config(recorded, chosen), home=home)
    moved = meta.cwd if meta.cwd != str(work_dir) else ""
    where = f"it worked in {moved} before" if moved else f"it works in {work_dir}" if work_dir != present else ""
    note = _note(meta, differences(recorded, config, chosen), where)
    earlier = ResumeOptions(folder, fork, replay, rerun_agents, doubts, recorded, (note,), moved)
    return AgentSpec(NO_NEW_TASK, config, work_dir, context_file(config.context), earlier=earlier)


def _note(meta: Meta, settings: str, where: str) -> str:
    """Return one line for the user: which session continues, and how."""
    text = f"Resumed {'; '.join(filter(None, [settings, where]))}".rstrip()
    turns = f"{meta.turns} turn" if meta.turns == 1 else f"{meta.turns} turns"
    return f"{text}. So far: {turns} on: {one_line(meta.prompt_preview, 60)}"


def session_id(session: FilePath) -> tuple[str, Path | None]:
    """Return the id of a session that is named by its id or its folder. For a folder, also return its home.

    Raises:
        ConfigError: it is neither.
    """
    try:
        text = os.fspath(session)
    except TypeError:
        raise ConfigError(f"session={session!r} is not allowed: it takes an id, or the folder of a session.") from None
    if isinstance(session, str) and text and os.sep not in text:
        return text, None
    folder = Path(text).absolute()
    if folder.parent.name != "sessions":
        raise ConfigError(f"session={text!r} is not allowed: it takes an id, or the folder of a session.")
    return folder.name, folder.parent.parent


def _recorded_work_dir(folder: Path, meta: Meta, present: Path, project: Path) -> Path:
    """Return the folder where the session worked. It must be in `project`.

    Raises:
        ConfigError: it is elsewhere; the message names it.
        SessionError: it is gone.
    """
    if not meta.cwd:
        return present
    here_instead = f"`rlm resume {folder.name} --here` (in a program: `cwd=`) continues in {present}"
    work_dir = _real_folder(meta.cwd)
    if work_dir is None:
        raise SessionError(f"Session {folder.name} worked in {meta.cwd}, which no longer exists. {here_instead}.")
    if not work_dir.is_relative_to(project):
        home = shlex.quote(str(folder.parent.parent))
        raise ConfigError(
            f"Session {folder.name} worked in {work_dir}, which is not in this folder. {here_instead}; "
            f"to continue there: cd {shlex.quote(str(work_dir))} && rlm resume {folder.name} --home {home}"
        )
    return work_dir


def _real_folder(folder: str) -> Path | None:
    """Return the real path of a folder; None if it is none."""
    try:
        work_dir = resolve(folder)
        return work_dir if work_dir.is_dir() else None
    except OSError:  # meta.json can contain an invalid path
        return None
