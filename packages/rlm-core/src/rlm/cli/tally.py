"""What a run amounts to, folded from its records: for the footer and for the last line of `--json`."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from rlm.messages import Usage
from rlm.session.codec import usage_read

Record = dict[str, Any]


class Tally:
    """Counts over the whole tree. `session` and `root` are the root agent's first and last records."""

    def __init__(self) -> None:
        self.session: Record = {}
        self.root: Record = {}
        self.usage: dict[str, Usage] = defaultdict(Usage)
        self.turns = 0

    def __call__(self, record: Record) -> None:
        match record:
            case {"type": "session", "agent": "root"}:
                self.session = record
            case {"type": "result", "agent": "root"}:
                self.root = record
            case {"type": "agent_start", "agent": agent, "folder": folder}:
                self.usage[f"{agent}/{folder}"] = Usage()
            case {"type": "message", "agent": agent, "usage": usage}:
                self.usage[agent] += usage_read(usage)
                self.turns += not record.get("aside", False)

    @property
    def agents(self) -> int:
        """The root is one of them."""
        return len(self.usage.keys() | {"root"})

    @property
    def total(self) -> Usage:
        return sum(self.usage.values(), Usage())

    @property
    def answer(self) -> str:
        return str(self.root.get("answer", ""))

    @property
    def stop(self) -> str:
        return str(self.root.get("stop_reason", ""))

    @property
    def session_id(self) -> str:
        return str(self.session.get("session_id", ""))

    @property
    def session_dir(self) -> str:
        return str(self.session.get("session_dir", ""))
