"""Sessions from other machines: unpacked into the folder of the batch, and signed as this user's own."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

from rlm.config.environment import state_folder
from rlm.errors import SessionError
from rlm.process import files
from rlm.sessions.journal import whole_lines
from rlm.sessions.recovery import adopt, sign_again
from rlm.sessions.signature import Signer
from rlm.sessions.signing_key import key_or_none
from rlm.sessions.store import ID, meta_of


def unpack(archive: bytes, home: Path) -> Path:
    """Unpack a session; return its folder in `home`/sessions.

    Raises:
        SessionError: the archive is no session, or cannot be written.
    """
    sessions = home / "sessions"
    os.close(files.open_folder(sessions, make=True))
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:  # by path: it reads bytes in memory
            name = next(iter(tar)).name
            if not ID.fullmatch(name):
                raise SessionError(f"A worker sent {name!r} as a session.")
            files.remove_tree(sessions / name)
            tar.extractall(sessions, filter="data")  # extracts nothing outside of the folder, and no links out of it
    except (tarfile.TarError, OSError, StopIteration) as error:
        raise SessionError(f"The session of a worker cannot be unpacked: {error}.") from None
    _own(sessions / name)
    return sessions / name


def _own(folder: Path) -> None:
    """Sign a session again: a worker signed it for this user with its own key."""
    key = key_or_none(state_folder(), make=True)
    signer = Signer(key, folder.name) if key else None
    sign_again(folder, meta_of(folder), whole_lines(folder), signer)
    adopt(folder, folder.name, signer)
