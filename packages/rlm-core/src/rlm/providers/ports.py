"""What tells one API of model servers from another. A further API is one module that has this."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rlm.core.adaptation import Adaptation
from rlm.core.messages import Message, Reply, Schema, Wire
from rlm.core.ports import ToolChoice
from rlm.providers.errors import HTTPError


@dataclass(frozen=True, slots=True)
class Piece:
    """What an event of a stream adds to a message: to its text, its reasoning, the arguments of its calls."""

    text: str = ""
    reasoning: str = ""
    arguments: str = ""


Heard = Callable[[Piece | None], None]
"""Called with each piece of a message, and with None for bytes that are no piece of it."""


@dataclass(frozen=True, slots=True)
class ModelPrompt:
    """What a model is asked, in the terms of the chat format."""

    model: str
    messages: Sequence[Message]
    tools: Sequence[Schema] = ()
    tool_choice: ToolChoice = "auto"
    params: Wire | None = None


class Assembler(Protocol):
    """Puts the events of one streamed reply together."""

    @property
    def finished(self) -> bool:
        """Whether the provider has said how the message ends. More may follow, such as its usage."""
        ...

    def takes(self, event: Any, /) -> bool:
        """Whether this is an event of such a stream: some servers send them a line each, not as server-sent events."""
        ...

    def add(self, event: Any, /) -> Piece | None:
        """Returns what the event adds to the message, None if it is no piece of it. See `Heard`.

        Raises:
            HTTPError, TransportError: it is an error, or no event.
        """
        ...

    def body(self, *, done: bool = False) -> Wire:
        """The reply, as it would have come whole. `done`: the stream said that this was all.

        Raises:
            TransportError: the stream ended before the message did.
        """
        ...


class API(Protocol):
    """How one API is asked, and how its answers are read. Pure."""

    @property
    def name(self) -> str:
        """As RLM_API has it, and the journal."""
        ...

    @property
    def path(self) -> str:
        """Below the base URL."""
        ...

    def body(self, prompt: ModelPrompt) -> Wire:
        """The request, of which the reply comes whole."""
        ...

    def streamed(self, *, with_usage: bool) -> Wire:
        """What the body has besides when the reply is to be streamed. `with_usage`: the tokens are asked for."""
        ...

    def assembler(self) -> Assembler: ...

    def adaptation(self, fault: HTTPError, prompt: ModelPrompt) -> Adaptation | None:
        """The form in which the messages of a refused request may be taken."""
        ...

    def hint(self, fault: HTTPError) -> str:
        """Which other API a refusal asks for, if it does."""
        ...

    def reply(self, body: Any, prompt_size: Callable[[], int]) -> Reply:
        """Read what came. `prompt_size` counts characters; it is called where the provider counts no tokens.

        Raises:
            HTTPError, TransportError: there is no message in it.
        """
        ...


Attempt = Callable[[], Awaitable[Reply]]
"""One try of a request.

Raises HTTPError or TransportError if it failed, MessagesRefused if the messages must be adapted first.
"""


class Provider(Protocol):
    """One agent's model, which is tried once and gives up. See `rlm.core.ports.Model`, which `Retrying` makes of it."""

    @property
    def name(self) -> str: ...

    @property
    def api(self) -> str: ...

    @property
    def params(self) -> Wire: ...

    @property
    def adaptations(self) -> frozenset[Adaptation]: ...

    def request(
        self, messages: Sequence[Message], tools: Sequence[Schema], tool_choice: ToolChoice, heard: Heard
    ) -> Attempt:
        """One request, to be tried until it succeeds. It learns from each try that fails."""
        ...
