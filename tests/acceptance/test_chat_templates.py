"""Messages of real runs, rendered with real chat templates: strict ones refuse many orders of messages."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2 import Template
from jinja2.exceptions import TemplateError
from rlm.core.agent import GO_ON, REMINDER
from rlm.core.context import ASK
from rlm_testkit.cli import Rlm
from rlm_testkit.faults import OVERFLOWS
from rlm_testkit.scripted import Request, Scripted, call, calls, error, text

Make = Callable[[Scripted], Rlm]
Json = dict[str, Any]

PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
        "0000000c4944415408d763f8cfc000000301010018dd8db00000000049454e44ae426082"
    )
).decode()
PICTURE = f"import base64\nfrom IPython.display import Image\nImage(base64.b64decode('{PIXEL}'))"
WRITTEN = '{"name": "ipython", "arguments": {"code": "3"}}'

VISIBLE_TEXTS = (
    "the task",
    "result 2",
    "result 4",
    "the summary so far",
    "the new task",
    GO_ON,
    REMINDER[:40],
    ASK[:40],
)
"""Texts that must be visible, whatever message they were joined to."""

FIRST = (
    calls(("ipython", {"code": "print('result', 1 + 1)"}), ("ipython", {"code": "print('result', 2 + 2)"})),
    call("ipython", code=PICTURE),
    text(WRITTEN),  # it is reminded how to call
    text("The answer", finish="length"),  # it is asked to continue
    call("ipython", code="5"),
    error(*OVERFLOWS[2]),
    text("the summary so far"),
    text("done"),
)
SECOND = call("ipython", code="6"), text("end")


def requests(rlm: Make) -> list[Request]:
    """Requests with all types of messages that rlm creates."""
    with Scripted(*FIRST, *SECOND) as server:
        command = rlm(server)
        assert command("the task", RLM_IMAGES="on").code == 0
        assert command("resume", "the new task", RLM_IMAGES="on").code == 0
        assert len(server.requests) == len(FIRST) + len(SECOND)
    return server.requests


def served(messages: Sequence[Json], *, pictures: bool) -> list[Json]:
    """Messages as servers prepare them for a template: no null, arguments as objects, and only text if it knows no
    pictures.
    """
    copies = copy.deepcopy(list(messages))
    for message in copies:
        for each in message.get("tool_calls", ()):
            each["function"]["arguments"] = json.loads(each["function"]["arguments"])
        message["content"] = message["content"] or ""
        if isinstance(message["content"], list) and not pictures:
            message["content"] = "\n".join(part.get("text", "<image>") for part in message["content"])
    return copies


def rendered(template: Template, messages: Sequence[Json], tools: Sequence[Json]) -> str:
    for pictures in (True, False):
        try:
            values = {"messages": served(messages, pictures=pictures), "tools": tools}
            return template.render(bos_token="<s>", eos_token="</s>", add_generation_prompt=True, **values)
        except (TemplateError, TypeError) as refused:
            why = refused
    return f"refused: {why}"


def knows_tools(template: Template, request: Request) -> bool:
    """Whether it renders the simplest conversation with tools: a task, two calls (one for Llama 3), two results."""
    assert [message["role"] for message in request.messages] == ["system", "user", "assistant", "tool", "tool"]
    reported = rendered(template, request.messages, request.body["tools"])
    return "refused" not in reported and "1 + 1" in reported and "result 2" in reported


def test_requests_render_in_every_template_that_knows_tools(rlm: Make, templates: Mapping[str, Template]) -> None:
    sent = requests(rlm)
    know = {name: template for name, template in templates.items() if knows_tools(template, sent[1])}
    assert len(know) >= len(templates) / 3
    for name, template in know.items():
        for at, request in enumerate(sent):
            reported = rendered(template, request.messages, request.body["tools"])
            assert "refused" not in reported, (name, at)
            wire = json.dumps(request.messages)
            assert [visible for visible in VISIBLE_TEXTS if visible in wire and visible not in reported] == [], (
                name,
                at,
            )
    assert all(any(visible in json.dumps(request.messages) for request in sent) for visible in VISIBLE_TEXTS)
