"""Providers cache the beginning of a request: the requests of an agent only grow, and the agents of a run begin alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from rlm_testkit.cli import Rlm, Session
from rlm_testkit.fakes import common_beginning
from rlm_testkit.scripted import Answer, Request, Scripted, call, calls, error, in_order, reset, text

Make = Callable[[Scripted], Rlm]

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
PICTURE = f"from IPython.display import Image\nimport base64\nImage(base64.b64decode('{PIXEL}'))"
FAN = (
    "import asyncio\nchunks = [{'part': n} for n in range(3)]\n"
    "len(await asyncio.gather(*(rlm.run(f'task {n}', context=c) for n, c in enumerate(chunks))))"
)
FEATURES = (
    calls(("ipython", {"code": "1"}), ("python", {"code": "1"}), ("ipython", "null"), content="Ünï ☃ \ud83d"),
    calls(("ipython", {"code": PICTURE}), ("bash", {"command": "exit 3"}), reasoning_content="hm"),
    error(503, "Overloaded"),
    text("cut ", "length"),
    reset(),
    call("ipython", code="import os; os._exit(1)"),
    text('<tool_call>{"name": "ipython", "arguments": {"code": "1"}}</tool_call>'),
    call("ipython", code=FAN),
    call("edit", path="a.txt", old_str="", new_str="x"),
    call("summarize", num_turns=1, summary="one"),
    call("ipython", code="2"),
    text("end"),
    call("ipython", code="3"),
    text("end again"),
)


def rendered(request: Request) -> str:
    """The request as a chat template renders it: the tools, then each message, with its end."""
    return "\n".join(json.dumps(part) for part in (request.body.get("tools"), *request.messages))


def changes(session: Session) -> Iterator[bool]:
    """For each answered request after the first: whether the journal has a drop before it."""
    dropped, first = False, True
    for record in session.records:
        dropped |= record["type"] in ("drop", "adapt")
        if record.get("message", {}).get("role") == "assistant":
            if not first:
                yield dropped
            dropped, first = False, False


def answered(server: Scripted, session: Session, depth: int) -> list[Request]:
    """The requests of an agent, each once: a failed try is sent again unchanged."""
    wanted = [json.dumps(messages, sort_keys=True) for messages in session.requests()]
    by_messages = {
        json.dumps(request.messages, sort_keys=True): request for request in server.requests if request.depth == depth
    }
    return [by_messages[each] for each in wanted]


def test_requests_only_grow_and_the_agents_of_a_run_begin_alike(rlm: Make) -> None:
    root = in_order(*FEATURES)

    def script(request: Request) -> Answer:
        if request.depth:
            return text("done") if request.turn else call("ipython", code="context")
        return root(request)

    settings = {"RLM_TOOLS": "ipython,summarize,bash,edit", "RLM_IMAGES": "on", "RLM_MAX_DEPTH": "1"}
    with Scripted(script, strict=False) as server:
        command = rlm(server)
        (command.cwd / "AGENTS.md").write_text("Be careful.\n" * 100)
        assert 0 == command("go", **settings, RLM_APPEND_TO_SYSTEM_PROMPT="Be brief.").code
        done = command("resume", "and now?")
    session = done.session
    asked = answered(server, session, 0)
    assert len(asked) >= 10
    grown = [later.startswith(earlier) for earlier, later in pairwise(map(rendered, asked))]
    dropped = list(changes(session))
    assert [] == [at for at, (grows, drops) in enumerate(zip(grown, dropped, strict=True)) if not (grows or drops)]
    assert 2 <= sum(dropped) <= 4, "the summary, and the message of the resume"

    prompts = [asked[0].messages[0]["content"]]
    prompts += [child.messages[0]["content"] for child in session.children]
    assert 4 == len(set(prompts)), "the contexts differ"
    assert common_beginning(*prompts).rstrip().endswith("Be brief.")
    assert 1 == len({json.dumps(request.body["tools"]) for request in server.requests})


def test_only_openai_gets_a_cache_key_and_few_agents_share_one(tmp_path: Path) -> None:
    fan = "import asyncio\nlen(await asyncio.gather(*(rlm.run(f'{n}', tools=()) for n in range(9))))"

    def script(request: Request) -> Answer:
        return text("ok") if request.depth or request.turn else call("ipython", code=fan)

    keys: dict[str, list[str | None]] = {}
    with Scripted(script) as server:
        proxy = {"HTTP_PROXY": server.url.removesuffix("/v1"), "RLM_MAX_DEPTH": "1", "RLM_MODEL": "m"}
        for url in ("http://acme.openai.azure.com/openai/v1", "http://models.example.com/v1"):
            begun = len(server.requests)
            done = Rlm(tmp_path / str(begun), proxy | {"RLM_BASE_URL": url})("go")
            keys[url] = [request.wire.get("prompt_cache_key") for request in server.requests[begun:]]
            (session,) = done.sessions
    openai, other = keys.values()
    assert [None] * 11 == other
    assert 11 == len(openai)
    assert openai[0] == openai[-1], "the root has a different key"
    assert [8 + 1, 2] == sorted((openai.count(key) for key in set(openai)), reverse=True)
    assert all(str(key).startswith(begun_by(tmp_path)) for key in openai)
    assert session.children


def begun_by(folder: Path) -> str:
    (home,) = (folder / "0" / "work" / ".rlm" / "sessions").glob("[0-9a-f]*")
    return home.name
