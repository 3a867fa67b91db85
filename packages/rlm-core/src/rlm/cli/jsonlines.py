"""stdout of `--json`: a record a line, and a `result` as the last, also where it came to no run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rlm.budget import Stop
from rlm.cli import exits
from rlm.cli.streams import put_json
from rlm.errors import RlmError

Record = dict[str, Any]

_NO_TOKENS = {"prompt_tokens": 0, "completion_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0}


def put_record(record: Record) -> None:
    put_json(json.dumps(record, ensure_ascii=False))


def nothing(stop: Stop = Stop.ERROR) -> Record:
    """The `result` where there is not even a session."""
    return {
        "type": "result",
        "ts": round(time.time(), 3),
        "status": stop.status,
        "stop_reason": str(stop),
        "answer": "",
        "usage": _NO_TOKENS,
        "usage_by_agent": {},
        "turns": 0,
        "agents": 0,
        "duration": 0.0,
        "session_id": None,
        "session_dir": None,
        "agent": "root",
    }


@contextmanager
def ends_with_a_result(wanted: bool) -> Iterator[None]:
    """For what may fail before a run begins."""
    try:
        yield
    except RlmError as error:
        if wanted:
            put_record(nothing() | {"exit_code": exits.of_error(error), "error": str(error)})
        raise
