"""The events of a run. The journal, `--json` and the screen all use them. Frozen, never subclassed.

The first group is the conversation, which `rlm.core.state` folds. The second group is written to the journal for its
readers. The third group is only for live observers and is not stored.
"""

from __future__ import annotations

from msgspec import Struct, field

from rlm.core.adaptation import Adaptation
from rlm.core.budget import Spent, Stop
from rlm.core.history import Summary
from rlm.core.messages import CHAT, Message, Reply, Schema, System, ToolCall, ToolResult, Usage, User, Wire

# ---- the conversation


class Said(Struct, frozen=True):
    """The system prompt, or a message from the user or rlm. `anew`: another form of an earlier, dropped message."""

    message: System | User
    anew: bool = False


class Replied(Struct, frozen=True):
    """The model replied. `aside`: the reply is a summary for a compaction, and no turn."""

    reply: Reply
    aside: bool = False


class ToolReturned(Struct, frozen=True):
    """A tool returned. `anew` as in `Said`."""

    result: ToolResult
    anew: bool = False


class Dropped(Struct, frozen=True):
    """These messages (their numbers in the history) left the context.

    The messages in `left` leave behind the user messages that were joined to them; `forms` shows those to readers.
    """

    numbers: tuple[int, ...]
    reason: str
    summary: Summary | None = None
    left: tuple[int, ...] = ()
    forms: tuple[Message, ...] = ()


class Adapted(Struct, frozen=True):
    """From here on the messages in the context have another form. They keep their numbers.

    For readers of the journal, `changed` holds the new forms, and `gone` the messages that are removed.
    """

    adaptations: tuple[Adaptation, ...]
    changed: tuple[tuple[int, Message], ...] = ()
    gone: tuple[int, ...] = ()


class Answered(Struct, frozen=True):
    """The answer, if it differs from the model's text: a cell gave it, or it is the JSON inside that text."""

    answer: str


class Stopped(Struct, frozen=True):
    """The last event of a run. `error`: the failure, or the provider's message if that caused the stop."""

    stop: Stop
    answer: str
    spent: Spent
    error: str = ""


# ---- journalled


class ParametersChanged(Struct, frozen=True):
    """The parameters of requests, without the messages. Emitted when they change."""

    model: str
    tools: tuple[Schema, ...] = ()
    params: Wire = field(default_factory=dict)
    api: str = CHAT


class Retried(Struct, frozen=True):
    """A request failed and is tried again after `wait` seconds."""

    reason: str
    attempt: int
    wait: float


class Failed(Struct, frozen=True):
    """A problem that does not end the run."""

    reason: str


class LimitReached(Struct, frozen=True):
    """The agent reached a limit. The last request of the run asks for its answer."""

    stop: Stop


class KernelRestarted(Struct, frozen=True):
    """A fresh kernel replaced one that was lost. `lost` holds the names of the lost variables."""

    why: str
    lost: tuple[str, ...] = ()


class SkillsCalled(Struct, frozen=True):
    """How often skills were called since the last such event, by name: from cells (`python`), as commands (`shell`)."""

    python: dict[str, int] = field(default_factory=dict)
    shell: dict[str, int] = field(default_factory=dict)


class UserCellRan(Struct, frozen=True):
    """The user ran a cell in the agent's kernel; `content` is its result. `told`: the model sees it."""

    code: str
    content: str
    ok: bool = True
    told: bool = True


class Checkpointed(Struct, frozen=True):
    """The kernel's variables were saved in this sandbox (`off`: none). `sha256` identifies the file in a later run."""

    sha256: str
    sandbox: str


class Rerun(Struct, frozen=True):
    """A recorded cell was run again after a resume; `content` is its new result."""

    call_id: str
    same: bool
    content: str = ""


class KernelResumed(Struct, frozen=True):
    """A fresh kernel replaced the kernel of a resumed session.

    `gone` are the lost variables. Either saved variables were loaded, and `restored` is what the kernel reports of
    them; or `rerun` cells were run again, and `differing` holds the numbers (from 1) of those with other results.
    """

    gone: tuple[str, ...] = ()
    restored: str = ""
    rerun: int | None = None
    differing: tuple[int, ...] = ()


class CallKey(Struct, frozen=True):
    """Identifies a call of a cell in later runs: a digest of its arguments, and its position among equal calls."""

    digest: str = ""
    position: int = 0


class ModelCalled(Struct, frozen=True):
    """A cell asked a model with `rlm.llm`. `sent` holds all messages of the request, which has no conversation."""

    requested: ParametersChanged
    sent: tuple[Message, ...]
    reply: Reply
    key: CallKey = CallKey()


class ChildStarted(Struct, frozen=True):
    """A sub-agent started; `folder` is the name of its session folder inside its parent's.

    It waited `queued` seconds for a slot before.
    """

    folder: str
    prompt: str
    queued: float = 0.0
    key: CallKey = CallKey()


class KeptValue(Struct, frozen=True):
    """The kind of value in a sub-agent's result: empty, `text` or `json` (its answer), or `pickle`.

    A pickle is kept in the session folder of the sub-agent: `sha256` is its digest, `sandbox` the sandbox of its kernel
    (`off`: none). `patch` is the digest of the patch that is kept there if the sub-agent worked in a worktree, else
    empty.
    """

    kind: str = ""
    sha256: str = ""
    sandbox: str = ""
    patch: str = ""


class Effects(Struct, frozen=True):
    """Files, as far as known, that an agent and its descendants have changed; whether they ran commands."""

    files: tuple[str, ...] = ()
    commands: bool = False


class ChildEnded(Struct, frozen=True):
    """A sub-agent ended; `usage` is that of its whole subtree."""

    folder: str
    stop: Stop
    turns: int = 0
    usage: Usage = field(default_factory=Usage)
    error: str = ""
    value: KeptValue = KeptValue()
    effects: Effects = Effects()


class Replayed(Struct, frozen=True):
    """A call of a cell was not run: it got its recorded result from an earlier run.

    `agent` is the path in the tree of the sub-agent that gave the result, and `prompt` is its task. Both are empty for
    a model call. `effects` are those of the earlier run.
    """

    key: CallKey
    agent: str = ""
    prompt: str = ""
    effects: Effects = Effects()


# ---- for observers, not stored


class RequestStarted(Struct, frozen=True):
    """A request is sent to the model."""

    aside: bool = False


class Delta(Struct, frozen=True):
    """A piece of the model's text, as it streams."""

    text: str


class Writing(Struct, frozen=True):
    """The model writes something other than text: `what` is `reasoning` or `call`, the counts are its size so far.

    `text` is the reasoning since the last such event.
    """

    what: str
    characters: int
    lines: int = 0
    text: str = ""


class Queued(Struct, frozen=True):
    """This number of sub-agents of the agent wait for a slot."""

    agents: int


class Throttled(Struct, frozen=True):
    """A request waits because the provider accepts no more at once; if `waits` is false, the wait is over."""

    waits: bool


class Displayed(Struct, frozen=True):
    """The running call displays a picture (`picture` is its path) or a table."""

    picture: str = ""
    rows: int = 0
    columns: int = 0


class Waiting(Struct, frozen=True):
    """Nothing has come from the model for some time, in a request or between two tries.

    In at most `left` seconds rlm tries again or gives up.
    """

    reason: str
    left: float


class UserCellStarted(Struct, frozen=True):
    """The user's cell was accepted. It may have to wait for a cell of the agent."""

    code: str


class UserOutputReceived(Struct, frozen=True):
    """A piece of output of the user's running cell."""

    text: str


class CallStarted(Struct, frozen=True):
    """A tool call starts."""

    call: ToolCall


class OutputReceived(Struct, frozen=True):
    """A piece of output of the running call."""

    text: str


class CallEnded(Struct, frozen=True):
    """A tool call ended; its `ToolReturned` came before."""

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
