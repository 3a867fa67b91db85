"""stdout of `--json`: a record a line, and a `result` as the last, also where it came to no run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from rlm.cli import exits
from rlm.cli.streams import put_json
from rlm.errors import RlmError
from rlm.sessions.metrics import no_result
from rlm.sessions.records import Record


def put_record(record: Record) -> None:
    put_json(json.dumps(record, ensure_ascii=False))


@contextmanager
def ends_with_a_result(wanted: bool) -> Iterator[None]:
    """For what may fail before a run begins."""
    try:
        yield
    except RlmError as error:
        if wanted:
            put_record(no_result() | {"exit_code": exits.of_error(error), "error": str(error)})
        raise
