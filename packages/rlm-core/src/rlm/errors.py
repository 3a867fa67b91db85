"""Every error that rlm raises on purpose:

* RlmError
  x ConfigError          a setting or an argument is wrong; the user can fix it
  x SessionError         a session cannot be read, written or resumed
    + UnknownSession     a client names a session that it has not opened
  x CredentialsError     there is no key, or the provider refuses it
  x ModelError           the provider refused the request, or its reply was invalid
    + ContextTooLong     the conversation is longer than the model's context
    + ContentFiltered    the provider's content filter refuses the conversation
    + MessagesRefused    the provider refuses the form of the messages; it may accept another
    + ModelUnavailable   the provider failed for now; the same request may work later
  x ToolError            the model reads it; never fatal
    + BadArguments
  x KernelError          a kernel could not be started
  x AgentError           a sub-agent failed or was refused
  x McpError             an MCP server cannot be reached, or its tool failed

`rlm.core.exit_codes` maps each to one exit code. An error is never returned as an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rlm.core.adaptation import Adaptation
    from rlm.core.messages import Usage


class RlmError(Exception):
    """Base class: catch this to catch all errors of rlm.

    For a program that called `rlm.run`, `session_dir` and `usage` (of the whole tree) describe the run, if it had
    begun.
    """

    session_dir: Path | None = None
    usage: Usage | None = None


class ConfigError(RlmError):
    """A setting or an argument is wrong."""


class SessionError(RlmError):
    """A session cannot be read, written or resumed."""


class UnknownSession(SessionError):
    """A client names a session that it has not opened."""


class CredentialsError(RlmError):
    """The key is missing or refused."""


class ModelError(RlmError):
    """The provider refused the request, or its reply was invalid."""


class ContextTooLong(ModelError):
    """The conversation is longer than the model's context."""


class ContentFiltered(ModelError):
    """The provider's content filter refuses the conversation."""


class MessagesRefused(ModelError):
    """The provider refuses the form of the messages. Never leaves the loop if another form exists.

    `so_far` are changes for the existing messages; later messages need not have that form.
    """

    def __init__(self, reason: str, so_far: frozenset[Adaptation] = frozenset()) -> None:
        super().__init__(reason)
        self.so_far = so_far


class ModelUnavailable(ModelError):
    """The provider failed for now."""


class ToolError(RlmError):
    """An error that is a result for the model, which can correct it."""


class BadArguments(ToolError):
    """The arguments of a call do not fit the tool."""


class KernelError(RlmError):
    """A kernel could not be started."""


class AgentError(RlmError):
    """A sub-agent failed or was refused; `stop` is its stop reason."""

    def __init__(self, reason: str, stop: str = "error") -> None:
        super().__init__(reason)
        self.stop = stop


class McpError(RlmError):
    """An MCP server cannot be reached, or its tool answered with an error."""
