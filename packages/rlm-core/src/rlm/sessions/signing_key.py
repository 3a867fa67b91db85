"""The key with which rlm signs the sessions of this user: random bytes in the user's state folder.

Only the host reads it. With it rlm distinguishes the sessions that this user created on this machine from all others,
such as those in a cloned repository.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rlm.errors import SessionError
from rlm.process import files

FOLDER = "rlm"
NAME = "session-key"
_SIZE = 32
_MAC = 16  # bytes: half of an HMAC-SHA256, which RFC 2104 allows


@dataclass(frozen=True, slots=True)
class SigningKey:
    secret: bytes = field(repr=False)

    def mac(self, *parts: bytes) -> str:
        """Return the keyed digest of `parts`, in hex. Only the last may have a zero byte: parts cannot be shifted."""
        return hmac.digest(self.secret, b"\0".join(parts), "sha256")[:_MAC].hex()


def key_folders(state: Path | None) -> list[Path]:
    """Return the folder of the key, which no kernel in a sandbox may see."""
    return [] if state is None else [state / FOLDER]


def open_key(state: Path | None, *, make: bool = False) -> SigningKey:
    """Return the key in the folder `state`. With `make`, create it if it is missing.

    Raises:
        SessionError: there is none, or another user may have created or read it. The message says which.
    """
    if state is None:
        raise SessionError("The key that signs sessions cannot be stored: HOME and XDG_STATE_HOME are not set.")
    path = state / FOLDER / NAME
    try:
        folder = _open_folder(path.parent, make=make)
        try:
            return SigningKey(_read_or_make(folder) if make else _read(folder))
        finally:
            os.close(folder)
    except (OSError, ValueError) as error:
        raise SessionError(f"The key that signs sessions, {path}: {getattr(error, 'strerror', error)}.") from None


def key_or_none(state: Path | None, *, make: bool = False) -> SigningKey | None:
    """Return the key, or None if there is none. Then sessions are not signed, and none counts as the user's."""
    with suppress(SessionError):
        return open_key(state, make=make)
    return None


def _open_folder(path: Path, *, make: bool) -> int:
    real = files.resolve(path.parent) / path.name  # the user's home may contain links; this folder must not be one
    if make:  # root with the HOME of another user (sudo -E) would create files there that their owner cannot read
        base = next(each for each in real.parents if each.exists())
        if os.geteuid() == 0 != base.stat().st_uid:
            raise ValueError(f"{base} belongs to another user")
    folder = files.open_folder(real, make=make)
    try:
        _check(folder, stat.S_IWGRP | stat.S_IWOTH)
    except BaseException:
        os.close(folder)
        raise
    return folder


def _read_or_make(folder: int) -> bytes:
    with suppress(FileNotFoundError):
        return _read(folder)
    draft = f"{NAME}.{secrets.token_hex(8)}"
    files.write_new(draft, secrets.token_bytes(_SIZE), dir_fd=folder)
    try:  # if another process was faster, its key is used
        os.link(draft, NAME, src_dir_fd=folder, dst_dir_fd=folder)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        os.rename(draft, NAME, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        files.remove(draft, dir_fd=folder)
    return _read(folder)


def _read(folder: int) -> bytes:
    file = files.open_file(NAME, dir_fd=folder)
    try:
        _check(file, stat.S_IRWXG | stat.S_IRWXO)
        secret = os.read(file, _SIZE + 1)
    finally:
        os.close(file)
    if len(secret) != _SIZE:
        raise ValueError("is damaged. Remove it: rlm creates a new one, and earlier sessions need `resume --trust`")
    return secret


def _check(handle: int, forbidden: int) -> None:
    status = os.fstat(handle)
    if status.st_uid != os.geteuid():
        raise ValueError("belongs to another user")
    if status.st_mode & forbidden:
        raise ValueError("is accessible to other users. Remove it, or change its mode (chmod go-rwx)")
