"""The contract of an API. A further API of model servers is one module that implements `API`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rlm.core.adaptation import Adaptation
from rlm.core.messages import Message, Reply, Schema, Wire
from rlm.core.ports import ToolChoice
from rlm.providers.errors import HTTPError


@dataclass(frozen=True, slots=True)
class Piece:
    """What one event of a stream adds to a message: text, reasoning, or arguments of calls."""

    text: str = ""
    reasoning: str = ""
    arguments: str = ""


OnData = Callable[[Piece | None], None]
"""Called with each piece of a message, and with None for other bytes."""


@dataclass(frozen=True, slots=True)
class ModelPrompt:
    """The content of a request to a model, in the chat format."""

    model: str
    messages: Sequence[Message]
    tools: Sequence[Schema] = ()
    tool_choice: ToolChoice = "auto"
    params: Wire | None = None


class Assembler(Protocol):
    """Assembles a reply from the events of its stream."""

    @property
    def finished(self) -> bool:
        """True when the provider has sent the end of the message. More may follow, such as its usage."""
        ...

    def takes(self, event: Any, /) -> bool:
        """Return whether this is an event of such a stream: some servers send one per line, not server-sent events."""
        ...

    def add(self, event: Any, /) -> Piece | None:
        """Add an event. Return the piece that it adds to the message, None if it adds none. See `OnData`.

        Raises:
            HTTPError, TransportError: it is an error, or not a valid event.
        """
        ...

    def body(self, *, done: bool = False) -> Wire:
        """Return the reply in the form that it has without streaming. `done`: the stream sent its end marker.

        Raises:
            TransportError: the stream ended before the message did.
        """
        ...


class API(Protocol):
    """Builds the requests of one API, and reads its replies. Pure."""

    @property
    def name(self) -> str:
        """The name in RLM_API and in the journal."""
        ...

    @property
    def path(self) -> str:
        """The path below the base URL."""
        ...

    def body(self, prompt: ModelPrompt) -> Wire:
        """Return the body of a request without streaming."""
        ...

    def streamed(self, *, with_usage: bool) -> Wire:
        """Return the additional fields of a request for a stream. `with_usage`: request the token counts."""
        ...

    def assembler(self) -> Assembler: ...

    def adaptation(self, fault: HTTPError, prompt: ModelPrompt) -> Adaptation | None:
        """Return the adaptation with which the server may accept the messages of a refused request."""
        ...

    def hint(self, fault: HTTPError) -> str:
        """Return a hint if the refusal asks for another API; else empty."""
        ...

    def reply(self, body: Any, prompt_size: Callable[[], int]) -> Reply:
        """Read a reply. `prompt_size` counts characters; it is called if the provider sends no token counts.

        Raises:
            HTTPError, TransportError: the reply contains no message.
        """
        ...
