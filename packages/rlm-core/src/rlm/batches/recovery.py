"""Recovers results of a killed batch: tasks whose agent had ended, but whose result was not written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlm.batches.results import TaskResult
from rlm.batches.tasks import Job
from rlm.errors import SessionError
from rlm.sessions import journal
from rlm.sessions.metrics import SessionMetrics
from rlm.sessions.records import AnswerRecord
from rlm.sessions.signing_key import SigningKey
from rlm.sessions.store import listed_session

_ENDED = ("done", "limit")


def ended_session(home: Path, id: str, key: SigningKey | None) -> Path | None:
    """The folder of this user's session if the session has ended; otherwise None."""
    found = listed_session(home / "sessions" / id, key)
    if found is None or found.meta.status not in _ENDED or (key is not None and found.foreign):
        return None
    return found.folder


def result_of(job: Job, folder: Path) -> TaskResult | None:
    """The result of a session; None if it cannot be read."""
    metrics, by_cell = SessionMetrics(), None
    try:
        for record in journal.reader(folder):
            metrics.add(record)
            by_cell = record.answer if isinstance(record, AnswerRecord) else by_cell
    except SessionError:
        return None
    found = listed_session(folder, None)
    if found is None or metrics.status not in _ENDED:
        return None
    meta = found.meta
    typed = job.task.schema is not None or by_cell == metrics.answer
    return TaskResult(
        id=job.task.id,
        rollout=job.rollout,
        status=metrics.status,
        stop_reason=metrics.stop_reason,
        answer=metrics.answer,
        value=_value(metrics.answer) if typed and metrics.status == "done" else None,
        usage=meta.tree_tokens,
        cost=meta.tree_tokens.usage.cost,
        turns=metrics.turns,
        agents=int(meta.metrics.get("agents", 1)),
        duration=metrics.duration,
        session_dir=str(folder),
        error=metrics.error,
        metadata=job.task.metadata,
    )


def _value(answer: str) -> Any:
    """The value of an answer from a cell or a schema: parsed JSON, or else the text itself."""
    try:
        return json.loads(answer)
    except ValueError:
        return answer
