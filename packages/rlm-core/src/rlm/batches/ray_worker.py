"""The part that runs on a Ray worker: one host, and tasks on it. Sessions are returned with the results."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import Any

from rlm.batches.ray_gate import RayGate
from rlm.batches.tasks import BatchTask, Job
from rlm.batches.work import BatchSettings, TaskWorker
from rlm.batches.workdirs import Workdirs
from rlm.config.credentials import take_environment
from rlm.config.environment import original
from rlm.config.settings import Config, variable
from rlm.config.sources import read_config, setting_texts
from rlm.host.host import Host
from rlm.process import files
from rlm.text.json_lines import read_typed
from rlm.version import VERSION

SECRETS = "RLM_BATCH_SECRETS"
"""The variable of the runtime environment with the masked endpoint.

Ray writes runtime environments into its logs, so the value is noise without the mask, which is sent separately.
"""
_ENDPOINT = ("api_key", "base_url", "api", "stream", "sdk_max_retries")


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The settings of a worker, without key and endpoint."""

    settings: dict[str, str]
    cwd: str
    workdir_from: str | None
    atif: bool
    setup: str | None
    verify: str | None
    mask: bytes
    version: str = VERSION

    @classmethod
    def of(cls, settings: BatchSettings, mask: bytes) -> WorkerSettings:
        source = settings.workdirs.source if settings.workdirs else None
        texts = setting_texts(settings.config)
        return cls(
            texts,
            str(settings.cwd),
            str(source) if source else None,
            settings.atif,
            settings.setup,
            settings.verify,
            mask,
        )


def masked_endpoint(config: Config) -> tuple[str, bytes]:
    """Key and endpoint, encrypted with a one-time pad; return the text and the mask that decrypts it."""
    table = Config.settings()
    texts = {variable(name): table[name].read.text(getattr(config, name)) for name in _ENDPOINT}
    plain = json.dumps({name: text for name, text in texts.items() if text is not None}).encode()
    mask = token_bytes(len(plain))
    return _xor(plain, mask).hex(), mask


def _xor(data: bytes, mask: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(data, mask, strict=True))


class RayWorker:
    """The actor. All long methods are coroutines, so that many tasks run at once."""

    def __init__(self, shared: WorkerSettings, gate: Any) -> None:
        self._shared = shared
        self._gate = gate
        self._holder = token_hex(8)
        self._opening = asyncio.Lock()
        self._host: Host | None = None
        self._worker: TaskWorker | None = None

    async def ready(self) -> tuple[str, str]:
        """The name of this worker for the gate, and its version of rlm."""
        return self._holder, VERSION

    async def work(self, line: bytes, rollout: int) -> tuple[bytes, bytes]:
        """Run a task. Return the line of its result, and its session as a tar archive (empty if there is none)."""
        worker = await self._open()
        job = Job(read_typed(json.loads(line), BatchTask, "task"), rollout)
        result = await worker.work(job)
        session = Path(result.session_dir) if result.session_dir else None
        archive = await asyncio.to_thread(packed, session) if session else b""
        return result.line(), archive

    async def close(self) -> None:
        if self._host is not None:
            await self._host.__aexit__(None, None, None)

    async def _open(self) -> TaskWorker:
        async with self._opening:
            if self._worker is None:
                config = self._config()
                self._host = await Host(config, gate=RayGate(self._gate, self._holder)).__aenter__()
                self._worker = TaskWorker(self._host, self._settings(config, self._host.supervisor.folder))
            return self._worker

    def _config(self) -> Config:
        """The configuration. The endpoint is in no variable of this process, where programs of cells could read it."""
        take_environment()
        noise = bytes.fromhex(original.pop(SECRETS))
        original.update(json.loads(_xor(noise, self._shared.mask)))
        return read_config(self._shared.settings)

    def _settings(self, config: Config, folder: Path) -> BatchSettings:
        shared, home = self._shared, folder / "batch"
        source = shared.workdir_from
        workdirs = Workdirs(files.resolve(source), home / "work", keep=False) if source else None
        config = replace(config, home=home)
        return BatchSettings(config, Path(shared.cwd), workdirs, shared.atif, shared.setup, shared.verify)


def packed(session: Path) -> bytes:
    """Archive a session, and remove it here."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz", compresslevel=1) as archive:  # by path: it writes to memory
        archive.add(session, arcname=session.name, filter=_plain)
    files.remove_tree(session)
    return data.getvalue()


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Only files and folders. Their owner here means nothing elsewhere."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member if member.isfile() or member.isdir() else None
