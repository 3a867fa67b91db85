"""What a batch is about: the object of its config.json."""

from __future__ import annotations

import msgspec

from rlm.version import VERSION

CONCURRENCY = 16
"""Tasks at once where nobody says otherwise."""


class BatchConfig(msgspec.Struct, frozen=True, kw_only=True):
    """config.json. No key and no endpoint: those come from the environment alone."""

    settings: dict[str, str]
    cwd: str
    tasks: str
    """The file that they were read from. DIR/tasks.jsonl has those of this batch."""
    rollouts: int = 1
    concurrency: int = CONCURRENCY
    limit: int | None = None
    shard: str | None = None
    workdir_from: str | None = None
    discard_workdirs: bool = False
    setup: str | None = None
    verify: str | None = None
    atif: bool = False
    executor: str = "here"
    version: str = VERSION
    tasks_sha256: str = ""
    mac: str = ""
    """Of all other fields: whose batch it is."""
