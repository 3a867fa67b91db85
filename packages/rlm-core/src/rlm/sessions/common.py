"""Settings that the sessions of a tree share, and changes for a run that resumes a session."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from rlm.sessions.encoder import Clock, steady_clock
from rlm.sessions.meta import Meta, preview
from rlm.sessions.records import Record
from rlm.sessions.signature import Signer
from rlm.sessions.signing_key import SigningKey
from rlm.text.redact import Redactor

Watch = Callable[[Record], None]
"""Receives each record as it is created. Its `agent` is the path of the agent in the tree."""


@dataclass(frozen=True, slots=True)
class SharedSettings:
    """The settings that all sessions of a tree share."""

    redactor: Redactor = field(default_factory=Redactor)
    watch: Watch | None = None
    version: str = ""
    clock: Clock = field(default_factory=steady_clock)
    timer: Clock = time.monotonic
    key: SigningKey | None = None
    runtime: str = ""

    def begun(self, meta: Meta, prompt: str) -> Meta:
        """Return `meta` for a session that begins with this prompt."""
        start, shown = round(self.clock(), 3), preview(self.redactor.text(prompt))
        begun = replace(meta, version=self.version, start_time=start, prompt_preview=shown, runtime=self.runtime)
        return begun.begin_run()

    def signer(self, name: str, parent: Signer | None = None) -> Signer | None:
        """Return the signer of a root's folder, or of a folder inside its parent's."""
        if parent is not None:
            return parent.child(name)
        return Signer(self.key, name) if self.key else None


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes for a run that resumes a session; None: unchanged. `notes` are for the user."""

    model: str | None = None
    cwd: Path | None = None
    settings: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()

    def applied(self, meta: Meta) -> Meta:
        """Return `meta` with these changes."""
        meta = replace(meta, model=self.model or meta.model, cwd=str(self.cwd or meta.cwd))
        return meta if self.settings is None else replace(meta, settings=dict(self.settings))
