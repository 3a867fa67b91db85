"""Login to an MCP server: the OAuth client of the package `mcp`, with tokens in a file of the user (0600)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from rlm.errors import ConfigError, McpError
from rlm.process import files

FOLDER = Path("rlm", "mcp")
"""Relative to the user's state folder."""
_LARGEST = 1 << 20
_LOGIN_TIMEOUT = 300.0  # seconds for a user in a browser
_ANSWER = "The login is complete. You can close this page."
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
_EXPIRY = "expires_at"


class TokenFile:
    """The stored data of a user at one server: tokens, the client registration, and where tokens are renewed."""

    def __init__(self, url: str, state: Path) -> None:
        name = hashlib.sha256(url.encode()).hexdigest()[:32]
        self._path = state / FOLDER / f"{name}.json"
        self._url = url

    def read(self) -> dict[str, Any]:
        """Read the file; empty if it is missing or cannot be trusted."""
        with suppress(OSError, ValueError):
            path = files.resolve(self._path.parent) / self._path.name
            if path.stat().st_uid == os.geteuid() and not path.stat().st_mode & 0o077:
                content = json.loads(files.read(path, limit=_LARGEST))
                return content if isinstance(content, dict) and content.get("url") == self._url else {}
        return {}

    def update(self, **parts: Any) -> None:
        """
        Raises:
            McpError: the file cannot be written.
        """
        try:
            folder = files.open_folder(files.resolve(self._path.parent), make=True)
            try:
                content = json.dumps(self.read() | parts | {"url": self._url})
                files.replace(self._path.name, content.encode(), dir_fd=folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise McpError(f"{self._path} cannot be written: {error.strerror or error}") from None

    def remove(self) -> None:
        """Delete the file, if there is one: the user is logged out."""
        with suppress(OSError):
            files.remove(files.resolve(self._path.parent) / self._path.name)


def has_tokens(url: str, state: Path | None) -> bool:
    """Return whether the user has logged in to this server."""
    return state is not None and "tokens" in TokenFile(url, state).read()


def handler(
    name: str,
    url: str,
    state: Path,
    on_secret: Callable[[str], None],
    *,
    redirect: str = "http://127.0.0.1/callback",
    show: Callable[[str], Awaitable[None]] | None = None,
    wait: Callable[[], Awaitable[dict[str, str]]] | None = None,
) -> Any:
    """Create the authentication handler for the HTTP library: it sends the tokens, and renews them.

    Args:
        redirect: the address to which the browser is redirected.
        show: shows the login page's address to the user; without it, no user can log in.
        wait: waits for the parameters of the redirect.
        on_secret: is called with each token.
    """
    from mcp.client.auth import OAuthClientProvider
    from mcp.shared.auth import OAuthClientMetadata

    async def nobody(_: str) -> None:
        raise McpError(f"the login has expired: `rlm mcp login {name}` logs in again")

    async def callback() -> Any:
        assert wait is not None, "`show` has raised"
        received = await wait()
        return _callback_result(received)

    metadata = OAuthClientMetadata.model_validate(
        {
            "client_name": "rlm",
            "redirect_uris": [redirect],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }
    )
    storage = _Storage(TokenFile(url, state), on_secret)
    provider = OAuthClientProvider(url, metadata, storage, redirect_handler=show or nobody, callback_handler=callback)
    storage.context = provider.context
    return provider


def _callback_result(received: dict[str, str]) -> Any:
    """A pair in version 1 of the package, an object in version 2."""
    from mcp.shared import auth

    kind = vars(auth).get("AuthorizationCodeResult")
    if kind is None:
        return received["code"], received.get("state")
    return kind(code=received["code"], state=received.get("state"), iss=received.get("iss"))


class _Storage:
    """Implements the package's storage interface.

    The package forgets when a token expires and where it is renewed, so these are stored too.
    """

    def __init__(self, file: TokenFile, on_secret: Callable[[str], None]) -> None:
        self.context: Any = None
        self._file = file
        self._on_secret = on_secret

    async def get_tokens(self) -> Any:
        from mcp.shared.auth import OAuthMetadata, OAuthToken, ProtectedResourceMetadata

        content = self._file.read()
        if "tokens" not in content:
            return None
        self.context.token_expiry_time = content.get(_EXPIRY)
        for name, kind in (
            ("oauth_metadata", OAuthMetadata),
            ("protected_resource_metadata", ProtectedResourceMetadata),
        ):
            if content.get(name):
                setattr(self.context, name, kind.model_validate(content[name]))
        return self._passed_on(OAuthToken.model_validate(content["tokens"]))

    async def set_tokens(self, tokens: Any) -> None:
        expires = time.time() + tokens.expires_in if tokens.expires_in else None
        places = {
            name: value.model_dump(mode="json", exclude_none=True)
            for name in ("oauth_metadata", "protected_resource_metadata")
            if (value := getattr(self.context, name, None)) is not None
        }
        self._passed_on(tokens)
        self._file.update(tokens=_dump(tokens), **{_EXPIRY: expires}, **places)

    async def get_client_info(self) -> Any:
        from mcp.shared.auth import OAuthClientInformationFull

        content = self._file.read()
        return OAuthClientInformationFull.model_validate(content["client"]) if "client" in content else None

    async def set_client_info(self, client_info: Any) -> None:
        self._file.update(client=_dump(client_info))

    def _passed_on(self, tokens: Any) -> Any:
        for token in filter(None, (tokens.access_token, tokens.refresh_token)):
            self._on_secret(token)
        return tokens


def _dump(model: Any) -> dict[str, Any]:
    content: dict[str, Any] = model.model_dump(mode="json", exclude_none=True)
    return content


class CallbackPage:
    """Owns a small server on loopback for the browser's redirect."""

    def __init__(self) -> None:
        self._received: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        self._server: asyncio.Server | None = None
        self.url = ""

    async def __aenter__(self) -> CallbackPage:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/callback"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def wait(self) -> dict[str, str]:
        """
        Raises:
            ConfigError: no redirect arrived, or it has no code.
        """
        try:
            async with asyncio.timeout(_LOGIN_TIMEOUT):
                received = await self._received
        except TimeoutError:
            raise ConfigError(f"Nobody logged in within {_LOGIN_TIMEOUT:g} s.") from None
        if "code" not in received:
            raise ConfigError(f"The login was refused: {received.get('error_description') or received.get('error')}.")
        return received

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError, IndexError):
            target = (await reader.readline()).split()[1].decode()
            parts = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
            if not self._received.done() and {"code", "error"} & parts.keys():
                self._received.set_result(parts)
            writer.write(_HEAD + _ANSWER.encode())
            await writer.drain()
        writer.close()
