"""A small MCP server, with only the standard library: it starts at once, and shows faults on demand.

    python mcp_program.py [NOTES] [FAULT…]         on stdin and stdout
    with serving(token) as (url, requests):        over HTTP

NOTES is a file that gets a line for each message and for the end. Faults: `silent` never answers, `dies` exits before
it answers, `greets` first prints a line that is no message, `many` has 500 tools, `twice` lists tools with similar
names, `endless` has pages without an end.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

Json = dict[str, Any]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()

TEXT = {"type": "string"}
TOOLS: list[Json] = [
    {
        "name": "add",
        "description": "Add two numbers.\n\nThey may be negative.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "b": {"type": "integer", "default": 1, "description": "the second"},
                "a": {"type": "integer", "description": "the first"},
            },
            "required": ["a"],
        },
        "outputSchema": {
            "type": "object",
            "title": "addOutput",
            "properties": {"result": {"type": "integer"}},
            "required": ["result"],
        },
    },
    {
        "name": "create-issue",
        "description": "Open an issue in a repository.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "title": TEXT,
                "class": {"enum": ["bug", "idea"]},
                "labels": {"anyOf": [{"type": "array", "items": TEXT}, {"type": "null"}], "default": None},
                "from": {"$ref": "#/$defs/Person"},
            },
            "required": ["title", "class"],
            "$defs": {"Person": {"type": "object", "properties": {"name": TEXT}, "required": ["name"]}},
        },
    },
    {"name": "look", "description": "Take a picture.", "inputSchema": {"type": "object"}},
    {"name": "fail", "description": "Fails.", "inputSchema": {"type": "object", "properties": {"why": TEXT}}},
    {"name": "wait", "description": "Waits for ever, and says how far it is.", "inputSchema": {"type": "object"}},
    {"name": "die", "description": "Ends the server.", "inputSchema": {"type": "object"}},
    {"name": "lie", "description": "Returns what it does not declare.", "inputSchema": {"type": "object"},
     "outputSchema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}},
    {"name": "environment", "description": "A variable of the server.",
     "inputSchema": {"type": "object", "properties": {"name": TEXT}, "required": ["name"]}},
    {"name": "anything", "description": "Takes all.", "inputSchema": {"type": "object", "additionalProperties": True}},
]  # fmt: skip


class Server:
    """Answers messages; `send` is for messages of the server itself."""

    def __init__(self, note: Callable[[str], None], faults: frozenset[str] = frozenset()) -> None:
        self._note = note
        self._faults = faults
        self.cancelled = threading.Event()

    def answer(self, message: Json, send: Callable[[Json], None]) -> Json | None:
        method, number = message.get("method"), message.get("id")
        self._note(f"{method} {json.dumps(message.get('params') or {})}")
        if method == "notifications/cancelled":
            self.cancelled.set()
        if number is None or "silent" in self._faults:
            return None
        if "dies" in self._faults:
            print("no database: giving up", file=sys.stderr, flush=True)
            os._exit(3)
        try:
            result = self._result(str(method), message.get("params") or {}, send)
        except LookupError:
            return {"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": f"no method {method}"}}
        return {"jsonrpc": "2.0", "id": number, "result": result}

    def _result(self, method: str, params: Json, send: Callable[[Json], None]) -> Json:
        if method == "initialize":
            return {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "small", "version": "1"},
                "instructions": "A small server.",
            }
        if method == "tools/list":
            return self._tools(params)
        if method == "tools/call":
            return self._call(str(params["name"]), params.get("arguments") or {}, params, send)
        raise LookupError(method)

    def _tools(self, params: Json) -> Json:
        tools = list(TOOLS)
        if "many" in self._faults:
            tools += [{**TOOLS[0], "name": f"tool_{number}"} for number in range(500)]
        if "twice" in self._faults:
            tools += [{**TOOLS[0], "name": "create_issue"}, {**TOOLS[0], "description": "another"}]
        if "endless" in self._faults:
            return {"tools": tools, "nextCursor": str(int(params.get("cursor", 0)) + 1)}
        return {"tools": tools}

    def _call(self, name: str, arguments: Json, params: Json, send: Callable[[Json], None]) -> Json:
        match name.partition("_")[0] if name.startswith("tool_") else name:
            case "tool" | "add" | "create_issue":
                value = arguments["a"] + arguments.get("b", 1)
                return {"content": [_text(str(value))], "structuredContent": {"result": value}}
            case "look":
                picture = {"type": "image", "data": PNG, "mimeType": "image/png"}
                return {"content": [_text("a picture"), picture]}
            case "fail":
                return {"content": [_text(f"it failed: {arguments.get('why')}")], "isError": True}
            case "lie":
                return {"content": [], "structuredContent": {"n": "many"}}
            case "environment":
                return {"content": [_text(os.environ.get(arguments["name"], "not set"))]}
            case "die":
                os._exit(7)
            case "wait":
                return self._wait(params, send)
            case _:
                return {"content": [_text(json.dumps(arguments, sort_keys=True))]}

    def _wait(self, params: Json, send: Callable[[Json], None]) -> Json:
        token = params.get("_meta", {}).get("progressToken")
        for step in range(1, 3):
            send({"jsonrpc": "2.0", "method": "notifications/progress",
                  "params": {"progressToken": token, "progress": step, "total": 4, "message": "waiting"}})  # fmt: skip
        self._note("waits")
        self.cancelled.wait(60)
        return {"content": [_text("never")]}


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def main() -> None:
    """Serve on stdin and stdout. Each request has a thread, so that a long one can be cancelled."""
    notes, faults = sys.argv[1:2], frozenset(sys.argv[2:])
    lock = threading.Lock()

    def note(line: str) -> None:
        if notes and notes[0]:
            with lock, Path(notes[0]).open("a") as file:
                file.write(f"{line}\n")

    def send(message: Json | None) -> None:
        if message is not None:
            with lock:
                print(json.dumps(message), flush=True)

    if "greets" in faults:
        print("Welcome to the small server!", flush=True)
    server = Server(note, faults)
    note(f"started in {Path.cwd()}")
    for line in sys.stdin:
        message = json.loads(line)
        threading.Thread(target=lambda message=message: send(server.answer(message, send)), daemon=True).start()
    note("ended")


class _Listener(ThreadingHTTPServer):
    def __init__(self, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = token
        self.small = Server(lambda _: None)
        self.heard: list[Mapping[str, str]] = []
        self.base = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: _Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/register":
            self._send(201, {**json.loads(body), "client_id": "rlm-of-the-test"})
        elif self.path == "/token":
            again = parse_qs(body.decode())["grant_type"] == ["refresh_token"]
            tokens = {"access_token": self.server.token, "refresh_token": "r3fresh-token", "token_type": "Bearer"}
            self._send(200, {**tokens, "expires_in": 3600, "scope": "again" if again else "first"})
        else:
            self._message(json.loads(body))

    def _message(self, message: Json) -> None:
        self.server.heard.append({name.lower(): value for name, value in self.headers.items()})
        if self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            where = f'Bearer resource_metadata="{self.server.base}/.well-known/oauth-protected-resource"'
            self._send(401, {}, **{"WWW-Authenticate": where})
        elif (answer := self.server.small.answer(message, lambda _: None)) is None:
            self._send(202, None)
        else:
            self._send(200, answer)

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/authorize":
            asked = {name: values[0] for name, values in parse_qs(query).items()}
            self._send(302, {}, Location=f"{asked['redirect_uri']}?code=c0de&state={asked['state']}")
        elif path.startswith("/.well-known/oauth-protected-resource"):
            self._send(200, {"resource": f"{self.server.base}/mcp", "authorization_servers": [self.server.base]})
        elif path == "/.well-known/oauth-authorization-server":
            ends = {f"{name}_endpoint": f"{self.server.base}/{path}" for name, path in ENDPOINTS}
            more = {"response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"]}
            self._send(200, {"issuer": self.server.base, **ends, **more})
        else:
            self._send(405, {})

    do_DELETE = do_GET

    def _send(self, status: int, body: Json | None, **headers: str) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(token: str = "") -> Iterator[tuple[str, list[Mapping[str, str]]]]:
    """Serve over HTTP; yield the URL, and the headers of each message. Without the `token` a request is refused.

    OAuth also returns the token: every request of `/authorize` counts as a user who logs in.
    """
    listener = _Listener(token)
    threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"{listener.base}/mcp", listener.heard
    finally:
        listener.shutdown()
        listener.server_close()


ENDPOINTS = (("authorization", "authorize"), ("token", "token"), ("registration", "register"))


if __name__ == "__main__":
    main()
