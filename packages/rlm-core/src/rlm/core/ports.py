"""What the loop needs from the outside, each with its contract."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from rlm.core.adaptation import Adaptation
from rlm.core.budget import Spent, Stop
from rlm.core.events import Event
from rlm.core.history import History
from rlm.core.messages import Message, Outcome, Reply, Schema, User, Wire
from rlm.core.state import ConversationState

Sink = Callable[[Event], None]
"""Listens. Must be quick, must not raise for what the run can survive, must not call back."""

ToolChoice = Literal["auto", "none"]

AnswerCheck = Callable[[str], str]
"""Gives the answer that is in the model's text. Raises ValueError with what the model must change."""


class Model(Protocol):
    """Answers a conversation."""

    @property
    def name(self) -> str: ...

    @property
    def params(self) -> Wire:
        """What every request carries besides model, messages and tools."""
        ...

    @property
    def api(self) -> str:
        """By which API it is asked, as the journal names it."""
        ...

    @property
    def adaptations(self) -> frozenset[Adaptation]:
        """What the provider is known to need of the messages. Learnt from its refusals; it only grows."""
        ...

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[Schema], tool_choice: ToolChoice = "auto"
    ) -> Reply:
        """One answer, after as many retries as it takes.

        The reply's message is sound: call ids are unique, names and arguments are such that any provider accepts them
        back, with what the model really wrote beside them.
        Cancelling gives the request up.

        Raises:
            ContextTooLong: the provider says the conversation is too long.
            MessagesRefused: their form is refused, and it or `adaptations` say in which it may be taken.
            CredentialsError: the key is missing or refused.
            ModelUnavailable: it failed for now, and retrying did not help.
            ModelError: it refused the request.
        """
        ...


class Tool(Protocol):
    """One thing that the model can do. Holds no handle on the loop."""

    @property
    def name(self) -> str: ...

    def schema(self) -> Schema:
        """The function as the chat format describes it. The same each time: prompts are cached."""
        ...

    async def run(self, arguments: dict[str, Any], history: History) -> Outcome:
        """Do it. `arguments` fit the schema; `history` ends with the message that asks for this call.

        What the model can fix is a failed outcome or a ToolError. Cancelling stops whatever it started.
        """
        ...


@dataclass(frozen=True, slots=True)
class Execution:
    """What came of a cell: its whole text as the model shall read it, and the pictures it displayed.

    `exit_status`: of the last command that failed without a word in the text; 0 if none did.
    """

    text: str
    ok: bool = True
    pictures: tuple[Path, ...] = ()
    exit_status: int = 0


class Kernel(Protocol):
    """A persistent Python session."""

    async def execute(self, code: str, timeout: float, sink: Sink | None = None) -> Execution:
        """Run one cell for at most `timeout` seconds, time spent in `waiting` not counted.

        `sink` hears what it prints, in place of the kernel's own.

        Whatever the code does (loop, die, print without end) this returns within a few seconds of the timeout or of the
        kernel's death, says what happened, and leaves a kernel that is ready. Cancelling interrupts the cell.

        Raises:
            KernelError: no kernel can be started at all.
        """
        ...

    async def execute_internal(self, code: str, timeout: float) -> str:
        """Run code that is not the model's, between two of its cells.

        What is printed meanwhile comes before the next cell's result. Returns what the model must know of how it ended:
        that the kernel died, or had to be interrupted; empty if there is nothing.
        """
        ...

    async def restart(self, why: str) -> None:
        """Throw the variables away."""
        ...

    def waiting(self) -> AbstractContextManager[None]:
        """While entered, the running cell waits for sub-agents and its clock stands still. Nests."""
        ...


class SandboxedCommand(Protocol):
    """How a tool runs a program in its agent's sandbox."""

    async def __call__(self, cwd: Path, *words: str) -> tuple[str, ...]:
        """The command that runs the command `words` in a sandbox, in the folder `cwd`.

        Raises:
            KernelError: the sandbox is unavailable.
        """
        ...


class Limits(Protocol):
    """Says whether an agent must stop before its next request."""

    def reached(self, spent: Spent) -> Stop | None: ...


class ConversationEditor(Protocol):
    """What a context policy may do to the conversation. Every step is an event."""

    @property
    def state(self) -> ConversationState: ...

    def append(self, message: User) -> None: ...

    def drop(self, numbers: Collection[int], reason: str) -> None: ...

    def shorten(self, number: int, content: str) -> None:
        """Give the tool result `number` of the newest turn another content."""
        ...

    def retract(self) -> None:
        """Take back a request for a summary, and the reply to it."""
        ...

    def report(self, problem: str) -> None:
        """Something went wrong that the run survives."""
        ...

    async def side_request(self) -> Reply:
        """One model call that is no turn: same tools, none to be used."""
        ...

    def is_call(self, text: str) -> bool:
        """Whether a text is a call of a tool, written where it is not seen as one."""
        ...


class Context(Protocol):
    """Keeps the conversation within what the model takes."""

    async def fit(self, editor: ConversationEditor, /) -> None:
        """Called before every request."""
        ...

    async def shrink(self, editor: ConversationEditor, /) -> bool:
        """The provider says it is too long. Makes it shorter, or returns False when nothing is left to drop."""
        ...

    async def compact(self, editor: ConversationEditor, /) -> bool:
        """The user asks for it. Makes it shorter, or returns False when nothing can be dropped."""
        ...
