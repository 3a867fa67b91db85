"""The interfaces that the loop needs from outside, each with its contract."""

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
"""Receives events. Must be quick, must not call back, must not raise for an error that the run can survive."""

ToolChoice = Literal["auto", "none"]

AnswerCheck = Callable[[str], str]
"""Extracts the answer from the model's text. Raises ValueError with what the model must change."""


class Model(Protocol):
    """Answers a conversation."""

    @property
    def name(self) -> str: ...

    @property
    def params(self) -> Wire:
        """The parameters of every request besides model, messages and tools."""
        ...

    @property
    def api(self) -> str:
        """The API of the requests, with its name in the journal."""
        ...

    @property
    def adaptations(self) -> frozenset[Adaptation]:
        """The changes to messages that the provider requires, learnt from its refusals. The set only grows."""
        ...

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[Schema], tool_choice: ToolChoice = "auto"
    ) -> Reply:
        """Return one reply, after as many retries as it takes.

        The message of the reply is valid: call ids are unique, and every provider accepts the names and arguments back.
        What the model really wrote is kept beside them. Cancellation aborts the request.

        Raises:
            ContextTooLong: the provider says that the conversation is too long.
            MessagesRefused: the provider refuses their form. The error or `adaptations` says which form may work.
            CredentialsError: the key is missing or refused.
            ModelUnavailable: the provider fails at present, and retries did not help.
            ModelError: the provider refused the request.
        """
        ...


class Tool(Protocol):
    """One thing that the model can do. It has no reference to the loop."""

    @property
    def name(self) -> str: ...

    def schema(self) -> Schema:
        """Return the function as the chat format describes it. Always the same, because prompts are cached."""
        ...

    async def run(self, arguments: dict[str, Any], history: History) -> Outcome:
        """Run the call. `arguments` fit the schema; `history` ends with the message that contains this call.

        An error that the model can fix is a failed outcome or a ToolError. Cancellation stops everything the tool
        started.
        """
        ...


@dataclass(frozen=True, slots=True)
class Execution:
    """The result of a cell: its whole text for the model, and the pictures that it displayed.

    `exit_status`: of the last command that failed without a message in the text; 0 if none did.
    """

    text: str
    ok: bool = True
    pictures: tuple[Path, ...] = ()
    exit_status: int = 0


class Kernel(Protocol):
    """A persistent Python session."""

    async def execute(self, code: str, timeout: float, sink: Sink | None = None) -> Execution:
        """Run one cell for at most `timeout` seconds; time spent in `waiting` does not count.

        `sink` receives the output, instead of the kernel's own sink.

        Whatever the code does (loop, die, print without end), this returns within a few seconds of the timeout or of
        the kernel's death. The result says what happened, and the kernel is ready again. Cancellation interrupts the
        cell.

        Raises:
            KernelError: no kernel can be started.
        """
        ...

    async def execute_internal(self, code: str, timeout: float) -> str:
        """Run code that is not the model's, between two of its cells.

        Output of this code appears before the next cell's result. Return what the model must know about the end: that
        the kernel died, or had to be interrupted; empty if there is nothing.
        """
        ...

    async def restart(self, why: str) -> None:
        """Discard the variables."""
        ...

    def waiting(self) -> AbstractContextManager[None]:
        """Return a context in which the running cell waits for sub-agents and its clock stops. It nests."""
        ...


class SandboxedCommand(Protocol):
    """Runs a program of a tool in its agent's sandbox."""

    async def __call__(self, cwd: Path, *words: str) -> tuple[str, ...]:
        """Return the command that runs the command `words` in a sandbox, in the folder `cwd`.

        Raises:
            KernelError: the sandbox is unavailable.
        """
        ...


class Limits(Protocol):
    """Decides whether an agent must stop before its next request."""

    def reached(self, spent: Spent) -> Stop | None:
        """Return the limit that is reached, or None. `spent` is what this agent has used in all of its tasks."""
        ...


class ConversationEditor(Protocol):
    """The changes that a context policy may make to the conversation. Each one emits an event."""

    @property
    def state(self) -> ConversationState: ...

    def append(self, message: User) -> None: ...

    def drop(self, numbers: Collection[int], reason: str) -> None:
        """Drop messages by their numbers in the history. The journal records `reason`."""
        ...

    def shorten(self, number: int, content: str) -> None:
        """Replace the content of the tool result `number` of the newest turn."""
        ...

    def retract(self) -> None:
        """Take back a request for a summary, and the reply to it."""
        ...

    def report(self, problem: str) -> None:
        """Report a problem that the run survives."""
        ...

    async def side_request(self) -> Reply:
        """Make one model call that is no turn. It offers the same tools, but the model should call none."""
        ...

    def is_call(self, text: str) -> bool:
        """Return whether a text is a call of a tool, written as plain text."""
        ...


class Context(Protocol):
    """Keeps the conversation within the model's context window."""

    async def fit(self, editor: ConversationEditor, /) -> None:
        """Called before every request."""
        ...

    async def shrink(self, editor: ConversationEditor, /) -> bool:
        """Called when the provider finds the prompt too long. Shorten it, or return False if nothing can be dropped."""
        ...

    async def compact(self, editor: ConversationEditor, /) -> bool:
        """Called when the user asks for it. Shorten the conversation, or return False if nothing can be dropped."""
        ...
