"""The kernel's side of `context=`: each context is written to one file, for any number of sub-agents.

A file stays while a call uses it; the newest file also stays after that, for later calls. The host gives each sub-agent
its own name of the file (a hard link), so removing it here does not affect a running sub-agent.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from rlm.broker.payload import ContextPayload, from_file, pack
from rlm.broker.protocol import ContextFile
from rlm.errors import ConfigError
from rlm.process import files
from rlm.process.shared_objects import fingerprint
from rlm.text.lazy_text import LazyText

_LARGE = 1 << 20
"""Bytes of a file above which a later call first checks whether its object is the same as before."""


@dataclass(slots=True)
class _StoredContext:
    """A file, and how many calls use it.

    `source` and `mark` are its object and the fingerprint of that, while the object is likely unchanged.
    """

    payload: ContextPayload
    users: int = 0
    source: Any = None
    mark: str = ""


class ContextFiles:
    """The contexts that a process passes on. `rlm.run` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._files: dict[Path, _StoredContext] = {}
        self._newest: _StoredContext | None = None

    @contextmanager
    def file(self, context: Any, folder: Path) -> Iterator[ContextFile]:
        """Yield the description of `context` for a request. Its file is in `folder` until the exit.

        Raises:
            ConfigError: it cannot be passed on.
        """
        with self._lock:
            stored = self._store(context, folder)
            stored.users += 1
        try:
            payload = stored.payload
            modules = ",".join(payload.modules)
            yield ContextFile(payload.path.name, payload.kind, payload.about, payload.digest, modules)
        finally:
            with self._lock:
                stored.users -= 1
                self._drop_unused()

    def _store(self, context: Any, folder: Path) -> _StoredContext:
        if (known := self._unchanged(context)) is not None:
            return known
        path = _file_of(context)
        payload = pack(context, folder) if path is None else link(path, folder)
        same = next((each for each in self._files.values() if each.payload.digest == payload.digest), None)
        if same is not None and same.payload.kind == payload.kind and same.payload.path.parent == folder:
            files.remove(payload.path)
            payload = same.payload
        stored = same or _StoredContext(payload)
        self._files[payload.path] = self._newest = stored
        if path is None and payload.path.stat().st_size >= _LARGE:  # by path: the folder is the kernel's own
            self._remember(stored, context)
        self._drop_unused()
        return stored

    def _unchanged(self, context: Any) -> _StoredContext | None:
        """Return the file of the same object, until the event loop runs other code, which may change the object.

        The calls of one gather start one after the other, and no other code runs between their starts.
        """
        stored = next((each for each in self._files.values() if each.source is context), None)
        return stored if stored is not None and stored.mark and stored.mark == fingerprint(context) else None

    def _remember(self, stored: _StoredContext, context: Any) -> None:
        with suppress(RuntimeError):  # no loop
            loop = asyncio.get_running_loop()
            stored.source, stored.mark = context, fingerprint(context)
            loop.call_soon(_forget, stored)

    def _drop_unused(self) -> None:
        for path, stored in list(self._files.items()):
            if not stored.users and stored is not self._newest:
                del self._files[path]
                files.remove(path)


def _forget(stored: _StoredContext) -> None:
    stored.source, stored.mark = None, ""


CONTEXT_FILES = ContextFiles()


def _file_of(context: Any) -> Path | None:
    """Return the file of a context that is a path, or a text that is read from a file; else None."""
    if isinstance(context, LazyText):
        return context.path
    return context if isinstance(context, Path) and not context.is_dir() else None  # by path: this runs in a cell


def link(path: Path, folder: Path) -> ContextPayload:
    """Give a file another name in `folder`, as a hard link, or as a copy (on another disk, or of another owner).

    Raises:
        ConfigError: the file does not exist, or the disk is full.
    """
    here = folder / f"context-{secrets.token_hex(8)}"
    try:
        path = files.resolve(path)
        payload = from_file(path)
        if not _linked(path, here):
            with os.fdopen(files.open_file(path), "rb") as source, os.fdopen(files.create(here), "wb") as target:
                files.copy(source.fileno(), target.fileno())
        with os.fdopen(files.open_file(here), "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        files.remove(here)
        raise ConfigError(f"The context {path} cannot be passed on: {error.strerror or error}.") from None
    return replace(payload, path=here, digest=digest)


def _linked(path: Path, here: Path) -> bool:
    if path.stat().st_uid != os.geteuid():  # by path: links are resolved. The host would refuse such a file
        return False
    with suppress(OSError):
        os.link(path, here, follow_symlinks=False)  # by path: as above
        return True
    return False
