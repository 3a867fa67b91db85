"""The records of the journal and of `rlm --json`, each declared once.

A record is one line: a JSON object whose `type` names one of these types. docs/sessions.schema.json and the tables in
docs/sessions.md are generated from them. The messages inside stay JSON, exactly as sent or received.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

from msgspec import UNSET, Meta, Struct, UnsetType, field, to_builtins
from msgspec.structs import replace

from rlm.core.adaptation import Adaptation
from rlm.core.budget import Stop
from rlm.core.messages import Usage, Wire
from rlm.text.redact import Redactor

_LARGE = 2**63  # no clock or counter of ours gives a larger number, and none can be displayed


def doc(text: str) -> Meta:
    """Describe a field, for the schema and the tables."""
    return Meta(description=text)


def only_written(**schema: Any) -> Meta:
    """Constrain what rlm writes, in the schema only: readers accept more, because later versions may write more."""
    return Meta(extra_json_schema=schema)


Whole = Annotated[int, Meta(ge=0, le=_LARGE - 1)]
Number = Annotated[float, Meta(gt=-float(_LARGE), lt=float(_LARGE))]
Seconds = Annotated[Number, doc("seconds")]
Dollars = Annotated[
    float, Meta(ge=0, lt=float(_LARGE), description="US dollars; missing if the price of some tokens is unknown")
]
Folder = Annotated[str, only_written(pattern="^sub-[0-9a-f]{8}$")]
SessionId = Annotated[str, only_written(pattern="^[0-9a-f]{12}$")]
Reason = Annotated[str, only_written(enum=[str(stop) for stop in Stop])]
Status = Annotated[str, only_written(enum=["running", "done", "limit", "error", "cancelled"])]
AgentPath = Annotated[str, only_written(pattern="^root(/sub-[0-9a-f]{8})*$")]
Digest = Annotated[str, only_written(pattern="^[0-9a-f]{64}$")]
CallDigest = Annotated[str, doc("digest of the arguments of the call"), only_written(pattern="^[0-9a-f]{32}$")]
Position = Annotated[Whole, doc("number of the call among the agent's calls with this digest, from 0")]
AdaptationName = Annotated[str, only_written(enum=[str(adaptation) for adaptation in Adaptation])]
ExitStatus = Annotated[int, Meta(ge=-_LARGE, le=_LARGE - 1)]
Content = str | list[Wire]


class TokenCounts(Struct, frozen=True):
    """A usage in the form of records and meta.json."""

    prompt: Whole = field(default=0, name="prompt_tokens")
    completion: Whole = field(default=0, name="completion_tokens")
    cached: Annotated[Whole, doc("part of the prompt, read from a cache")] = field(default=0, name="cached_tokens")
    reasoning: Annotated[Whole, doc("part of the completion")] = field(default=0, name="reasoning_tokens")
    estimated: Annotated[bool, doc("true: the provider sent no counts, so rlm estimated them")] | UnsetType = UNSET
    cost: Dollars | UnsetType = UNSET

    @classmethod
    def of(cls, usage: Usage) -> Self:
        cost = UNSET if usage.cost is None else usage.cost
        return cls(usage.prompt, usage.completion, usage.cached, usage.reasoning, usage.estimated or UNSET, cost)

    @property
    def usage(self) -> Usage:
        cost = None if self.cost is UNSET else self.cost
        return Usage(self.prompt, self.completion, self.cached, self.reasoning, self.estimated is True, cost)


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Any record. Fields with default values are not written."""

    agent: Annotated[AgentPath, doc("path of the agent in the tree; only in `--json`")] = ""

    def redacted(self, redactor: Redactor) -> Self:
        """Return the record without keys in any of its texts."""
        clean: Self = _redacted(self, redactor) if redactor.longest else self
        return clean


def _redacted(value: Any, redactor: Redactor) -> Any:
    match value:
        case Struct():
            names = value.__struct_fields__
            return replace(value, **{name: _redacted(getattr(value, name), redactor) for name in names})
        case tuple():
            return tuple(_redacted(each, redactor) for each in value)
        case dict():
            return {redactor.value(key): _redacted(each, redactor) for key, each in value.items()}
        case _:
            return redactor.value(value)


def wire(record: Record | TokenCounts) -> Wire:
    """Return the record as a JSON object."""
    values: Wire = to_builtins(record, str_keys=True)
    return {name: list(each) if isinstance(each, tuple) else each for name, each in values.items()}


# ---- journalled


class Journalled(Record, frozen=True):
    """A record of the journal; `id` counts from 0, `ts` is in seconds since 1970."""

    id: Whole
    ts: Number


class RequestRecord(Journalled, frozen=True, tag="request"):
    """before the first request, and when the model, the tools or the parameters of requests have changed"""

    model: str
    tools: tuple[Wire, ...]
    params: Wire
    api: Annotated[str, doc("only if it is not `chat`"), only_written(const="responses")] = ""


class JoinedText(Struct, frozen=True, omit_defaults=True):
    """A user message that was joined to another."""

    content: Content
    kind: str = ""


class MessageRecord(Journalled, frozen=True, tag="message"):
    """a message was added to the conversation"""

    NEEDED: ClassVar = {"system": (), "user": (), "assistant": ("usage", "finish_reason"), "tool": ("tool", "ok")}
    """The fields that a message of each role must have."""

    message: Wire
    kind: Annotated[str, only_written(enum=["note", "ask", "summary"])] = ""
    usage: TokenCounts | None = None
    finish_reason: str | None = None
    tool: str | None = None
    ok: bool | None = None
    exit_status: Annotated[ExitStatus, doc("of a command of the call that failed, if the result does not say so")] = 0
    duration: Seconds | None = None
    aside: bool = False
    written: dict[str, Wire] = {}
    items: tuple[Wire, ...] = ()
    token_data: Wire = {}
    content: Content | None = None
    joined: tuple[JoinedText, ...] = ()
    anew: bool = False
    request_id: str = ""

    @property
    def role(self) -> str:
        role: str = self.message["role"]
        return role

    @property
    def is_turn(self) -> bool:
        """Whether it is a reply of the model that counts as a turn."""
        return self.role == "assistant" and not self.aside


class AdaptRecord(Journalled, frozen=True, tag="adapt"):
    """all later requests have some messages in another form; see below"""

    adaptations: tuple[AdaptationName, ...]
    messages: Annotated[dict[Whole, Wire], doc("the changed messages in their new form, by record id")]
    gone: Annotated[tuple[Whole, ...], doc("record ids of the messages that are no longer sent")]
    items: Annotated[dict[Whole, list[Wire]], doc("the items of the changed messages, by record id")] = {}


class DropRecord(Journalled, frozen=True, tag="drop"):
    """messages left the context"""

    ids: Annotated[tuple[Whole, ...], doc("their record ids")]
    reason: str
    summary: str | None = None
    turns: Annotated[tuple[Whole, Whole], doc("the first and the last turn that the summary covers")] | None = None
    left: Annotated[dict[Whole, Wire], doc("messages that stay in part, in their new form, by record id")] = {}


class AnswerRecord(Journalled, frozen=True, tag="answer"):
    """the answer differs from the model's text: a cell gave it, or it is the JSON in that text"""

    answer: str


class ModelCallRecord(Journalled, frozen=True, tag="model_call"):
    """a cell called `rlm.llm`: one request and its reply"""

    model: str
    params: Wire
    messages: Annotated[tuple[Wire, ...], doc("all messages of the request")]
    message: Wire
    usage: TokenCounts
    finish_reason: str
    api: Annotated[str, doc("only if it is not `chat`"), only_written(const="responses")] = ""
    items: tuple[Wire, ...] = ()
    token_data: Wire = {}
    call: CallDigest = ""
    position: Position = 0
    request_id: str = ""


class AgentStartRecord(Journalled, frozen=True, tag="agent_start"):
    """a cell started a sub-agent"""

    folder: Folder
    prompt: str
    queued: Annotated[Seconds, doc("seconds that it waited for a slot")] = 0.0
    call: CallDigest = ""
    position: Position = 0


class AgentEndRecord(Journalled, frozen=True, tag="agent_end"):
    """a sub-agent has ended"""

    folder: Folder
    stop: Reason
    turns: Whole
    usage: Annotated[TokenCounts, doc("of this sub-agent and all agents below it")]
    error: str = ""
    value: Annotated[
        str,
        doc("its value: the answer as `text` or as `json`, or a `pickle`: `answer.pickle` in its folder"),
        only_written(enum=["text", "json", "pickle"]),
    ] = ""
    sha256: Annotated[Digest, doc("of `answer.pickle`")] = ""
    sandbox: Annotated[
        str, doc("in which the pickle was created; `off`: none"), only_written(enum=["off", "bwrap"])
    ] = ""
    changed: Annotated[tuple[str, ...], doc("files that it and the agents below it changed, as far as known")] = ()
    commands: Annotated[bool, doc("true: they ran commands, which may have changed other files")] = False
    patch: Annotated[Digest, doc("SHA-256 of `changes.patch` in its folder, if it worked in a worktree")] = ""


class ReplayedRecord(Journalled, frozen=True, tag="replayed"):
    """a cell repeated a call of an earlier run, and got the recorded result"""

    call: CallDigest
    position: Position
    recorded: Annotated[AgentPath, doc("the sub-agent that gave the result; missing for a model call")] = ""
    prompt: Annotated[str, doc("the task of that sub-agent")] = ""
    changed: Annotated[tuple[str, ...], doc("files that it changed in the earlier run")] = ()
    commands: Annotated[bool, doc("true: it ran commands in the earlier run")] = False


class RetryRecord(Journalled, frozen=True, tag="retry"):
    """a request failed and is tried again"""

    reason: str
    attempt: Whole
    wait: Annotated[Seconds, doc("seconds until the next try")]


class ErrorRecord(Journalled, frozen=True, tag="error"):
    """an error occurred, but the run continues"""

    reason: str


class LimitRecord(Journalled, frozen=True, tag="limit"):
    """the agent reached a limit; the last request of the run asks for its answer"""

    stop_reason: Reason


class KernelRecord(Journalled, frozen=True, tag="kernel"):
    """a new kernel replaced a lost one"""

    why: str
    lost: Annotated[tuple[str, ...], doc("names of the lost variables")]


class SkillsRecord(Journalled, frozen=True, tag="skills"):
    """skills were called since the last such record"""

    python: Annotated[dict[str, Whole], doc("number of calls from cells, by skill")]
    shell: Annotated[dict[str, Whole], doc("number of calls as commands, by skill")]


class UserCellRecord(Journalled, frozen=True, tag="user_cell"):
    """the user ran a cell in the agent's kernel"""

    code: str
    content: Annotated[str, doc("its result")]
    ok: bool
    told: Annotated[bool, doc("true: the model sees the cell with the user's next message")]


class CheckpointRecord(Journalled, frozen=True, tag="checkpoint"):
    """the kernel's variables were saved to `variables.pickle`"""

    sha256: Annotated[Digest, doc("of that file")]
    sandbox: Annotated[str, doc("of the kernel; `off`: none"), only_written(enum=["off", "bwrap"])]


class ResumeRecord(Journalled, frozen=True, tag="resume"):
    """the session was resumed; the records of another run follow"""

    pid: Annotated[int, doc("of the process that resumed it")] = 0
    forked_from: Annotated[SessionId, doc("the session that was copied")] = ""


class RerunRecord(Journalled, frozen=True, tag="rerun"):
    """a recorded cell was run again after a resume"""

    call_id: str
    same: bool
    content: Annotated[str, doc("the new result, if it differs")] | None = None


class KernelResumedRecord(Journalled, frozen=True, tag="kernel_resumed"):
    """a new kernel replaced the kernel of the resumed session"""

    gone: Annotated[tuple[str, ...], doc("names of the lost variables")] = ()
    restored: Annotated[str, doc("the kernel's report on the saved variables")] = ""
    rerun: Annotated[Whole | None, doc("number of cells that were run again")] = None
    differing: Annotated[tuple[Whole, ...], doc("numbers, from 1, of the cells whose results differ")] = ()


class ResultRecord(Journalled, frozen=True, tag="result"):
    """a run ended"""

    status: Status
    stop_reason: Reason
    answer: str
    turns: Whole
    usage: Annotated[TokenCounts, doc("of this agent alone")]
    error: str = ""


class UnknownRecord(Journalled, frozen=True, tag=""):
    """A record of a type that a later version writes. Only read."""


# ---- only in `--json`


class Watched(Record, frozen=True):
    """A record only for observers."""

    ts: Number


class SessionRecord(Watched, frozen=True, tag="session"):
    """the first line"""

    session_id: SessionId
    session_dir: str
    model: str
    cwd: str
    version: str
    notes: Annotated[tuple[str, ...], doc("sentences about how the session was resumed")] = ()
    turns: Annotated[Whole, doc("number of turns in earlier runs of the session")] = 0


class CellStartRecord(Watched, frozen=True, tag="cell_start"):
    """a tool call began"""

    call_id: str
    tool: str
    arguments: Annotated[str, doc("as the model wrote them")]


class UserCellStartRecord(Watched, frozen=True, tag="user_cell_start"):
    """the user started a cell"""

    code: str


class UserOutputRecord(Watched, frozen=True, tag="user_cell_output"):
    """a piece of output of the user's cell"""

    text: str


class CellOutputRecord(Watched, frozen=True, tag="cell_output"):
    """a piece of output of the tool call"""

    call_id: str
    text: str


class CellEndRecord(Watched, frozen=True, tag="cell_end"):
    """the tool call ended"""

    call_id: str
    tool: str
    ok: bool
    duration: Seconds | None = None


class DeltaRecord(Watched, frozen=True, tag="delta"):
    """with `--deltas`: a piece of the model's text"""

    text: str


class WritingRecord(Watched, frozen=True, tag="writing"):
    """with `--deltas`: the model writes reasoning or a call; at most five times a second"""

    what: Annotated[str, only_written(enum=["reasoning", "call"])]
    characters: Annotated[Whole, doc("that it has written so far")]
    lines: Annotated[Whole, doc("of the arguments of the call")] = 0
    text: Annotated[str, doc("the reasoning since the last such record")] = ""


class QueuedRecord(Watched, frozen=True, tag="queued"):
    """the number of the agent's sub-agents that wait for a slot has changed"""

    agents: Whole


class ThrottledRecord(Watched, frozen=True, tag="throttled"):
    """a request of the agent must wait, because the provider accepts no more at once; or the wait is over"""

    waits: Annotated[bool, doc("false: the wait is over")]


class DisplayRecord(Watched, frozen=True, tag="display"):
    """a cell displayed a picture or a table"""

    call_id: str
    picture: Annotated[str, doc("its path")] = ""
    rows: Whole = 0
    columns: Whole = 0


class WaitingRecord(Watched, frozen=True, tag="waiting"):
    """every 25 seconds without data from the model, during a request or a pause before a retry"""

    reason: str
    left: Annotated[Seconds, doc("seconds, at most, until rlm tries again or gives up")]


class RunEndRecord(Watched, frozen=True, tag="result"):
    """the last line: the answer of the root, and the numbers of its whole tree"""

    status: Status
    stop_reason: Reason | None
    answer: str
    usage: TokenCounts
    usage_by_agent: dict[str, TokenCounts]
    turns: Whole
    agents: Whole
    duration: Seconds
    session_id: SessionId | None
    session_dir: str | None
    error: str = ""
    exit_code: int | None = None

    def with_exit(self, code: int, error: str = "") -> Self:
        """Return the record with the exit code of the command and its error."""
        return replace(self, exit_code=code, error=error or self.error)


JournalRecord = (
    RequestRecord
    | MessageRecord
    | AdaptRecord
    | DropRecord
    | AnswerRecord
    | ModelCallRecord
    | AgentStartRecord
    | AgentEndRecord
    | ReplayedRecord
    | RetryRecord
    | ErrorRecord
    | LimitRecord
    | KernelRecord
    | SkillsRecord
    | UserCellRecord
    | CheckpointRecord
    | ResumeRecord
    | RerunRecord
    | KernelResumedRecord
    | ResultRecord
)
WatchedRecord = (
    SessionRecord
    | UserCellStartRecord
    | UserOutputRecord
    | CellStartRecord
    | CellOutputRecord
    | CellEndRecord
    | DeltaRecord
    | WritingRecord
    | QueuedRecord
    | ThrottledRecord
    | DisplayRecord
    | WaitingRecord
    | RunEndRecord
)


def type_name(kind: type[Record]) -> str:
    """Return the value of the field `type`."""
    return str(kind.__struct_config__.tag)
