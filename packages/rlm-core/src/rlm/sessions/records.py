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


def only_written(**schema: Any) -> Meta:
    """Constrain what rlm writes, in the schema only: readers accept more, because later versions may write more."""
    return Meta(extra_json_schema=schema)


Whole = Annotated[int, Meta(ge=0, le=_LARGE - 1)]
Number = Annotated[float, Meta(gt=-float(_LARGE), lt=float(_LARGE))]
Seconds = Annotated[Number, Meta(description="seconds")]
Dollars = Annotated[
    float, Meta(ge=0, lt=float(_LARGE), description="US dollars; missing where the price of some of them is not known")
]
Folder = Annotated[str, only_written(pattern="^sub-[0-9a-f]{8}$")]
SessionId = Annotated[str, only_written(pattern="^[0-9a-f]{12}$")]
Reason = Annotated[str, only_written(enum=[str(stop) for stop in Stop])]
Status = Annotated[str, only_written(enum=["running", "done", "limit", "error", "cancelled"])]
AgentPath = Annotated[str, only_written(pattern="^root(/sub-[0-9a-f]{8})*$")]
Digest = Annotated[str, only_written(pattern="^[0-9a-f]{64}$")]
CallDigest = Annotated[
    str, Meta(description="digest of all that the call asks for"), only_written(pattern="^[0-9a-f]{32}$")
]
Position = Annotated[Whole, Meta(description="among the agent's equal calls, from 0")]
AdaptationName = Annotated[str, only_written(enum=[str(adaptation) for adaptation in Adaptation])]
ExitStatus = Annotated[int, Meta(ge=-_LARGE, le=_LARGE - 1)]
Content = str | list[Wire]


class TokenCounts(Struct, frozen=True):
    """A usage in the form of records and meta.json."""

    prompt: Whole = field(default=0, name="prompt_tokens")
    completion: Whole = field(default=0, name="completion_tokens")
    cached: Annotated[Whole, Meta(description="of the prompt")] = field(default=0, name="cached_tokens")
    reasoning: Annotated[Whole, Meta(description="of the completion")] = field(default=0, name="reasoning_tokens")
    estimated: Annotated[bool, Meta(description="the provider did not count; rlm did")] | UnsetType = UNSET
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

    agent: Annotated[AgentPath, Meta(description="only in `--json`")] = ""

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
    """the model, the tools or the parameters of requests change; also before the first request"""

    model: str
    tools: tuple[Wire, ...]
    params: Wire
    api: Annotated[str, Meta(description="if it is not `chat`"), only_written(const="responses")] = ""


class JoinedText(Struct, frozen=True, omit_defaults=True):
    """A user message that was joined to another."""

    content: Content
    kind: str = ""


class MessageRecord(Journalled, frozen=True, tag="message"):
    """a message is added to the conversation"""

    NEEDED: ClassVar = {"system": (), "user": (), "assistant": ("usage", "finish_reason"), "tool": ("tool", "ok")}
    """The fields that a message of each role must have."""

    message: Wire
    kind: Annotated[str, only_written(enum=["note", "ask", "summary"])] = ""
    usage: TokenCounts | None = None
    finish_reason: str | None = None
    tool: str | None = None
    ok: bool | None = None
    exit_status: Annotated[ExitStatus, Meta(description="of a command that failed unsaid in a result")] = 0
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
        return self.role == "assistant" and not self.aside


class AdaptRecord(Journalled, frozen=True, tag="adapt"):
    """from here on messages are sent in another form; see below"""

    adaptations: tuple[AdaptationName, ...]
    messages: Annotated[dict[Whole, Wire], Meta(description="by id")]
    gone: Annotated[tuple[Whole, ...], Meta(description="ids")]
    items: Annotated[dict[Whole, list[Wire]], Meta(description="by id, of messages that still have any")] = {}


class DropRecord(Journalled, frozen=True, tag="drop"):
    """these messages leave the context"""

    ids: tuple[Whole, ...]
    reason: str
    summary: str | None = None
    turns: Annotated[tuple[Whole, Whole], Meta(description="first and last, with a summary")] | None = None
    left: Annotated[dict[Whole, Wire], Meta(description="messages by id: what stays of some of them")] = {}


class AnswerRecord(Journalled, frozen=True, tag="answer"):
    """the answer is not exactly the model's text: a cell gave it, or it is the JSON in that text"""

    answer: str


class ModelCallRecord(Journalled, frozen=True, tag="model_call"):
    """a cell asked a model with `rlm.llm`: one request and its reply"""

    model: str
    params: Wire
    messages: Annotated[tuple[Wire, ...], Meta(description="all of the request")]
    message: Wire
    usage: TokenCounts
    finish_reason: str
    api: Annotated[str, Meta(description="if it is not `chat`"), only_written(const="responses")] = ""
    items: tuple[Wire, ...] = ()
    token_data: Wire = {}
    call: CallDigest = ""
    position: Position = 0
    request_id: str = ""


class AgentStartRecord(Journalled, frozen=True, tag="agent_start"):
    """a cell started a sub-agent"""

    folder: Folder
    prompt: str
    queued: Annotated[Seconds, Meta(description="that it has waited for a slot before")] = 0.0
    call: CallDigest = ""
    position: Position = 0


class AgentEndRecord(Journalled, frozen=True, tag="agent_end"):
    """a sub-agent has ended"""

    folder: Folder
    stop: Reason
    turns: Whole
    usage: Annotated[TokenCounts, Meta(description="of its subtree")]
    error: str = ""
    value: Annotated[
        str,
        Meta(description="what its value is: the answer as it is or as JSON, or `answer.pickle` in its folder"),
        only_written(enum=["text", "json", "pickle"]),
    ] = ""
    sha256: Annotated[Digest, Meta(description="of the pickle")] = ""
    sandbox: Annotated[
        str, Meta(description="in which the pickle was created"), only_written(enum=["off", "bwrap"])
    ] = ""
    changed: Annotated[tuple[str, ...], Meta(description="files that it and those below it changed, where known")] = ()
    commands: Annotated[bool, Meta(description="they ran commands, which may have changed more")] = False
    patch: Annotated[Digest, Meta(description="of `changes.patch` in its folder, if it worked in a worktree")] = ""


class ReplayedRecord(Journalled, frozen=True, tag="replayed"):
    """a cell repeated a call of an earlier run, and got the recorded result"""

    call: CallDigest
    position: Position
    recorded: Annotated[AgentPath, Meta(description="the sub-agent whose result it is; none of a model call")] = ""
    prompt: Annotated[str, Meta(description="its task")] = ""
    changed: Annotated[tuple[str, ...], Meta(description="files that it changed then")] = ()
    commands: Annotated[bool, Meta(description="it ran commands then")] = False


class RetryRecord(Journalled, frozen=True, tag="retry"):
    """a request failed and is tried again"""

    reason: str
    attempt: Whole
    wait: Seconds


class ErrorRecord(Journalled, frozen=True, tag="error"):
    """an error occurred that does not end the run"""

    reason: str


class LimitRecord(Journalled, frozen=True, tag="limit"):
    """the agent reached a limit; the last request of the run asks for its answer"""

    stop_reason: Reason


class KernelRecord(Journalled, frozen=True, tag="kernel"):
    """a new kernel replaced a lost one"""

    why: str
    lost: Annotated[tuple[str, ...], Meta(description="names")]


class SkillsRecord(Journalled, frozen=True, tag="skills"):
    """skills were called since the last such record, from cells and as commands"""

    python: dict[str, Whole]
    shell: Annotated[dict[str, Whole], Meta(description="calls by name of skill")]


class UserCellRecord(Journalled, frozen=True, tag="user_cell"):
    """the user ran a cell in the agent's kernel"""

    code: str
    content: Annotated[str, Meta(description="its result")]
    ok: bool
    told: Annotated[bool, Meta(description="the model sees it with the user's next message")]


class CheckpointRecord(Journalled, frozen=True, tag="checkpoint"):
    """the kernel's variables were saved to `variables.pickle`, in this sandbox (`off`: none)"""

    sha256: Digest
    sandbox: Annotated[str, only_written(enum=["off", "bwrap"])]


class ResumeRecord(Journalled, frozen=True, tag="resume"):
    """the session was opened again; a later run follows"""

    pid: int = 0
    forked_from: SessionId = ""


class RerunRecord(Journalled, frozen=True, tag="rerun"):
    """a recorded cell was run again after a resume"""

    call_id: str
    same: bool
    content: Annotated[str, Meta(description="where it differs")] | None = None


class KernelResumedRecord(Journalled, frozen=True, tag="kernel_resumed"):
    """a new kernel replaced the one of the resumed session"""

    gone: Annotated[tuple[str, ...], Meta(description="names")] = ()
    restored: Annotated[str, Meta(description="what the kernel says of saved variables")] = ""
    rerun: Annotated[Whole | None, Meta(description="cells that were run again")] = None
    differing: Annotated[tuple[Whole, ...], Meta(description="those whose results differ, from 1")] = ()


class ResultRecord(Journalled, frozen=True, tag="result"):
    """a run ended"""

    status: Status
    stop_reason: Reason
    answer: str
    turns: Whole
    usage: Annotated[TokenCounts, Meta(description="its own")]
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
    notes: Annotated[tuple[str, ...], Meta(description="sentences on how a session was resumed")] = ()
    turns: Annotated[Whole, Meta(description="of earlier runs of a resumed session")] = 0


class CellStartRecord(Watched, frozen=True, tag="cell_start"):
    """a tool call begins"""

    call_id: str
    tool: str
    arguments: Annotated[str, Meta(description="as the model wrote them")]


class UserCellStartRecord(Watched, frozen=True, tag="user_cell_start"):
    """the user runs a cell"""

    code: str


class UserOutputRecord(Watched, frozen=True, tag="user_cell_output"):
    """the user's cell prints something"""

    text: str


class CellOutputRecord(Watched, frozen=True, tag="cell_output"):
    """the tool call prints something"""

    call_id: str
    text: str


class CellEndRecord(Watched, frozen=True, tag="cell_end"):
    """the tool call has ended"""

    call_id: str
    tool: str
    ok: bool
    duration: Seconds | None = None


class DeltaRecord(Watched, frozen=True, tag="delta"):
    """with `--deltas`: a piece of the model's text"""

    text: str


class WritingRecord(Watched, frozen=True, tag="writing"):
    """with `--deltas`: the amount that the model has written besides text, at most five times a second"""

    what: Annotated[str, only_written(enum=["reasoning", "call"])]
    characters: Whole
    lines: Annotated[Whole, Meta(description="of a call's arguments")] = 0
    text: Annotated[str, Meta(description="of the reasoning, since the last such record")] = ""


class QueuedRecord(Watched, frozen=True, tag="queued"):
    """this many of its sub-agents wait for a slot"""

    agents: Whole


class ThrottledRecord(Watched, frozen=True, tag="throttled"):
    """its request waits because the provider accepts no more at once; or, if `waits` is false, the request is sent"""

    waits: bool


class DisplayRecord(Watched, frozen=True, tag="display"):
    """a cell displays a picture or a table"""

    call_id: str
    picture: Annotated[str, Meta(description="path")] = ""
    rows: Whole = 0
    columns: Whole = 0


class WaitingRecord(Watched, frozen=True, tag="waiting"):
    """every 25 seconds without data from the model, during a request or a pause before a retry"""

    reason: str
    left: Annotated[Seconds, Meta(description="seconds until that ends, at the latest")]


class RunEndRecord(Watched, frozen=True, tag="result"):
    """the last line: the result of the root and its whole tree"""

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
