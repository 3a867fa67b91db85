"""A file that is written after cells have run, such as the target of `-o`."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from rlm.process.files.folders import remove
from rlm.process.files.walk import SAFE, StrPath, named, open_plain, parent_of
from rlm.process.files.writing import copy, create, write_all

_NOT_REPLACED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV)


class Replacement:
    """A file that is written later, safe against changes of its path in the meantime.

    Its folder is held open, and the file too if it exists. `commit` writes a new file in that folder and gives it the
    name. If the folder accepts no new files, or the old file cannot be replaced (it is mounted), the old one is
    overwritten in place. So is a device such as /dev/null: only root can create devices, and users name them.
    """

    def __init__(self, path: StrPath) -> None:
        """Open the folder and the file.

        Raises:
            OSError: it cannot be written, or it is neither a plain file nor a device.
        """
        self._path = path
        with contextlib.ExitStack() as opened:
            self._folder, self._name = opened.enter_context(parent_of(path, None))
            self._device = False
            self._old = self._open_old(opened)
            if not self._device:
                self._try()
            self._open = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._open.close()

    def commit(self, data: bytes | Iterable[bytes]) -> None:
        """Write the file: bytes, or an iterable of pieces, which is read one piece at a time.

        Raises:
            OSError: it could not be written.
        """
        pieces = iter([data] if isinstance(data, bytes) else data)
        with named(self._path):
            try:
                if not self._device:
                    self._replace(pieces)
                    return
            except OSError as error:
                if self._old is None or error.errno not in _NOT_REPLACED:
                    raise
                os.ftruncate(self._old, 0)
            assert self._old is not None, "a device is open"
            for piece in pieces:
                write_all(self._old, piece)

    def _open_old(self, opened: contextlib.ExitStack) -> int | None:
        try:
            status = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)
            self._device = stat.S_ISCHR(status.st_mode)
            if self._device:
                old = os.open(self._name, os.O_WRONLY | SAFE, dir_fd=self._folder)
            else:
                old = open_plain(self._folder, self._name, os.O_WRONLY, self._path)
        except FileNotFoundError:
            return None
        opened.callback(os.close, old)
        return old

    def _try(self) -> None:
        """Check that the folder accepts a new file, and remove it: a cell might find it, and `git add` it."""
        try:
            with self._draft():
                pass
        except OSError:
            if self._old is None:
                raise

    def _replace(self, pieces: Iterator[bytes]) -> None:
        with self._draft() as (draft, new):
            if self._old is not None:
                old = os.fstat(self._old)
                with suppress(OSError):
                    os.fchown(new, old.st_uid, old.st_gid)
                os.fchmod(new, stat.S_IMODE(old.st_mode))
            for piece in pieces:
                write_all(new, piece)
            try:
                os.rename(draft, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            except OSError as error:
                if self._old is None or error.errno not in _NOT_REPLACED:
                    raise
                os.ftruncate(self._old, 0)  # it cannot be replaced; the pieces are consumed, but the draft has them
                os.lseek(new, 0, os.SEEK_SET)
                copy(new, self._old)

    @contextmanager
    def _draft(self) -> Iterator[tuple[str, int]]:
        """Create a file with the permissions of the umask, which is removed at the end unless it was renamed."""
        draft = f".rlm-{secrets.token_hex(8)}.new"
        new = create(draft, dir_fd=self._folder, mode=0o666)
        try:
            yield draft, new
        finally:
            os.close(new)
            remove(draft, dir_fd=self._folder)
