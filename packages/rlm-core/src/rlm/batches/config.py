"""The object of a batch's config.json."""

from __future__ import annotations

import msgspec

from rlm.version import VERSION

CONCURRENCY = 16
"""Default number of tasks at once."""


class BatchConfig(msgspec.Struct, frozen=True, kw_only=True):
    """config.json. It has no key and no endpoint: these only come from the environment."""

    settings: dict[str, str]
    cwd: str
    tasks: str
    """The file from which the tasks were read. DIR/tasks.jsonl has the tasks of this batch."""
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
    """A MAC of all other fields: it proves whose batch it is."""
