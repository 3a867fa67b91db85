"""Sessions from other machines: unpacked into the folder of the batch, and signed as this user's own."""

from __future__ import annotations

import io
import os
import tarfile
import zlib
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
        SessionError: the archive is no session, or cannot be written. Nothing is written in the first case.
    """
    sessions = home / "sessions"
    os.close(files.open_folder(sessions, make=True))
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:  # by path: it reads bytes in memory
            members = tar.getmembers()
            name = members[0].name if members else ""
            if not ID.fullmatch(name) or not all(_is_inside(member, name) for member in members):
                raise SessionError("A worker sent an archive that is no session.")
            files.remove_tree(sessions / name)
            for member in members:
                _extract(tar, member, sessions / member.name)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise SessionError(f"The session of a worker cannot be unpacked: {error}.") from None
    _own(sessions / name)
    return sessions / name


def _is_inside(member: tarfile.TarInfo, name: str) -> bool:
    """Whether it is a folder or a regular file in the folder `name`, or that folder. The archive is not trusted."""
    parts = member.name.split("/")  # not `extractall` with a filter: Python has it since 3.11.4
    return parts[0] == name and not {"", ".", ".."} & {*parts} and (member.isdir() or member.isreg())


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    if member.isdir():
        os.close(files.open_folder(path, make=True))
    elif (content := tar.extractfile(member)) is not None:
        files.write_new(path, content.read())


def _own(folder: Path) -> None:
    """Sign a session again: a worker signed it for this user with its own key."""
    key = key_or_none(state_folder(), make=True)
    signer = Signer(key, folder.name) if key else None
    sign_again(folder, meta_of(folder), whole_lines(folder), signer)
    adopt(folder, folder.name, signer)
