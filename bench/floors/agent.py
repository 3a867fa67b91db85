"""A minimal agent: it posts the conversation and runs the returned cell until an answer comes, and does nothing else.

    python agent.py URL --client std|httpx|post|sdk [--kernel]

`std` is http.client, `httpx` the client that openai uses, `post` openai's untyped method, `sdk` its `create`.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.floors.driver import Kernel

Wire = dict[str, Any]
Post = Callable[[Wire], Wire]

TOOL: Wire = {
    "type": "function",
    "function": {
        "name": "ipython",
        "parameters": {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]},
    },
}


def std(url: str) -> Post:
    from http.client import HTTPConnection
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port)

    def post(body: Wire) -> Wire:
        content = json.dumps(body).encode()
        connection.request("POST", f"{parts.path}/chat/completions", content, {"Content-Type": "application/json"})
        return dict(json.loads(connection.getresponse().read()))

    return post


def httpx(url: str) -> Post:
    try:
        import httpx2 as module  # the client of openai 3
    except ImportError:
        import httpx as module  # type: ignore[import-not-found,no-redef]  # openai 2; one of the two exists
    client = module.Client(verify=False)  # a local server: no need to load the TLS context
    return lambda body: dict(client.post(f"{url}/chat/completions", json=body).json())


def post(url: str) -> Post:
    from openai import OpenAI
    from openai.types.chat import ChatCompletion

    client = OpenAI(base_url=url, api_key="none")
    return lambda body: client.post("/chat/completions", body=body, cast_to=ChatCompletion).to_dict()


def sdk(url: str) -> Post:
    from openai import OpenAI

    client = OpenAI(base_url=url, api_key="none")
    return lambda body: client.chat.completions.create(**body).to_dict()


def work(ask: Post, start_kernel: Callable[[], Kernel] | None) -> str:
    """Work until the answer. The kernel starts during the first request."""
    messages: list[Wire] = [{"role": "user", "content": "go"}]
    body = {"model": "scripted", "messages": messages, "tools": [TOOL]}
    first: list[Wire] = []
    asking = threading.Thread(target=lambda: first.append(ask(body)))
    asking.start()
    kernel = start_kernel() if start_kernel else None
    asking.join()
    reply = first[0]
    while calls := reply["choices"][0]["message"].get("tool_calls"):
        messages.append(reply["choices"][0]["message"])
        assert kernel is not None
        for call in calls:
            output = kernel.run(json.loads(call["function"]["arguments"])["code"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": output})
        reply = ask(body)
    if kernel is not None:
        kernel.kill()
    return str(reply["choices"][0]["message"]["content"])


def _kernel() -> Kernel:
    from bench.floors.driver import Kernel

    return Kernel()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--client", choices=("std", "httpx", "post", "sdk"), default="std")
    parser.add_argument("--kernel", action="store_true")
    options = parser.parse_args()
    clients = {"std": std, "httpx": httpx, "post": post, "sdk": sdk}
    sys.stdout.write(work(clients[options.client](options.url), _kernel if options.kernel else None) + "\n")


if __name__ == "__main__":
    main()
