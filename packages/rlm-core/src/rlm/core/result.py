"""What a run gives back, to the SDK and to a cell alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rlm.core.budget import Stop
from rlm.core.messages import Usage


@dataclass(frozen=True, slots=True)
class RunResult:
    """How an agent ended. `answer` is partial unless `ok`; `usage` (tokens) is that of its whole subtree."""

    answer: str
    stop: Stop
    usage: Usage = field(default_factory=Usage)
    turns: int = 0
    session_dir: Path = Path()
    error: str = ""
    """The provider's words, where they were the reason to stop."""

    @property
    def ok(self) -> bool:
        return self.stop is Stop.DONE

    def __str__(self) -> str:
        return self.answer
