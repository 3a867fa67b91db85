"""The kernel's end of `context=`: files that hold what is handed on, each once however many sub-agents get it.

A file stays while a call uses it; the newest one stays after that, for calls that follow. The host gives each sub-agent
a name of its own for it (a hard link), so what happens here takes nothing from one that runs.
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
"""Bytes of a file that is worth a look whether the object is the same as before."""


@dataclass(slots=True)
class _Handed:
    """A file, and how many calls use it. `source` and `mark`: what it was made of, while that is likely the same."""

    payload: ContextPayload
    users: int = 0
    source: Any = None
    mark: str = ""


class HandedContexts:
    """All that a process hands on. `rlm.run` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._files: dict[Path, _Handed] = {}
        self._newest: _Handed | None = None

    @contextmanager
    def file(self, context: Any, folder: Path) -> Iterator[ContextFile]:
        """What a request says of `context`, whose file is in `folder` while this is entered.

        Raises:
            ConfigError: it cannot be handed on.
        """
        with self._lock:
            handed = self._handed(context, folder)
            handed.users += 1
        try:
            payload = handed.payload
            modules = ",".join(payload.modules)
            yield ContextFile(payload.path.name, payload.kind, payload.about, payload.digest, modules)
        finally:
            with self._lock:
                handed.users -= 1
                self._drop_unused()

    def _handed(self, context: Any, folder: Path) -> _Handed:
        if (known := self._known(context)) is not None:
            return known
        path = _file_of(context)
        payload = pack(context, folder) if path is None else link(path, folder)
        same = next((each for each in self._files.values() if each.payload.digest == payload.digest), None)
        if same is not None and same.payload.kind == payload.kind and same.payload.path.parent == folder:
            files.remove(payload.path)
            payload = same.payload
        handed = same or _Handed(payload)
        self._files[payload.path] = self._newest = handed
        if path is None and payload.path.stat().st_size >= _LARGE:  # by path: in the kernel's own folder
            self._remember(handed, context)
        self._drop_unused()
        return handed

    def _known(self, context: Any) -> _Handed | None:
        """That of the same object, until the event loop goes on: then other code may have changed it.

        Calls of one gather begin one after the other, and all that lies between them is how they begin.
        """
        handed = next((each for each in self._files.values() if each.source is context), None)
        return handed if handed is not None and handed.mark and handed.mark == fingerprint(context) else None

    def _remember(self, handed: _Handed, context: Any) -> None:
        with suppress(RuntimeError):  # no loop
            loop = asyncio.get_running_loop()
            handed.source, handed.mark = context, fingerprint(context)
            loop.call_soon(_forget, handed)

    def _drop_unused(self) -> None:
        for path, handed in list(self._files.items()):
            if not handed.users and handed is not self._newest:
                del self._files[path]
                files.remove(path)


def _forget(handed: _Handed) -> None:
    handed.source, handed.mark = None, ""


HANDED = HandedContexts()


def _file_of(context: Any) -> Path | None:
    """The file that stands for its text: of a path, or of a text that is such a file already."""
    if isinstance(context, LazyText):
        return context.path
    return context if isinstance(context, Path) and not context.is_dir() else None  # by path: a cell names it


def link(path: Path, folder: Path) -> ContextPayload:
    """A file under another name in `folder`; a copy where the system gives it none (another disk, another owner).

    Raises:
        ConfigError: there is no such file, or no room for it.
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
        raise ConfigError(f"The context {path} cannot be handed on: {error.strerror or error}.") from None
    return replace(payload, path=here, digest=digest)


def _linked(path: Path, here: Path) -> bool:
    if path.stat().st_uid != os.geteuid():  # by path: links are resolved; the host would refuse it
        return False
    with suppress(OSError):
        os.link(path, here, follow_symlinks=False)  # by path: as above
        return True
    return False
