"""The wording of each event, shared by the screen, `rlm show` and the exported page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlm.present.humanize import count, many, seconds, short
from rlm.sessions.records import (
    AgentStartRecord,
    AnswerRecord,
    DropRecord,
    ErrorRecord,
    KernelRecord,
    KernelResumedRecord,
    LimitRecord,
    Record,
    ReplayedRecord,
    RerunRecord,
    ResultRecord,
    ResumeRecord,
    RetryRecord,
    WaitingRecord,
)
from rlm.text.styled import Style

if TYPE_CHECKING:
    from rlm.sessions.transcript import TextItem, Turn

SHORTEST = 0.05
"""Seconds. Shorter pauses are not shown to a user who watches."""
_FILES = 5  # maximum number of files that are named
UNREADABLE = "Some of this journal cannot be read."
USER_CELL = "the user ran a cell"

_STATUS = {
    "done": Style.GREEN,
    "running": Style.CYAN,
    "limit": Style.YELLOW,
    "cancelled": Style.YELLOW,
    "error": Style.RED,
    "lost": Style.RED,
}


@dataclass(frozen=True, slots=True)
class Description:
    """A text of the form `label: text`, followed by `detail`. `text` may be foreign, and of any length.

    `minor`: of interest when reading a session, not when watching a run.
    """

    label: str
    text: str = ""
    detail: str = ""
    style: Style = Style.YELLOW
    minor: bool = False

    def __str__(self) -> str:
        return f"{self.head}{self.text}{self.detail}"

    @property
    def head(self) -> str:
        return f"{self.label}: " if self.text else self.label


def status_style(status: str) -> Style:
    return _STATUS.get(status, Style.PLAIN)


def describe(record: Record, turns: Sequence[int] = (), *, names: int | None = None) -> Description | None:
    """Describe a record; None for a record that has no text of its own.

    Args:
        turns: the record ids of the agent's turns so far, in order.
        names: maximum number of names in a list.
    """
    match record:
        case RetryRecord() | WaitingRecord():
            return _pause(record)
        case ErrorRecord():
            return Description("error", record.reason, style=Style.RED)
        case KernelRecord() | KernelResumedRecord():
            return _fresh_kernel(record, names)
        case DropRecord():
            return _drop(record, turns)
        case ReplayedRecord() if record.recorded:
            return _replayed(record)
        case _:
            return _end(record)


def _pause(record: RetryRecord | WaitingRecord) -> Description:
    if isinstance(record, WaitingRecord):
        return Description(f"still waiting, at most {seconds(record.left)}", record.reason)
    wait = "at once" if record.wait < SHORTEST else f"in {seconds(record.wait)}"
    return Description(f"retry {wait}", record.reason)


def _replayed(record: ReplayedRecord) -> Description:
    """A sub-agent's recorded result that is returned again. `rlm show` adds the name of the sub-agent."""
    did = [f"changed {_listed(record.changed, _FILES)}"] * bool(record.changed) + ["ran commands"] * record.commands
    effects = f"; its effects were not repeated: it {' and '.join(did)}" if did else ""
    label = f"replayed, not run again: {short(record.recorded)}"
    return Description(label, first_line(record.prompt), effects, Style.YELLOW if did else Style.DIM)


def _fresh_kernel(record: KernelRecord | KernelResumedRecord, names: int | None) -> Description:
    if isinstance(record, KernelRecord):
        return Description("kernel restarted", record.why, _lost(record.lost, names))
    return Description("fresh kernel", detail=f"; {_resumed_kernel(record, names)}", style=Style.DIM)


def _lost(lost: Sequence[str], most: int | None) -> str:
    return f"; lost: {_listed(lost, most)}" if lost else ""


def _listed(names: Sequence[str], most: int | None) -> str:
    more = f" and {len(names) - most} more" if most is not None and len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def _resumed_kernel(record: KernelResumedRecord, most: int | None) -> str:
    if record.rerun is not None:
        differing = _listed(list(map(str, record.differing)), most)
        return f"{many(record.rerun, 'cell')} run again; " + (
            f"other results: {differing}" if differing else "same results"
        )
    if record.restored:
        return " ".join(record.restored.split())
    if not record.gone:
        return "no variable was defined"
    return f"gone: {_listed(record.gone, most)}; `--replay` runs the cells again"


def _end(record: Record) -> Description | None:
    if isinstance(record, LimitRecord):
        return Description("limit reached", record.stop_reason, "; the model is asked for its answer")
    return _minor(record)


def _minor(record: Record) -> Description | None:
    match record:
        case ResumeRecord():
            return Description("resumed", style=Style.BOLD_BLUE, minor=True)
        case RerunRecord():
            return _rerun(record)
        case AnswerRecord():
            return Description("answer", first_line(record.answer), style=Style.GREEN, minor=True)
        case AgentStartRecord():
            return Description(f"{record.folder} starts", style=Style.MAGENTA, minor=True)
        case ResultRecord():
            return Description(
                stop_label(record.stop_reason), record.error, style=status_style(record.status), minor=True
            )
        case _:
            return None


def stop_label(stop: str) -> str:
    """`done`, `interrupted`, `failed`, `stopped: max_turns`."""
    return {"done": "done", "cancelled": "interrupted", "error": "failed"}.get(stop, f"stopped: {stop}")


def _rerun(record: RerunRecord) -> Description:
    if record.same:
        return Description("a recorded cell has the same result again", style=Style.DIM, minor=True)
    return Description("a recorded cell now has another result", first_line(record.content or ""))


_DROPS = {
    "compaction": "context compacted: {} summarised",
    "summarize": "context compacted: {} summarised",
    "context_limit": "context too long: {} dropped unread",
    "shortened": "context too long: the newest result was cut",
}
"""The text by the reason of a drop. Drops with other reasons are housekeeping."""


def _drop(record: DropRecord, turns: Sequence[int]) -> Description:
    if record.reason in _DROPS:
        return Description(_DROPS[record.reason].format(_dropped_turns(record, turns)))
    return Description(f"{many(len(record.ids), 'message')} left the context", record.reason, minor=True)


def _dropped_turns(record: DropRecord, turns: Sequence[int]) -> str:
    """The dropped turns. Turns of an earlier run of the session have no number here."""
    ids = set(record.ids)
    numbers = record.turns or [number for number, id in enumerate(turns, 1) if id in ids]
    if not numbers:
        return "older turns"
    return f"turn {numbers[0]}" if numbers[0] == numbers[-1] else f"turns {numbers[0]}-{numbers[-1]}"


# ---- messages and their speakers


def turn_name(turn: Turn) -> str:
    return f"turn {turn.number}" if turn.number else "summary call"


def speaker(item: TextItem) -> str:
    return {"task": "user", "note": "rlm"}.get(item.kind, f"rlm, {item.kind}")


def prompt_size(item: TextItem) -> str:
    """The size of a system prompt, which is not shown whole."""
    return f"system prompt, {count(len(item.text))} characters"


LONGEST = 500
"""Maximum characters of a foreign text that are searched; no line shows more."""


def first_line(text: str) -> str:
    """The first line that is not empty, marked if more lines follow."""
    lines = text.strip()[:LONGEST].splitlines()
    return f"{lines[0]} …" if len(lines) > 1 else "".join(lines)
