"""Checks the owner of a session. Unless this user created it on this machine, it is data: nothing in it is run."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rlm.errors import SessionError
from rlm.sessions import journal
from rlm.sessions import meta as metas
from rlm.sessions.meta import Meta
from rlm.sessions.signature import Signer
from rlm.sessions.signing_key import SigningKey
from rlm.sessions.store import child_names


def foreign_message(id: str, why: str) -> str:
    """Return a message that a session is not resumed, and what the user can do."""
    return (
        f"You did not create session {id} on this machine: {why}. It can be read (`rlm show {id}`); "
        f"`rlm resume {id} --trust` lists what would run, then continues."
    )


def why_foreign(folder: Path, key: SigningKey | None, name: str | None = None) -> str:
    """Return why a session, or a sub-agent in it, may not be this user's own; empty if all of it is.

    `name` is the name under which the folder was signed, if it differs. It reads all journals whole.
    """
    if key is None:
        return "you have not signed a session on this machine yet"
    return _why_foreign(folder, Signer(key, name or folder.name))


def _why_foreign(folder: Path, signer: Signer) -> str:
    complaint = _why_agent_foreign(folder, signer)
    below = (_why_foreign(folder / name, signer.child(name)) for name in child_names(folder))
    return complaint or next(filter(None, below), "")


def _why_agent_foreign(folder: Path, signer: Signer) -> str:
    """Check meta.json first: a running session writes it before its first record, and its journal only grows."""
    begun = journal.size(folder) > 0
    try:
        meta, signed = metas.read_signed(folder, signer)
    except SessionError:
        root = "/" not in signer.path
        return f"{signer.path} has no {metas.NAME}" if begun or root else ""  # if not, it was killed before it began
    if not signed:
        return f"the {metas.NAME} of {signer.path} is not signed by you"
    try:
        lines = journal.whole_lines(folder)
    except SessionError:
        return f"the journal of {signer.path} cannot be read"
    return "" if _matches(meta, lines, signer) else f"the journal of {signer.path} is not the one that was signed"


def _matches(meta: Meta, lines: bytes, signer: Signer) -> bool:
    """Whether the last record is of the run in meta.json, or the journal is unchanged since meta.json was signed."""
    if len(lines) < meta.journal_bytes:
        return False
    if signer.verify_journal(meta.run, lines):
        return True
    return len(lines) == meta.journal_bytes and hashlib.sha256(lines).hexdigest() == meta.journal_sha256
