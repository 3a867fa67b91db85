"""Dispatches a client's requests: converts JSON to the protocol's types, and rlm's errors to JSON-RPC errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from acp import schema
from acp.exceptions import RequestError
from pydantic import BaseModel, ValidationError

from rlm.config.credentials import hide_credentials
from rlm.core.messages import Wire
from rlm.errors import (
    AgentError,
    ConfigError,
    CredentialsError,
    ModelUnavailable,
    RlmError,
    SessionError,
    UnknownSession,
)

if TYPE_CHECKING:
    from rlm.acp.server import AcpServer

INVALID_PARAMS, INTERNAL, NO_KEY, NOT_FOUND = -32602, -32603, -32000, -32002
"""Error codes of JSON-RPC and of the protocol."""
_CODES = (
    (CredentialsError, NO_KEY),
    (ConfigError, INVALID_PARAMS),
    (UnknownSession, INTERNAL),  # as agents on the SDKs answer, and as the conformance cases of acpx expect
    (SessionError, NOT_FOUND),
)
_TRANSPORT = "model_transport"
"""The kind of error for an unreachable model; the package `verifiers` looks for it."""

Handler = Callable[[Any], Awaitable[Wire]]


class Router:
    """Implements `acp.connection.MethodHandler`. Unknown notifications of the client are ignored."""

    def __init__(self, server: AcpServer) -> None:
        self._server = server
        self._methods: dict[str, tuple[type[BaseModel], Handler]] = {
            "initialize": (schema.InitializeRequest, server.initialize),
            "authenticate": (schema.AuthenticateRequest, server.authenticate),
            "session/new": (schema.NewSessionRequest, server.new_session),
            "session/load": (schema.LoadSessionRequest, server.load_session),
            "session/resume": (schema.ResumeSessionRequest, server.resume_session),
            "session/list": (schema.ListSessionsRequest, server.list_sessions),
            "session/close": (schema.CloseSessionRequest, server.close_session),
            "session/delete": (schema.DeleteSessionRequest, server.delete_session),
            "session/prompt": (schema.PromptRequest, server.prompt),
            "session/set_mode": (schema.SetSessionModeRequest, server.set_mode),
            "session/set_config_option": (schema.SetSessionConfigOptionSelectRequest, server.set_config_option),
        }

    async def __call__(self, method: str, params: Any, is_notification: bool) -> Any:
        """
        Raises:
            RequestError: the request is refused or failed.
        """
        if is_notification:
            if method == "session/cancel" and isinstance(params, dict):
                self._server.cancel(str(params.get("sessionId")))
            return None
        try:
            if method == "_session/steering":
                return self._server.steer(params if isinstance(params, dict) else {})
            if method not in self._methods:
                raise RequestError.method_not_found(method)
            model, handle = self._methods[method]
            return await handle(model.model_validate({} if params is None else params))
        except ValidationError as error:
            raise RequestError(INVALID_PARAMS, f"Invalid params: {_problems(error)}") from None
        except RlmError as error:
            raise request_error(error) from None
        except OSError as error:
            raise RequestError(INTERNAL, f"{error.filename or method}: {error.strerror}") from None


def request_error(error: RlmError) -> RequestError:
    """Convert an error. The text is both message and details, because clients show only one of them."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), INTERNAL)
    said = hide_credentials(str(error))
    data = {"details": said}
    if isinstance(error, ModelUnavailable):
        data["kind"] = _TRANSPORT
    if isinstance(error, AgentError):
        data["stop"] = error.stop
    return RequestError(code, said, data)


def _problems(error: ValidationError) -> str:
    """Describe validation errors without the sent values, which may contain a key."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found[:5])
