"""The wording of each event, shared by the screen, `rlm show` and the exported page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlm.present.humanize import count, listed, many, seconds, short
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
    from rlm.sessions.meta import Meta
    from rlm.sessions.transcript import TextItem, Turn

SHORTEST = 0.05
"""Seconds. Shorter pauses are not shown to a user who watches."""
_FILES = 5  # maximum number of files that are named
UNREADABLE = "Some of this journal cannot be read."
USER_CELL = "the user ran a cell"
LANGUAGES = {"ipython": "python", "bash": "bash"}
"""The language of the code of each tool."""

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


def status_text(meta: Meta) -> str:
    """The status of a session, or the name of the limit that stopped it."""
    return meta.stop_reason or meta.status if meta.status == "limit" else meta.status


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
            return _step(record)


def _pause(record: RetryRecord | WaitingRecord) -> Description:
    if isinstance(record, WaitingRecord):
        return Description(f"still waiting, at most {seconds(record.left)}", record.reason)
    wait = "at once" if record.wait < SHORTEST else f"in {seconds(record.wait)}"
    return Description(f"retry {wait}", record.reason)


def _replayed(record: ReplayedRecord) -> Description:
    """A sub-agent's recorded result that is returned again. `rlm show` adds the name of the sub-agent."""
    did = [f"changed {listed(record.changed, _FILES)}"] * bool(record.changed) + ["ran commands"] * record.commands
    effects = f"; its effects were not repeated: it {' and '.join(did)}" if did else ""
    label = f"replayed, not run again: {short(record.recorded)}"
    return Description(label, first_line(record.prompt), effects, Style.YELLOW if did else Style.DIM)


def _fresh_kernel(record: KernelRecord | KernelResumedRecord, names: int | None) -> Description:
    if isinstance(record, KernelRecord):
        lost = f"; lost: {listed(record.lost, names)}" if record.lost else ""
        return Description("kernel restarted", record.why, lost)
    return Description("fresh kernel", detail=f"; {_resumed_kernel(record, names)}", style=Style.DIM)


def _resumed_kernel(record: KernelResumedRecord, most: int | None) -> str:
    if record.rerun is not None:
        differing = listed(list(map(str, record.differing)), most)
        results = f"other results: {differing}" if differing else "same results"
        return f"{many(record.rerun, 'cell')} run again; {results}"
    if record.restored:
        return " ".join(record.restored.split())
    if not record.gone:
        return "no variable was defined"
    return f"gone: {listed(record.gone, most)}; `--replay` runs the cells again"


def _step(record: Record) -> Description | None:
    """The steps of a run that are no problem."""
    match record:
        case LimitRecord():
            said = Description("limit reached", record.stop_reason, "; the model is asked for its answer")
        case ResumeRecord():
            said = Description("resumed", style=Style.BOLD_BLUE, minor=True)
        case RerunRecord(same=True):
            said = Description("a recorded cell has the same result again", style=Style.DIM, minor=True)
        case RerunRecord():
            said = Description("a recorded cell now has another result", first_line(record.content or ""))
        case AnswerRecord():
            said = Description("answer", first_line(record.answer), style=Style.GREEN, minor=True)
        case AgentStartRecord():
            said = Description(f"{record.folder} starts", style=Style.MAGENTA, minor=True)
        case ResultRecord():
            style = status_style(record.status)
            said = Description(stop_label(record.stop_reason), record.error, style=style, minor=True)
        case _:
            return None
    return said


def stop_label(stop: str) -> str:
    """`done`, `interrupted`, `failed`, `stopped: max_turns`."""
    return {"done": "done", "cancelled": "interrupted", "error": "failed"}.get(stop, f"stopped: {stop}")


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
    """The author of a message: the user, or rlm and the kind of its message."""
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
