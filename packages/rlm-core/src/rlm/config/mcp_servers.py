"""MCP servers in a file or a JSON text, in the `mcpServers` form that most clients read.

    {"mcpServers": {"github": {"command": "npx", "args": ["-y", "…"], "env": {"GITHUB_TOKEN": "${GITHUB_TOKEN}"}},
                    "docs": {"url": "https://example.org/mcp", "headers": {"Authorization": "Bearer ${DOCS_TOKEN}"}}}}

`${VAR}` and `${VAR:-default}` stand for variables of the environment that rlm was started with. Keys of other clients
that rlm does not know are ignored.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rlm.process import files
from rlm.text.redact import REDACTED, credentials_of, without_credentials

SAYS = 'a file or JSON that names MCP servers, as {"mcpServers": {"NAME": {"command": "…"}}} or {"url": "…"} in it'
_LARGEST = 1 << 20  # bytes of a file
_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_]\w*)(?::-([^}]*))?\}")
_SECRET_NAME = re.compile("TOKEN|PASS|PWD|SECRET|KEY|CREDENTIAL|AUTH|COOKIE", re.IGNORECASE)
_HEADER = re.compile(r"^([\w-]+):\s*(\S.*)$")
_SCHEME = re.compile(r"^(?:Bearer|Basic|Token|Bot|ApiKey)\s+", re.IGNORECASE)
_OPAQUE = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w.+=-]{20,}")
"""A text that looks like a key, whatever its name: no word, path or URL."""


class McpConfigError(ValueError):
    """The configuration of MCP servers is invalid; the message has the reason."""


@dataclass(frozen=True, slots=True)
class StdioServer:
    """A program that speaks MCP on its stdin and stdout."""

    name: str
    command: str
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str = ""


@dataclass(frozen=True, slots=True)
class HttpServer:
    """A server with a URL: streamable HTTP, or its predecessor `sse`."""

    name: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    sse: bool = False


McpServer = StdioServer | HttpServer


@dataclass(frozen=True, slots=True)
class McpServers:
    """The servers of a run, by name and in order. Values from a program are used as they are, without variables."""

    servers: tuple[McpServer, ...] = ()
    secrets: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """Texts that no session, output or kernel may contain."""
    written: tuple[McpServer, ...] = field(default=(), compare=False, repr=False)
    """The servers as they were written, with variables."""

    def __bool__(self) -> bool:
        return bool(self.servers)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(server.name for server in self.servers)

    def only(self, names: Sequence[str]) -> McpServers:
        """Return the servers with these names.

        Raises:
            McpConfigError: there is no server of that name.
        """
        if unknown := [name for name in names if name not in self.names]:
            there = f"there are {', '.join(self.names)}" if self.servers else "this run has none"
            raise McpConfigError(f"names of MCP servers of this run; {unknown[0]!r} is not one of them, {there}")
        chosen = tuple(server for server in self.servers if server.name in names)
        return replace(self, servers=chosen, written=tuple(each for each in self.written if each.name in names))

    def expanded(self, environ: Mapping[str, str]) -> McpServers:
        """Return the servers with variables replaced by their values.

        Raises:
            McpConfigError: a variable is not set, and has no default.
        """
        if self.written:
            return self
        servers = tuple(_changed(each, partial(_expand, environ=environ, server=each.name)) for each in self.servers)
        return _with_secrets(self.servers, servers)

    def __str__(self) -> str:
        """Return JSON for a session, which can be read again. Secrets are replaced by `[redacted]`."""
        table = {server.name: _public(server) for server in self.written or self.servers}
        return json.dumps({"mcpServers": table}, ensure_ascii=False) if table else ""


# ---- reading


def read_text(text: str) -> dict[str, Any]:
    """Read a path to a JSON file, or JSON.

    Raises:
        McpConfigError: there is no JSON object.
    """
    if text.lstrip().startswith("{"):
        return _of_json(text)
    path = text.strip()
    try:
        return _of_json(files.read(files.resolve(Path(path).expanduser()), limit=_LARGEST).decode())
    except RuntimeError:
        raise McpConfigError(f"{SAYS}; there is no home folder for {path}") from None
    except UnicodeDecodeError:
        raise McpConfigError(f"{SAYS}; {path} is not UTF-8") from None
    except OSError as error:
        raise McpConfigError(f"{SAYS}; {path} cannot be read: {error.strerror or error}") from None


def check_whole_path(text: str) -> None:
    """Refuse a relative path: a variable is the same in every project, and a project may contain a file of any name.

    Raises:
        McpConfigError: the path is relative.
    """
    if not text.lstrip().startswith(("{", "/", "~")):
        raise McpConfigError(f"JSON or an absolute path, because `{text.strip()}` is a different file in each folder")


def check_value(value: object) -> McpServers:
    """Return the servers for the value of a program: a path, JSON as text or as a mapping, or the servers.

    Raises:
        McpConfigError: it names no servers.
    """
    match value:
        case McpServers():
            return value if value.written else _with_secrets(value.servers, value.servers)
        case Mapping():
            return _of_mapping(value)
        case str():
            return _of_mapping(read_text(value))
        case os.PathLike():
            return _of_mapping(read_text(os.fspath(value)))
        case _:
            raise McpConfigError(SAYS)


def _of_json(text: str) -> dict[str, Any]:
    if REDACTED in text:
        raise McpConfigError(f"{SAYS}; this one contained secrets, which are not recorded: name the servers again")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise McpConfigError(f"{SAYS}; it is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise McpConfigError(f"{SAYS}; it is not an object")
    return value


def _of_mapping(value: Mapping[str, Any]) -> McpServers:
    """Read the table of servers. One editor calls it `servers`; without either name, the whole mapping is the table."""
    table = next((value[name] for name in ("mcpServers", "servers") if name in value), value)
    if not isinstance(table, Mapping) or not all(isinstance(each, Mapping) for each in table.values()):
        raise McpConfigError(f"{SAYS}; there is no object of servers")
    return McpServers(tuple(_server(name, entry) for name, entry in table.items() if not entry.get("disabled")))


def _server(name: str, entry: Mapping[str, Any]) -> McpServer:
    if not name.strip() or len(name) > 64 or not name.isprintable():
        raise McpConfigError(f"{SAYS}; {name[:64]!r} is not a name of a server")
    url = next((entry[key] for key in ("url", "httpUrl", "serverUrl") if entry.get(key)), None)
    if (url is None) == (not entry.get("command")):
        raise McpConfigError(f"{SAYS}; the server {name} has {'neither' if url is None else 'both'} command and url")
    if url is None:
        command, args = _text(name, "command", entry["command"]), _texts(name, "args", entry.get("args"))
        return StdioServer(name, command, args, _table(name, "env", entry), _text(name, "cwd", entry.get("cwd") or ""))
    kind = _text(name, "type", entry.get("type") or entry.get("transport") or "http").lower()
    return HttpServer(name, _url(name, _text(name, "url", url)), _table(name, "headers", entry), sse=kind == "sse")


def _url(name: str, url: str) -> str:
    if not (_VARIABLE.search(url) or (urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname)):
        raise McpConfigError(f"{SAYS}; the url of {name} must begin with http:// or https://")
    return url


def _text(name: str, what: str, value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise McpConfigError(f"{SAYS}; {what} of {name} is not a text")
    return value


def _texts(name: str, what: str, value: object) -> tuple[str, ...]:
    if value is not None and not isinstance(value, list | tuple):
        raise McpConfigError(f"{SAYS}; {what} of {name} is not a list")
    return tuple(_text(name, what, str(each) if type(each) in (int, float) else each) for each in value or ())


def _table(name: str, what: str, entry: Mapping[str, Any]) -> dict[str, str]:
    value = entry.get(what) or {}
    if not isinstance(value, Mapping):
        raise McpConfigError(f"{SAYS}; {what} of {name} is not an object")
    texts = {key: str(each) if type(each) in (int, float) else each for key, each in value.items()}
    return {_text(name, what, key): _text(name, f"{what}.{key}", each) for key, each in texts.items()}


# ---- variables and secrets


def _changed(server: McpServer, change: Callable[[str], str]) -> McpServer:
    """Return the server with each text changed, except its name and the names of variables and headers."""
    new: dict[str, Any] = {}
    for each in fields(server):
        value = getattr(server, each.name)
        if isinstance(value, tuple):
            new[each.name] = tuple(map(change, value))
        elif isinstance(value, Mapping):
            new[each.name] = {key: change(text) for key, text in value.items()}
        elif isinstance(value, str) and each.name != "name":
            new[each.name] = change(value)
    return replace(server, **new)


def _with_secrets(written: tuple[McpServer, ...], servers: tuple[McpServer, ...]) -> McpServers:
    found = (secret for before, after in zip(written, servers, strict=True) for secret in _secrets(before, after))
    return McpServers(servers, frozenset(found), written)


def _expand(text: str, *, environ: Mapping[str, str], server: str) -> str:
    def value(found: re.Match[str]) -> str:
        name, default = found.groups()
        if (set_to := environ.get(name)) or default is None:
            if set_to is None:
                raise McpConfigError(f"variables that are set; the MCP server {server} needs {name}, which is not")
            return set_to
        return default

    return _VARIABLE.sub(value, text)


def _secrets(before: McpServer, after: McpServer) -> Iterator[str]:
    """Yield the secrets: all headers, and values that are secret by their name, their form or their variable's name."""
    if isinstance(after, HttpServer):
        yield from (_SCHEME.sub("", value) for value in after.headers.values())
        yield from credentials_of(after.url)
    if not (isinstance(after, StdioServer) and isinstance(before, StdioServer)):
        return
    for name, text in after.env.items():
        if _SECRET_NAME.search(name) or _names_secret(before.env[name]) or _OPAQUE.fullmatch(text):
            yield text
    yield from (part for text in after.env.values() if "://" in text for part in credentials_of(text))
    for was, now, previous in zip(before.args, after.args, ("", *after.args), strict=False):
        if _is_secret(now, previous) or _names_secret(was):
            yield _SCHEME.sub("", header[2] if (header := _HEADER.match(now)) else now.rpartition("=")[2])


def _names_secret(text: str) -> bool:
    """Whether the text names a variable that holds a secret."""
    return any(_SECRET_NAME.search(found[1]) for found in _VARIABLE.finditer(text))


def _public(server: McpServer) -> dict[str, Any]:
    """Return the server without secrets. A value that names a variable is public; other values may be secret."""
    if isinstance(server, HttpServer):
        parts: dict[str, Any] = {"type": "sse" if server.sse else "", "headers": _hidden(server.headers)}
        return {"url": without_credentials(server.url)} | {name: part for name, part in parts.items() if part}
    args = [
        REDACTED if not _VARIABLE.search(arg) and _is_secret(arg, before) else without_credentials(arg)
        for before, arg in zip(("", *server.args), server.args, strict=False)
    ]
    parts = {"args": args, "env": _hidden(server.env), "cwd": server.cwd}
    return {"command": server.command} | {name: part for name, part in parts.items() if part}


def _hidden(table: Mapping[str, str]) -> dict[str, str]:
    return {name: text if _VARIABLE.search(text) else REDACTED for name, text in table.items()}


def _is_secret(arg: str, before: str) -> bool:
    """Whether it is the value in `--api-key VALUE`, `--api-key=VALUE`, `Authorization: VALUE`."""
    follows = before.startswith("-") and "=" not in before and bool(_SECRET_NAME.search(before))
    assigned = arg.startswith("-") and "=" in arg and bool(_SECRET_NAME.search(arg.partition("=")[0]))
    header = _HEADER.match(arg)
    return (follows and not arg.startswith("-")) or assigned or bool(header and _SECRET_NAME.search(header[1]))
