"""What happened: the vocabulary of the journal, of `--json` and of the screen. Frozen, never subclassed.

The first group is the conversation: `rlm.core.state` folds it. The second is journalled for the reader. The third is
for those who watch, and gone when it is over.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rlm.core.adaptation import Adaptation
from rlm.core.budget import Spent, Stop
from rlm.core.history import Summary
from rlm.core.messages import CHAT, Message, Reply, Schema, System, ToolCall, ToolResult, Usage, User, Wire

# ---- the conversation


@dataclass(frozen=True, slots=True)
class Said:
    """The system prompt, the user, or rlm itself. `anew`: said before, and dropped to be said in another form."""

    message: System | User
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Replied:
    """The model. `aside`: the reply is a summary for a compaction and no turn."""

    reply: Reply
    aside: bool = False


@dataclass(frozen=True, slots=True)
class ToolReturned:
    """A tool. `anew` as above."""

    result: ToolResult
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """These messages (their numbers in the history) left the context.

    Of those in `left` the users' messages stay that were joined to them; `forms` says to readers what that is.
    """

    numbers: tuple[int, ...]
    reason: str
    summary: Summary | None = None
    left: tuple[int, ...] = ()
    forms: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Adapted:
    """From here on the messages in the context have another form. They keep their numbers.

    `changed` and `gone` say what that makes of them, for readers of the journal.
    """

    adaptations: tuple[Adaptation, ...]
    changed: tuple[tuple[int, Message], ...] = ()
    gone: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer, where it is not the model's text as it stands: a cell gave it, or it is the JSON in that text."""

    answer: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The last event of a run. `error`: what went wrong, or the provider's words where they caused the stop."""

    stop: Stop
    answer: str
    spent: Spent
    error: str = ""


# ---- journalled


@dataclass(frozen=True, slots=True)
class ParametersChanged:
    """What requests carry besides messages; emitted when it changes."""

    model: str
    tools: tuple[Schema, ...] = ()
    params: Wire = field(default_factory=dict)
    api: str = CHAT


@dataclass(frozen=True, slots=True)
class Retried:
    """A request failed and is tried again after `wait` seconds."""

    reason: str
    attempt: int
    wait: float


@dataclass(frozen=True, slots=True)
class Failed:
    """Something went wrong that the run survives."""

    reason: str


@dataclass(frozen=True, slots=True)
class LimitReached:
    """The agent may not go on, and is asked for its answer: the last request of the run."""

    stop: Stop


@dataclass(frozen=True, slots=True)
class KernelRestarted:
    """A fresh kernel took the place of one that was lost, `lost` being the names that went with it."""

    why: str
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SkillsCalled:
    """How often skills were called since the last such event, by name: from cells, and as commands."""

    python: dict[str, int] = field(default_factory=dict)
    shell: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UserCellRan:
    """The user ran a cell in the agent's kernel; `content` is what came of it. `told`: the model hears of it."""

    code: str
    content: str
    ok: bool = True
    told: bool = True


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """The kernel's variables were saved in this sandbox (`off`: in none). By the digest a later run knows the file."""

    sha256: str
    sandbox: str


@dataclass(frozen=True, slots=True)
class Rerun:
    """A recorded cell was run again after a resume; `content` is what came of it this time."""

    call_id: str
    same: bool
    content: str = ""


@dataclass(frozen=True, slots=True)
class KernelResumed:
    """A fresh kernel took the place of the one that a resumed session had.

    `gone` are the variables that went with that one. Instead, saved ones were loaded, of which the kernel said
    `restored`; or so many cells were `rerun`, of which the results of those numbers (from 1) are `differing`.
    """

    gone: tuple[str, ...] = ()
    restored: str = ""
    rerun: int | None = None
    differing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CallKey:
    """By which a later run knows a call of a cell again: a digest of all that it asks, and which equal call it is."""

    digest: str = ""
    position: int = 0


@dataclass(frozen=True, slots=True)
class ModelCalled:
    """A cell asked a model, with `rlm.llm`. `sent` are all messages of the request: it has no conversation."""

    requested: ParametersChanged
    sent: tuple[Message, ...]
    reply: Reply
    key: CallKey = CallKey()


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """A sub-agent started; `folder` is the name of its session folder inside its parent's.

    Before, it was in the queue for `queued` seconds.
    """

    folder: str
    prompt: str
    queued: float = 0.0
    key: CallKey = CallKey()


@dataclass(frozen=True, slots=True)
class KeptValue:
    """What the value of a sub-agent's result is: empty, `text` or `json` (its answer), or `pickle`.

    A pickle was kept in its session folder, by this digest, from a kernel in this sandbox (`off`: in none). So was the
    patch of one that worked in a worktree, by the digest `patch`; empty if there is none.
    """

    kind: str = ""
    sha256: str = ""
    sandbox: str = ""
    patch: str = ""


@dataclass(frozen=True, slots=True)
class Effects:
    """Files that an agent and those below it have changed, as far as it is known, and whether they ran commands."""

    files: tuple[str, ...] = ()
    commands: bool = False


@dataclass(frozen=True, slots=True)
class ChildEnded:
    """A sub-agent ended; `usage` is its whole subtree's."""

    folder: str
    stop: Stop
    turns: int = 0
    usage: Usage = field(default_factory=Usage)
    error: str = ""
    value: KeptValue = KeptValue()
    effects: Effects = Effects()


@dataclass(frozen=True, slots=True)
class Replayed:
    """A call of a cell was not run: it got what it came to in an earlier run.

    `agent` is the path in the tree of the sub-agent whose result that is, and `prompt` its task; both are empty for
    a model call. Its `effects` were those of the earlier run.
    """

    key: CallKey
    agent: str = ""
    prompt: str = ""
    effects: Effects = Effects()


# ---- watched


@dataclass(frozen=True, slots=True)
class RequestStarted:
    """A request leaves for the model."""

    aside: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the model's text, as it streams."""

    text: str


@dataclass(frozen=True, slots=True)
class Writing:
    """What the model writes besides text: its `reasoning`, or a `call`. So much of it has come.

    `text` is the reasoning that has come since the last such event.
    """

    what: str
    characters: int
    lines: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Queued:
    """So many sub-agents of this one wait for a slot."""

    agents: int


@dataclass(frozen=True, slots=True)
class Throttled:
    """A request waits for its turn, as the provider takes no more at once; or, `waits` is false, it is sent."""

    waits: bool


@dataclass(frozen=True, slots=True)
class Displayed:
    """The running call shows a picture (its path), or a table."""

    picture: str = ""
    rows: int = 0
    columns: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing has come from the model for some time, in a request or between two tries.

    In `left` seconds at most it is tried again, or given up.
    """

    reason: str
    left: float


@dataclass(frozen=True, slots=True)
class UserCellStarted:
    """It may wait for a cell of the agent."""

    code: str


@dataclass(frozen=True, slots=True)
class UserOutputReceived:
    """The user's running cell prints something."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStarted:
    call: ToolCall


@dataclass(frozen=True, slots=True)
class OutputReceived:
    """A piece of what the running call prints."""

    text: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    result: ToolResult


Event = (
    Said
    | Replied
    | ToolReturned
    | Dropped
    | Adapted
    | Answered
    | Stopped
    | ParametersChanged
    | Retried
    | Failed
    | LimitReached
    | KernelRestarted
    | Rerun
    | KernelResumed
    | SkillsCalled
    | UserCellRan
    | Checkpointed
    | ModelCalled
    | ChildStarted
    | ChildEnded
    | Replayed
    | RequestStarted
    | Delta
    | Writing
    | Queued
    | Throttled
    | Displayed
    | Waiting
    | CallStarted
    | UserCellStarted
    | UserOutputReceived
    | OutputReceived
    | CallEnded
)
