"""config.json of a batch: its fields, whose batch it is, and what it would run.

Commands of a batch that this user did not create on this machine run only with permission. config.json holds the digest
of tasks.jsonl, and its field `mac` is a keyed digest of all other fields. The key is that of the sessions. The folder
may be moved or copied: its commands stay those that its owner wrote.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from rlm.batches.tasks import BatchTask
from rlm.config.settings import Config, flag
from rlm.present.humanize import listed
from rlm.sessions.signing_key import SigningKey
from rlm.text.clip import one_line
from rlm.version import VERSION

CONCURRENCY = 16
"""Default number of tasks at once."""
FIELD, DIGEST = "mac", "tasks_sha256"
_SHOWN = 10  # maximum number of commands, or of other values of one type
_LONGEST = 1_000  # maximum characters of each


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


def signed(value: Mapping[str, Any], tasks: bytes, key: SigningKey | None) -> dict[str, Any]:
    """The object of config.json with the digest of tasks.jsonl, and with the signature if there is a key."""
    body = {name: field for name, field in value.items() if name != FIELD} | {DIGEST: sha256(tasks).hexdigest()}
    return body | ({FIELD: _mac(body, key)} if key else {})


def doubt(value: Mapping[str, Any], tasks: bytes, key: SigningKey | None) -> str:
    """The reason why a batch may not be this user's own; empty if it is. `value` is the object of config.json."""
    if key is None:
        return "you have no key that could have signed it"
    body = {name: field for name, field in value.items() if name != FIELD}
    if value.get(FIELD) != _mac(body, key):
        return "its config.json is not signed by you"
    if value.get(DIGEST) != sha256(tasks).hexdigest():
        return "its tasks.jsonl is not the one that was signed"
    return ""


def _mac(body: Mapping[str, Any], key: SigningKey) -> str:
    return key.mac(b"batch", json.dumps(body, sort_keys=True).encode())


def effects(batch: BatchConfig, tasks: list[BatchTask], config: Config) -> Iterator[str]:
    """Everything in a batch that would run, or decides what runs: one text each."""
    policy = config.sandbox if config.sandboxed else "off, so everything runs with your permissions"
    yield f"works in {batch.cwd}, executor {batch.executor}; sandbox: {policy}"
    models = {config.model, *(task.model for task in tasks if task.model)}
    named = listed([one_line(model, _LONGEST) for model in sorted(models)], _SHOWN)
    yield f"gives {len(tasks):,} tasks to {named}; a model acts on them; a recording runs its cells"
    if brought := [f"{flag(name)} {text}" for name, text in batch.settings.items() if name != "model"]:
        yield f"brings settings: {', '.join(brought)}"
    if batch.workdir_from:
        yield f"copies for each task, or creates a git worktree of: {batch.workdir_from}"
    yield from _each("works in the folder", tasks, lambda task: task.cwd)
    yield from _each("has the tools", tasks, lambda task: str(task.tools or ""))
    yield from _each("sets variables for what runs:", tasks, lambda task: str(task.env or ""))
    rights = "in a sandbox" if config.sandboxed else "with your permissions"
    yield from _each(f"runs before a task, {rights}:", tasks, lambda task: task.setup, batch.setup)
    yield from _each(f"runs after a task, {rights}:", tasks, lambda task: task.verify, batch.verify)


def _each(
    words: str, tasks: Iterable[BatchTask], of: Callable[[BatchTask], str | None], usual: str | None = None
) -> Iterator[str]:
    """A line for each different value, up to a readable number."""
    found = dict.fromkeys(filter(None, [usual, *map(of, tasks)]))
    for text in list(found)[:_SHOWN]:
        yield f"{words} {one_line(text, _LONGEST)}"
    if len(found) > _SHOWN:
        yield f"{words} {len(found) - _SHOWN:,} more, which are in tasks.jsonl"
